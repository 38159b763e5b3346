"""What a run plans for its interval: which windows, and by which settings. The rules are in `ledger/coverage.py`."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from logstream.destinations.parcel import Tally
from logstream.errors import WindowTaken
from logstream.export.stock import Stock
from logstream.export.window_plan import WindowPlan
from logstream.ledger.coverage import AskedBy, Purpose, WindowToExport
from logstream.ledger.ledger import Ledger
from logstream.ledger.plans import PlannedDelivery, Terms
from logstream.ledger.records import Pending, PlannedLane
from logstream.ledger.windows import Claim, claim_window
from logstream.settings.repository import SettingsRepository, Snapshot
from logstream.window import Window

log = logging.getLogger("logstream")

TRIES = 50
"""How often a run looks again at what is left, when other runs take time that it was about to take."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is asked to export: an interval, by a snapshot, to all destinations or only some.

    `carrier` names the run, so that it finds the windows that it has made when its planning is tried again.
    """

    interval: Window
    snapshot: Snapshot
    only: Collection[str] | None = None
    by: AskedBy = AskedBy.REQUEST
    carrier: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedWindow:
    """A window whose plan is in the ledger: by which settings, what it holds, and what is to be done."""

    window: Window
    snapshot: Snapshot
    plan: WindowPlan
    pending: Pending


class IntervalPlanner:
    """Makes windows of intervals and plans them. `stock` counts them."""

    def __init__(
        self,
        settings: SettingsRepository,
        ledger: Ledger,
        stock: Stock,
        most_gaps: int,
    ) -> None:
        self._settings, self._ledger, self._stock, self._most_gaps = settings, ledger, stock, most_gaps
        self._snapshots: dict[int, Snapshot] = {}

    def plan(self, asked: Asked) -> list[PlannedWindow]:
        """Plan what a run exports, oldest window first. Each window is planned in a transaction of its own.

        Raises `WindowTaken` where other runs take the time away again and again.
        """
        done: dict[Window, PlannedWindow] = {}
        for attempt in range(1, TRIES + 1):
            try:
                for item in self._left(asked, done):
                    done[item.window] = self._plan(item, asked)
                break
            except WindowTaken as taken:
                if attempt == TRIES:
                    raise
                log.info("%s; looking again at what is left.", taken)
        return [done[window] for window in sorted(done)]

    def _left(self, asked: Asked, done: Collection[Window]) -> list[WindowToExport]:
        gaps = sum(window.end <= asked.interval.start for window in done)
        todo = self._ledger.coverage().to_export(
            asked.interval,
            asked.by,
            self._ledger.known_windows(asked.interval, asked.carrier),
            carrier=asked.carrier,
            most_gaps=self._most_gaps - gaps,
        )
        return [item for item in todo if item.window not in done]

    def _plan(self, item: WindowToExport, asked: Asked) -> PlannedWindow:
        snapshot = self._snapshot_at(item.window) if item.by_its_time else asked.snapshot
        plan = self._stock.plan(item.window, snapshot)
        lanes: Mapping[str, Sequence[PlannedLane]] = {
            name: found for name, found in plan.lanes.items() if asked.only is None or name in asked.only
        }
        if item.purpose is Purpose.REST:
            lanes = self._not_planned_yet(item.window, lanes)
        planned = [
            PlannedDelivery(name, item.window, snapshot.id, found, plan.errors.get(name))
            for name, found in lanes.items()
        ]
        claim = Claim(item.purpose, asked.only is None, asked.by, asked.carrier)
        pending = self._ledger.plan(
            planned, self._stock, Terms(asked.carrier, again=item.purpose in (Purpose.AGAIN, Purpose.REST)),
            partial(claim_window, window=item.window, snapshot_id=snapshot.id, claim=claim),
        )  # fmt: skip
        return PlannedWindow(item.window, snapshot, plan, pending)

    def _snapshot_at(self, window: Window) -> Snapshot:
        """The settings that were in force when a window ended."""
        number = self._settings.newest(window.end)
        if number not in self._snapshots:
            self._snapshots[number] = self._settings.get(number)
        return self._snapshots[number]

    def _not_planned_yet(
        self, window: Window, lanes: Mapping[str, Sequence[PlannedLane]]
    ) -> dict[str, Sequence[PlannedLane]]:
        """Of the lanes of a window that some destinations were planned for: those of the others.

        A destination that was planned for other events than it would be now, by settings that route otherwise, is planned
        anew: an event that changed its destination in between must be in neither's gap.
        """
        before: dict[str, Tally] = {}
        for lane in self._ledger.lanes_in(window):
            before.setdefault(lane.destination, Tally()).update(lane.planned)
        return {
            name: found
            for name, found in lanes.items()
            if before.get(name) != sum((lane.tally for lane in found), Tally())
        }
