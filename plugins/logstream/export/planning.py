"""Planning: from routes and counts to deliveries, lanes and shares. Pure functions over plain data."""

from __future__ import annotations

import heapq
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from logstream.destinations.parcel import Tally
from logstream.events import Selection
from logstream.ledger.records import PendingLane, PlannedLane, fingerprint_of
from logstream.settings.models import Settings, Streaming
from logstream.settings.resolution import Route, Workspace, resolve
from logstream.store.base import KindCount

MAX_TASKS = 16
"""Mapped tasks of one run at the most: each costs Airflow 0.15 to 0.3 s."""

SHARE_BYTES = 32 * 1024 * 1024
"""A task of its own pays from about this many bytes on."""

SMALL = 0.1
"""A destination that is at most this part of a task's share is not divided among tasks."""

SHARE_LANES = 4
"""Destinations are independent, and people like to see them apart: at least so many tasks where there are lanes."""


@dataclass(frozen=True, slots=True)
class WorkspacePlan:
    """What a run will do for one workspace. `read` are its events in the window, `selected` those that are streamed."""

    route: Route
    read: int
    selected: int


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """What a run will do."""

    workspaces: tuple[WorkspacePlan, ...]
    lanes: Mapping[str, tuple[PlannedLane, ...]] = field(default_factory=dict)

    @property
    def events(self) -> int:
        """Events that will be streamed."""
        return sum(workspace.selected for workspace in self.workspaces)


def lane_of(workspace_id: int, lanes: int) -> int:
    """The lane of a workspace: a stable hash of its id modulo the destination's lane count."""
    return zlib.crc32(str(workspace_id).encode()) % lanes


def plan_window(
    settings: Settings, workspaces: Sequence[Workspace], counts: Iterable[KindCount], lane_counts: Mapping[str, int]
) -> WindowPlan:
    """Plan a window: `lane_counts` gives each destination's number of lanes.

    Events of a workspace that the log store does not list have a route like any other's: under the admin setting they are
    streamed, they are events too.
    """
    counted: dict[int, list[KindCount]] = defaultdict(list)
    for count in counts:
        counted[count.workspace_id].append(count)
    listed = {workspace.id for workspace in workspaces}
    unlisted = [Workspace(workspace_id) for workspace_id in sorted(counted.keys() - listed)]
    plans: list[WorkspacePlan] = []
    lanes: dict[tuple[str, int], _LaneDraft] = defaultdict(_LaneDraft)
    selections: dict[int, Selection] = {}
    for route in resolve(settings, [*workspaces, *unlisted]):
        found = counted.get(route.workspace.id, [])
        selected: Tally = Counter()
        size = 0
        if route.streaming is not None and found:
            # the admin's setting is one object for all workspaces
            selection = selections.setdefault(id(route.streaming), route.streaming.selection)
            for count in found:
                if selection.matches(count.kind, count.log_type, count.log_level):
                    selected[(count.workspace_id, count.kind)] += count.events
                    size += count.bytes
        plans.append(WorkspacePlan(route, sum(count.events for count in found), selected.total()))
        if selected and route.streaming is not None and route.destination is not None:
            lane = lane_of(route.workspace.id, lane_counts[route.destination])
            lanes[(route.destination, lane)].add(route.workspace.id, route.streaming, selected, size)
    planned: dict[str, list[PlannedLane]] = defaultdict(list)
    for (destination, lane), draft in sorted(lanes.items()):
        planned[destination].append(
            PlannedLane(
                lane,
                draft.fingerprint(settings.destinations[destination].model_dump(), lane_counts[destination]),
                draft.tally,
                draft.bytes,
            )
        )
    return WindowPlan(tuple(plans), {name: tuple(items) for name, items in planned.items()})


class _LaneDraft:
    def __init__(self) -> None:
        self.tally: Tally = Counter()
        self.bytes = 0
        self._settings: dict[int, list[int]] = defaultdict(list)
        self._streamings: dict[int, Streaming] = {}

    def add(self, workspace_id: int, streaming: Streaming, tally: Tally, size: int) -> None:
        self.tally.update(tally)
        self.bytes += size
        self._streamings[id(streaming)] = streaming
        self._settings[id(streaming)].append(workspace_id)

    def fingerprint(self, destination: dict[str, object], lanes: int) -> str:
        who = sorted(
            (sorted(workspaces), self._streamings[key].model_dump(mode="json"))
            for key, workspaces in self._settings.items()
        )
        return fingerprint_of(destination, lanes, who)


@dataclass(frozen=True, slots=True)
class Share:
    """What one mapped task does. `lanes` are names in the ledger: (delivery id, lane)."""

    label: str
    lanes: tuple[tuple[int, int], ...]
    bytes: int

    def as_reference(self) -> dict[str, object]:
        """A small reference for XCom."""
        return {"label": self.label, "lanes": [list(key) for key in self.lanes]}


def divide(lanes: Sequence[PendingLane], max_tasks: int = MAX_TASKS) -> list[Share]:
    """Divide lanes, given as (name, destination, bytes), among tasks: at most `max_tasks`, balanced by bytes.

    The lanes of a small destination stay together, since one pass over the window serves them all. The largest piece goes to
    the task that has least so far, and so on: no task has more than the mean and one piece.
    """
    if not lanes:
        return []
    total = sum(size for _, _, size in lanes)
    tasks = max(1, min(max_tasks, len(lanes), max(-(-total // SHARE_BYTES), SHARE_LANES)))
    pieces = _pieces(lanes, int(total / tasks * SMALL))
    tasks = min(tasks, len(pieces))
    heap = [(0, index) for index in range(tasks)]
    members: list[list[PendingLane]] = [[] for _ in range(tasks)]
    for size, piece in sorted(pieces, key=lambda piece: (-piece[0], piece[1][0])):
        taken, index = heapq.heappop(heap)
        members[index] += piece
        # an empty-looking lane still costs a statement and a request
        heapq.heappush(heap, (taken + max(size, 1), index))
    filled = [sorted(group) for group in members if group]
    return [
        Share(
            _label({destination for _, destination, _ in group}, number, len(filled)),
            tuple(name for name, _, _ in group),
            sum(size for _, _, size in group),
        )
        for number, group in enumerate(filled, start=1)
    ]


def _pieces(lanes: Sequence[PendingLane], small: int) -> list[tuple[int, list[PendingLane]]]:
    """What is given to tasks as a whole, with its bytes: all lanes of a destination that is small or has several windows, else
    a lane."""
    by_destination: dict[str, list[PendingLane]] = defaultdict(list)
    for lane in lanes:
        by_destination[lane[1]].append(lane)
    pieces = []
    for group in by_destination.values():
        size = sum(lane[2] for lane in group)
        # several windows of one destination are delivered in order, by one task
        together = size <= small or len({lane[0][0] for lane in group}) > 1
        pieces += [(size, group)] if together else [(lane[2], [lane]) for lane in group]
    return pieces


def _label(destinations: set[str], number: int, of: int) -> str:
    names = sorted(destinations)
    what = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{what} (share {number} of {of})" if of > 1 else what
