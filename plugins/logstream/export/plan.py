"""`plan`: which lanes a run will deliver, written to the ledger before anything is sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from logstream.destinations.registry import make_destination
from logstream.errors import InputError
from logstream.export.deployment import Deployment
from logstream.export.shares import MAX_TASKS, Share, divide
from logstream.export.window_plan import WindowPlan, plan_window
from logstream.ledger.health import Health, Owed, to_be_tried
from logstream.ledger.records import Delivery, Pending, PendingLane, State
from logstream.settings.models import Settings
from logstream.settings.repository import Snapshot
from logstream.store.closing import Watch
from logstream.store.postgres import PostgresStore
from logstream.window import Window


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan that is in the ledger."""

    window: Window
    snapshot: Snapshot
    plan: WindowPlan
    deliveries: dict[str, int]
    shares: list[Share]
    owed: list[int] = field(default_factory=list)
    """Deliveries of earlier windows that are taken along."""

    @property
    def delivery_ids(self) -> list[int]:
        """All deliveries that are to be sealed in the end."""
        return sorted({*self.deliveries.values(), *self.owed})


class Planner:
    """Plans windows of a deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def plan(
        self, window: Window, *, snapshot: Snapshot | None = None, only: Collection[str] | None = None,
        max_tasks: int = MAX_TASKS, heal: bool = False,
    ) -> Planned:  # fmt: skip
        """Plan a window and write the plan to the ledger. `only` plans some destinations and leaves the others alone.

        With `heal`, some of what destinations are owed is planned along, oldest first, a destination that is suspended is
        only probed, by one lane of the oldest window that it has not got, and one that is held is left in peace.
        """
        snapshot = snapshot or self._deployment.settings.current()
        settings = snapshot.settings
        for name in only or ():
            if name not in settings.destinations:
                known = ", ".join(settings.destinations) or "none"
                raise InputError(f'no destination named "{name}"; the settings have {known}')
        plan = self._plan(window, settings)
        lanes = {name: found for name, found in plan.lanes.items() if only is None or name in only}
        pending = self._deployment.ledger.plan(window, snapshot.id, lanes)
        todo, owed = pending.lanes, list[int]()
        if heal:
            before, owed = self._plan_late(window)
            suspended = self._deployment.ledger.suspended()
            for item in to_be_tried(
                [item for item in self._deployment.ledger.owed() if item.window != window],
                suspended,
                self._deployment.healing.owed_per_run,
            ):
                more = self._plan_owed(item, settings)
                owed += more.deliveries.values()
                before += more.lanes
            todo = probes_only(before + todo, suspended)
        return Planned(window, snapshot, plan, pending.deliveries, divide(todo, max_tasks), owed)

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

    def _plan_late(self, window: Window) -> tuple[list[PendingLane], list[int]]:
        """Plan what was added to earlier windows after they were exported open, now that their writers have ended."""
        todo: list[PendingLane] = []
        ids: list[int] = []
        for late, seen in self._deployment.ledger.open_windows():
            if late == window:
                continue
            current = self._deployment.settings.current()
            closing, connection = self._deployment.store(current).closed_window(late, watch=Watch.of(seen))
            with connection:
                closed = closing.look()
            if not closed:
                self._deployment.ledger.note_open(late, closing.watch.as_json())
                continue
            self._deployment.ledger.note_closed(late)
            lanes = self._deployment.ledger.lanes_in(late)
            snapshot = self._deployment.settings.get(max(lane.snapshot_id for lane in lanes)) if lanes else current
            # a lane to which nothing was added is as it was planned, and stays delivered
            pending = self._deployment.ledger.plan(late, snapshot.id, self._plan(late, snapshot.settings).lanes)
            todo += pending.lanes
            ids += pending.deliveries.values()
        return todo, ids

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


def empty_deliveries(planned: Planned) -> list[Delivery]:
    """Deliveries without events: of destinations that routes lead to and that have none in the window."""
    names = {plan.route.destination for plan in planned.plan.workspaces if plan.route.destination}
    return [
        Delivery(0, name, planned.window, planned.snapshot.id, State.DELIVERED)
        for name in sorted(names - planned.deliveries.keys())
    ]
