"""`plan`: which lanes a run will deliver, written to the ledger before anything is sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from logstream.destinations.registry import make_destination
from logstream.errors import InputError
from logstream.export.deployment import Deployment
from logstream.export.intervals import Asked, IntervalPlanner, PlannedWindow
from logstream.export.shares import MAX_TASKS, Share, divide
from logstream.export.window_plan import WindowPlan, plan_window
from logstream.ledger.health import Health, Owed, to_be_tried
from logstream.ledger.records import Pending, PendingLane
from logstream.settings.models import Settings
from logstream.settings.repository import Snapshot
from logstream.store.postgres import PostgresStore
from logstream.window import Window


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
        return sorted({*(number for item in self.windows for number in item.pending.deliveries.values()), *self.owed})


class Planner:
    """Plans windows of a deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def plan(self, asked: Asked, *, max_tasks: int = MAX_TASKS, heal: bool = False) -> Planned:
        """Plan what a run is asked to export, and write the plan to the ledger.

        With `heal`, some of what destinations are owed is planned along, oldest first, a destination that is suspended is
        only probed, by one lane of the oldest window that it has not got, and one that is held is left in peace.
        """
        deployment, settings = self._deployment, asked.snapshot.settings
        for name in asked.only or ():
            if name not in settings.destinations:
                known = ", ".join(settings.destinations) or "none"
                raise InputError(f'no destination named "{name}"; the settings have {known}')
        windows = IntervalPlanner(
            deployment.settings, deployment.ledger, self._plan, deployment.healing.gaps_per_run
        ).plan(asked)
        todo = [(item.window, lane) for item in windows for lane in item.pending.lanes]
        owed: list[int] = []
        suspended: dict[str, Health] = {}
        if heal:
            suspended = deployment.ledger.suspended()
            ours = {number for item in windows for number in item.pending.deliveries.values()}
            others = [item for item in deployment.ledger.owed() if item.delivery_id not in ours]
            for item in to_be_tried(others, suspended, deployment.healing.owed_per_run):
                more = self._plan_owed(item, settings)
                owed += more.deliveries.values()
                todo += [(item.window, lane) for lane in more.lanes]
        lanes = probes_only([lane for _, lane in sorted(todo, key=lambda pair: pair[0])], suspended)
        return Planned(asked.interval, asked.snapshot, windows, divide(lanes, max_tasks), asked.only, owed)

    def _plan(self, window: Window, settings: Settings, only: str | None = None) -> WindowPlan:
        store = PostgresStore(self._deployment.store_dsn, settings.log_store)
        names = settings.destinations if only is None else [only]
        counts = {name: self._lane_count(name, settings) for name in names}
        try:
            return plan_window(
                settings,
                store.workspaces(),
                store.count(window, by_log_type=settings.filters_logs),
                {**dict.fromkeys(settings.destinations, 1), **counts},
            )
        finally:
            store.close()

    def _plan_owed(self, item: Owed, now: Settings) -> Pending:
        """Plan what is owed anew: by the routes of then, to the destination as it is now."""
        if item.destination not in now.destinations:
            return Pending({}, [])
        snapshot = self._deployment.settings.derive(
            self._deployment.settings.get(item.snapshot_id), item.destination, now
        )
        lanes = self._plan(item.window, snapshot.settings, item.destination).lanes.get(item.destination, ())
        return self._deployment.ledger.plan(item.window, snapshot.id, {item.destination: lanes})

    def plan_owed(
        self, destination: str | None = None, window: Window | None = None, max_tasks: int = MAX_TASKS
    ) -> tuple[list[int], list[Share]]:
        """Plan all that is owed, to one destination or to all that are not held, of one window or of all.

        Returns the deliveries, and who carries them.
        """
        now = self._deployment.settings.current().settings
        held = {name for name, health in self._deployment.ledger.suspended().items() if health.held}
        ids: list[int] = []
        todo: list[PendingLane] = []
        for item in self._deployment.ledger.owed(destination):
            if window is not None and item.window != window:
                continue
            if destination is None and item.destination in held:
                continue
            pending = self._plan_owed(item, now)
            ids += pending.deliveries.values()
            todo += pending.lanes
        return ids, divide(todo, max_tasks)

    def _lane_count(self, name: str, settings: Settings) -> int:
        return int(make_destination(name, settings.destinations[name], self._deployment.connections).options.lanes)


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
