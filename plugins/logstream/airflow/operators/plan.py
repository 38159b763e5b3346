"""`resolve_routes` and `plan_deliveries`: who gets what, and who carries it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from logstream.airflow.operators.base import (
    DELIVERIES,
    LogstreamOperator,
    asked_by,
    carrier_of,
    destinations_of,
    exporter,
    window_of,
)
from logstream.airflow.operators.pools import group_of, groups_with_tasks, shares_key
from logstream.airflow.operators.schedule import note_schedule
from logstream.airflow.operators.watch import count_gaps
from logstream.ledger.coverage import AskedBy
from logstream.units import counted, size

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logstream.export.plan import Planned


class ResolveRoutes(LogstreamOperator):
    """Takes the snapshot of the settings that the run will use, and returns its id."""

    def execute(self, context: Context) -> int:
        """Resolve once, to say what will happen; planning does it again from the same snapshot."""
        with exporter() as engine:
            snapshot = engine.settings.current()
            routes = engine.routes(snapshot)
        reasons = Counter(str(route.reason) for route in routes)
        self.log.info(
            "Settings snapshot %s: %s of %s stream to %s.",
            snapshot.id,
            f"{sum(route.streaming is not None for route in routes):,}",
            counted(len(routes), "workspace"),
            counted(len({route.destination for route in routes if route.destination}), "destination"),
        )
        for reason, workspaces in reasons.most_common():
            self.log.info("%s: %s.", counted(workspaces, "workspace"), reason)
        return snapshot.id


class PlanDeliveries(LogstreamOperator):
    """Plans the windows of the run's interval and of gaps before it. Returns the tasks' shares.

    It counts events, divides them in lanes, and lanes among tasks.

    The ids of the deliveries go to `seal_window` by XCom, under the key `deliveries`; the shares of groups of destinations
    that have a pool of their own under the key `shares_POOL`.
    """

    template_fields: Sequence[str] = ("snapshot",)

    def __init__(self, *, snapshot: Any, max_tasks: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot, self.max_tasks = snapshot, max_tasks

    def execute(self, context: Context) -> list[dict[str, object]]:
        """Plan, and write the plan to the ledger."""
        from logstream.export.shares import MAX_TASKS

        groups = groups_with_tasks(context)
        interval = window_of(context)
        only = destinations_of(context)
        with exporter() as engine:
            planned = engine.plan(
                interval,
                snapshot=engine.settings.get(int(self.snapshot)),
                only=only,
                max_tasks=self.max_tasks or MAX_TASKS,
                heal=only is None,
                asked_by=asked_by(context),
                carrier=carrier_of(context),
                group_of=partial(group_of, groups=groups),
            )
            note_schedule(engine.ledger)
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
                "%s of other windows that destinations are owed: taken along.",
                counted(len(planned.owed), "delivery", "deliveries"),
            )
        if gaps := coverage.gaps():
            self.log.warning(
                "%s left to later runs, the oldest from %s.", counted(len(gaps), "gap is", "gaps are"), gaps[0]
            )
        for name, health in sorted(suspended.items()):
            what = "held, and gets nothing" if health.held else "suspended and only probed"
            self.log.warning("%s is %s: %s", name, what, health.error)
        for share in planned.shares:
            self.log.info(
                "One task: %s, %s, about %s.", share.label, counted(len(share.lanes), "lane"), size(share.bytes)
            )
        for group in groups:
            shares = [share.as_reference() for share in planned.shares if share.group == group.pool]
            context["ti"].xcom_push(key=shares_key(group.pool), value=shares)
        return [share.as_reference() for share in planned.shares if not share.group]

    def _say_windows(self, planned: Planned) -> None:
        if not planned.own:
            self.log.info("All time of %s is in windows that other runs have exported; nothing is left to do.",
                          planned.interval)  # fmt: skip
        for item in planned.windows:
            self.log.info(
                "%s %s: the log store has %s of %s; %s of them to be streamed, to %s.",
                "Window" if item in planned.own else "Gap",
                item.window,
                counted(sum(workspace.read for workspace in item.plan.workspaces), "event"),
                counted(sum(workspace.read > 0 for workspace in item.plan.workspaces), "workspace"),
                f"{item.plan.events:,}",
                counted(len(item.pending.deliveries), "destination"),
            )
