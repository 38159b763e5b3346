"""`resolve_routes` and `plan_deliveries`: who gets what, and who carries it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from logstream.export.plan import Planned
from logstream.export.shares import MAX_TASKS
from logstream.ledger.coverage import AskedBy
from logstream.operators.base import DELIVERIES, asked_by, carrier_of, destinations_of, exporter, window_of
from logstream.operators.schedule import demanded, export_cron
from logstream.operators.watch import count_gaps
from logstream.units import size

if TYPE_CHECKING:
    from airflow.sdk import Context


class ResolveRoutes(BaseOperator):
    """Takes the snapshot of the settings that the run will use, and returns its id."""

    def execute(self, context: Context) -> int:
        """Resolve once, to say what will happen; planning does it again from the same snapshot."""
        with exporter() as engine:
            snapshot = engine.settings.current()
            routes = engine.routes(snapshot)
        reasons = Counter(str(route.reason) for route in routes)
        self.log.info(
            "Settings snapshot %s: %s of %s workspaces stream to %s destinations.",
            snapshot.id,
            sum(route.streaming is not None for route in routes),
            len(routes),
            len({route.destination for route in routes if route.destination}),
        )
        for reason, workspaces in reasons.most_common():
            self.log.info("%s workspaces: %s.", workspaces, reason)
        return snapshot.id


class PlanDeliveries(BaseOperator):
    """Plans the windows of the run's interval and of gaps before it. Returns the tasks' shares.

    It counts events, divides them in lanes, and lanes among tasks.

    The ids of the deliveries go to `seal_window` by XCom, under the key `deliveries`.
    """

    template_fields: Sequence[str] = ("snapshot",)

    def __init__(self, *, snapshot: Any, max_tasks: int = MAX_TASKS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot, self.max_tasks = snapshot, max_tasks

    def execute(self, context: Context) -> list[dict[str, object]]:
        """Plan, and write the plan to the ledger."""
        interval = window_of(context)
        only = destinations_of(context)
        with exporter() as engine:
            planned = engine.plan(
                interval,
                snapshot=engine.settings.get(int(self.snapshot)),
                only=only,
                max_tasks=self.max_tasks,
                heal=only is None,
                asked_by=asked_by(context),
                carrier=carrier_of(context),
            )
            engine.ledger.note_schedule(demanded(datetime.now(UTC), export_cron()))
            coverage = engine.ledger.coverage()
            suspended = engine.ledger.suspended()
        context["ti"].xcom_push(key=DELIVERIES, value=planned.delivery_ids)
        if asked_by(context) is AskedBy.SCHEDULE:
            count_gaps(coverage)
        self._say_windows(planned)
        if only is not None:
            self.log.info("Only some destinations, as the run's configuration says: %s.", ", ".join(only))
        if planned.owed:
            self.log.info(
                "%s deliveries of other windows that destinations are owed are taken along.", len(planned.owed)
            )
        if gaps := coverage.gaps():
            self.log.warning("%s gaps are left to later runs, the oldest from %s.", len(gaps), gaps[0])
        for name, health in sorted(suspended.items()):
            what = "suspended by hand, and gets nothing" if health.held else "suspended and only probed"
            self.log.warning("%s is %s: %s", name, what, health.error)
        for share in planned.shares:
            self.log.info("One task: %s, %s lanes, about %s.", share.label, len(share.lanes), size(share.bytes))
        return [share.as_reference() for share in planned.shares]

    def _say_windows(self, planned: Planned) -> None:
        if not planned.own:
            self.log.info("All time of %s is in windows that other runs have exported; nothing is left to do.",
                          planned.interval)  # fmt: skip
        for item in planned.windows:
            self.log.info(
                "%s %s: %s events of %s workspaces are in the log store; %s of them are streamed, to %s destinations.",
                "Window" if item in planned.own else "Gap",
                item.window,
                f"{sum(workspace.read for workspace in item.plan.workspaces):,}",
                sum(workspace.read > 0 for workspace in item.plan.workspaces),
                f"{item.plan.events:,}",
                len(item.pending.deliveries),
            )
