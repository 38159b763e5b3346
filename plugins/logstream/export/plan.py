"""`plan`: which lanes a run will deliver, written to the ledger before anything is sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from logstream.errors import InputError
from logstream.export.deployment import Deployment
from logstream.export.heal import Healer
from logstream.export.intervals import Asked, IntervalPlanner, PlannedWindow
from logstream.export.shares import MAX_TASKS, Share, divide, divide_by_group
from logstream.export.stock import Stock
from logstream.garbage import rare_garbage_collection
from logstream.ledger.health import Health, to_be_tried
from logstream.ledger.records import PendingLane
from logstream.settings.repository import Snapshot
from logstream.window import Window

log = logging.getLogger("logstream")


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan that is in the ledger: the windows that a run exports for its interval, and what it takes along."""

    interval: Window
    snapshot: Snapshot
    windows: list[PlannedWindow]
    shares: list[Share]
    only: Collection[str] | None = None
    """The destinations that the run is for; all, if not some."""
    owed: list[int] = field(default_factory=list)
    """Deliveries of other windows that are taken along."""

    @property
    def events(self) -> int:
        """Events that will be streamed, without those that are owed."""
        return sum(item.plan.events for item in self.windows)

    @property
    def own(self) -> list[PlannedWindow]:
        """The windows of the run's interval; the others are gaps before it."""
        return [item for item in self.windows if item.window.end > self.interval.start]

    @property
    def delivery_ids(self) -> list[int]:
        """All deliveries that are to be sealed in the end."""
        return sorted({*(number for item in self.windows for number in item.pending.ids), *self.owed})

    @property
    def left(self) -> dict[int, str]:
        """Deliveries that were left as they are though they were to be exported again: id to why."""
        return {number: reason for item in self.windows for number, reason in item.pending.left.items()}


class Planner:
    """Plans windows of a deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    @rare_garbage_collection()
    def plan(
        self, asked: Asked, *, max_tasks: int = MAX_TASKS, heal: bool = False,
        group_of: Callable[[str], str] = lambda _: "",
    ) -> Planned:  # fmt: skip
        """Plan what a run is asked to export, and write the plan to the ledger.

        With `heal`, some of what destinations are owed is planned along, oldest first, a destination that is suspended is
        only probed, by one lane of the oldest window that it has not got, and one that is held is left in peace.
        Destinations for which `group_of` gives different names are in different shares.
        """
        deployment, settings = self._deployment, asked.snapshot.settings
        for name in asked.only or ():
            if name not in settings.destinations:
                known = ", ".join(settings.destinations) or "none"
                raise InputError(f'no destination named "{name}"; the settings have {known}')
        stock = Stock(deployment)
        windows = IntervalPlanner(deployment.settings, deployment.ledger, stock, deployment.healing.gaps_per_run).plan(
            asked
        )
        for reason in (reason for item in windows for reason in item.pending.left.values()):
            log.warning("%s.", reason)
        todo = [(item.window, lane) for item in windows for lane in item.pending.lanes]
        owed: list[int] = []
        suspended: dict[str, Health] = {}
        if heal:
            suspended = deployment.ledger.suspended()
            ours = {number for item in windows for number in item.pending.ids}
            others = [item for item in deployment.ledger.owed(carrier=asked.carrier) if item.delivery_id not in ours]
            chosen = to_be_tried(others, suspended, deployment.healing.owed_per_run, asked.carrier)
            more = Healer(deployment, stock, asked.carrier).plan(chosen, settings)
            windows_of = {item.delivery_id: item.window for item in chosen}
            owed += more.ids
            todo += [(windows_of[lane[0][0]], lane) for lane in more.lanes]
        lanes = probes_only([lane for _, lane in sorted(todo, key=lambda pair: pair[0])], suspended)
        shares = divide_by_group(lanes, max_tasks, group_of)
        return Planned(asked.interval, asked.snapshot, windows, shares, asked.only, owed)

    def plan_owed(
        self, destination: str | None = None, window: Window | None = None, max_tasks: int = MAX_TASKS,
        carrier: str | None = None,
    ) -> tuple[list[int], list[Share]]:  # fmt: skip
        """Plan all that is owed, to one destination or to all that are not held, of one window or of all.

        Returns the deliveries, and who carries them.
        """
        now = self._deployment.settings.current().settings
        held = {name for name, health in self._deployment.ledger.suspended().items() if health.held}
        items = [
            item
            for item in self._deployment.ledger.owed(destination, carrier=carrier)
            if window in (None, item.window) and (destination is not None or item.destination not in held)
        ]
        pending = Healer(self._deployment, Stock(self._deployment), carrier).plan(items, now)
        return pending.ids, divide(pending.lanes, max_tasks)


def probes_only(todo: list[PendingLane], suspended: Mapping[str, Health]) -> list[PendingLane]:
    """Of lanes in order of their windows: all, but of a suspended destination the first, and none of one that is held."""
    probed: set[str] = set()
    left = []
    for lane in todo:
        if lane[1] in suspended:
            if lane[1] in probed or suspended[lane[1]].held:
                continue
            probed.add(lane[1])
        left.append(lane)
    return left
