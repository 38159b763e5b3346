"""What became of a window, workspace by workspace: for the demo and the console."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from logstream.export.window_plan import plan_window
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import Lane
from logstream.settings.models import Settings
from logstream.settings.resolution import Route
from logstream.store.base import EventStore
from logstream.window import Window


@dataclass(frozen=True, slots=True)
class WorkspaceReport:
    """One workspace in one window. `bytes` are those of its messages, before compression."""

    route: Route
    read: int
    selected: int
    delivered: int
    rejected: int
    bytes: int


def report_workspaces(window: Window, settings: Settings, store: EventStore, ledger: Ledger) -> list[WorkspaceReport]:
    """Put side by side what the store holds, what the settings select and what the ledger says was delivered."""
    plan = plan_window(
        settings,
        store.workspaces(),
        store.count(window, by_log_type=settings.filters_logs),
        dict.fromkeys(settings.destinations, 1),
    )
    lanes = ledger.lanes_in(window)
    delivered, rejected, sizes = (_by_workspace(lanes, name) for name in ("delivered", "rejected", "sizes"))
    return [
        WorkspaceReport(
            item.route,
            item.read,
            item.selected,
            delivered[item.route.workspace.id],
            rejected[item.route.workspace.id],
            sizes[item.route.workspace.id],
        )
        for item in plan.workspaces
    ]


def _by_workspace(lanes: Sequence[Lane], name: str) -> Counter[int]:
    total: Counter[int] = Counter()
    for lane in lanes:
        for key, count in getattr(lane, name).items():
            total[key[0] if isinstance(key, tuple) else key] += count
    return total
