"""The log store against the ledger: are all events that routes select delivered or rejected, and no others?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from logstream.destinations.parcel import Tally
from logstream.export.removed import Removed, removed
from logstream.export.window_plan import plan_window
from logstream.ledger.losses import Why
from logstream.ledger.records import Lane, State
from logstream.settings.models import Settings
from logstream.settings.repository import SettingsRepository, Snapshot
from logstream.store.postgres import PostgresStore
from logstream.units import counted
from logstream.verify.findings import Finding, Verification
from logstream.window import Window


def gaps(span: Window, windows: Iterable[Window]) -> list[Window]:
    """The parts of `span` that no window covers."""
    found: list[Window] = []
    reached = span.start
    for window in sorted(windows):
        if window.start > reached:
            found.append(Window(reached, min(window.start, span.end)))
        reached = max(reached, window.end)
        if reached >= span.end:
            break
    if reached < span.end:
        found.append(Window(reached, span.end))
    return found


class CountVerifier:
    """Compares what the log store holds with what the ledger counts."""

    def __init__(self, settings: SettingsRepository, store_dsn: str, result: Verification) -> None:
        self._settings, self._store_dsn, self._result = settings, store_dsn, result
        self._removed: dict[str, Removed] = {}
        self._written_off: dict[int, Tally] = {}

    def verify(
        self, span: Window, lanes: Mapping[Window, Sequence[Lane]], planned: Mapping[Window, int], due: datetime
    ) -> None:
        """Verify each window, by its lanes, and that no selected event lies between the windows, up to when windows are `due`.

        `planned` are all windows, with the settings snapshot of each: one in which nothing was selected has no lanes.
        """
        self._removed = removed(self._settings, {lane.destination for some in lanes.values() for lane in some})
        for loss in self._result.lost:
            if loss.why is Why.WRITTEN_OFF:
                written_off = self._written_off.setdefault(loss.delivery_id, Tally())
                written_off[(loss.workspace_id, loss.kind)] += loss.events
        for window in sorted(lanes):
            self._result.windows += 1
            self._window(window, lanes[window], planned.get(window))
        for window in sorted(planned.keys() - lanes.keys()):
            # by the settings of then: those in force may select what was rightly left out
            self._nothing_in(window, self._settings.get(planned[window]))
        current = self._settings.current()
        for gap in gaps(span, [*lanes, *planned]):
            if gap.start < due:
                self._nothing_in(Window(gap.start, min(gap.end, due)), current)
            if gap.end > due:
                self._result.not_due.append(Window(max(gap.start, due), gap.end))
        self._result.nothing_due = self._result.not_due == [span]

    def _nothing_in(self, span: Window, snapshot: Snapshot) -> None:
        for destination, expected in self._expected(span, snapshot).items():
            self._find(
                span,
                destination,
                f"{counted(expected.total(), 'event was', 'events were')} never exported; export this window",
            )

    def _find(self, window: Window, destination: str, what: str) -> None:
        self._result.findings.append(Finding(window, destination, what))

    def _window(self, window: Window, lanes: Sequence[Lane], planned_by: int | None) -> None:
        """Verify one window; `planned_by` is the snapshot that it was planned by last, for those it was for."""
        result = self._result
        by_destination: dict[str, list[Lane]] = defaultdict(list)
        for lane in lanes:
            by_destination[lane.destination].append(lane)
        snapshots = {lane.snapshot_id for lane in lanes}
        expected = {snapshot: self._expected(window, self._settings.get(snapshot)) for snapshot in snapshots}
        for destination, found in sorted(by_destination.items()):
            result.deliveries += 1
            done: Tally = Tally()
            for lane in found:
                done.update(lane.delivered)
                done.update(lane.rejected)
                result.events += lane.delivered.total()
                result.rejected += lane.rejected.total()
                if lane.state is not State.DELIVERED:
                    why = f": {lane.last_error}" if lane.last_error else ""
                    result.findings.append(
                        Finding(window, destination, f"lane {lane.lane} is {lane.state}, not delivered{why}")
                    )
            if destination in self._removed and any(lane.state is not State.DELIVERED for lane in found):
                result.findings.append(Finding(window, destination, str(self._removed[destination])))
            if all(lane.state is State.DELIVERED for lane in found):
                wanted = expected[found[0].snapshot_id].get(destination, Tally())
                # what was written off may be in the log store, and need not be
                written_off = self._written_off.get(found[0].delivery_id, Tally())
                done.update(written_off & (wanted - done))
                result.findings += [Finding(window, destination, what) for what in differences(wanted, done)]
        # what was owed is planned by snapshots of its own, and a gap by one that is older: the number tells nothing
        newest = self._expected(window, self._settings.get(planned_by)) if planned_by else expected[max(snapshots)]
        for destination, wanted in sorted(newest.items()):
            judged = Tally()
            if destination in by_destination:
                # it may have been planned by older settings, which do not select all that these do
                judged = expected[by_destination[destination][0].snapshot_id].get(destination, Tally())
            if events := (wanted - judged).total():
                what = f"{counted(events, 'event was', 'events were')} never exported"
                result.findings.append(Finding(window, destination, what))

    def _expected(self, window: Window, snapshot: Snapshot) -> dict[str, Tally]:
        """Destination to the events that its routes select from what the store holds now."""
        settings: Settings = snapshot.settings
        store = PostgresStore(self._store_dsn, settings.log_store)
        try:
            counts = store.count(window, by_log_type=settings.filters_logs)
            plan = plan_window(settings, store.workspaces(), counts, dict.fromkeys(settings.destinations, 1))
        finally:
            store.close()
        return {destination: lanes[0].tally for destination, lanes in plan.lanes.items()}


def differences(wanted: Tally, done: Tally) -> list[str]:
    """What differs between the store's counts and the ledger's, in words."""
    words = []
    for workspace, kind in sorted(wanted.keys() | done.keys()):
        store, ledger = wanted[(workspace, kind)], done[(workspace, kind)]
        if store > ledger:
            words.append(
                f"workspace {workspace}, {kind}: {counted(store - ledger, 'event is', 'events are')} in the log store and "
                "not there when the window was exported; export it again"
            )
        elif store < ledger:
            words.append(
                f"workspace {workspace}, {kind}: {counted(ledger - store, 'event was', 'events were')} delivered that the "
                "log store no longer holds"
            )
    return words
