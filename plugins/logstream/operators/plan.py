"""`resolve_routes` and `plan_deliveries`: who gets what, and who carries it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from logstream.export.shares import MAX_TASKS
from logstream.operators.base import destinations_of, exporter, window_of
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
    """Plans the window: counts events, divides them in lanes and lanes among tasks. Returns the tasks' shares.

    The ids of the deliveries go to `seal_window` under the key `deliveries`.
    """

    template_fields: Sequence[str] = ("snapshot",)

    def __init__(self, *, snapshot: Any, max_tasks: int = MAX_TASKS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot, self.max_tasks = snapshot, max_tasks

    def execute(self, context: Context) -> list[dict[str, object]]:
        """Plan, and write the plan to the ledger."""
        window = window_of(context)
        only = destinations_of(context)
        with exporter() as engine:
            planned = engine.plan(
                window,
                snapshot=engine.settings.get(int(self.snapshot)),
                only=only,
                max_tasks=self.max_tasks,
                heal=only is None,
            )
            suspended = engine.ledger.suspended()
        context["ti"].xcom_push(key="deliveries", value=planned.delivery_ids)
        plan = planned.plan
        self.log.info(
            "Window %s: %s events of %s workspaces are in the log store; %s of them are streamed, to %s destinations.",
            window,
            f"{sum(workspace.read for workspace in plan.workspaces):,}",
            sum(workspace.read > 0 for workspace in plan.workspaces),
            f"{plan.events:,}",
            len(planned.deliveries),
        )
        if only is not None:
            self.log.info("Only some destinations, as the run's configuration says: %s.", ", ".join(only))
        if planned.owed:
            self.log.info("%s earlier windows that destinations are owed are taken along.", len(planned.owed))
        for name, health in sorted(suspended.items()):
            what = "suspended by hand, and gets nothing" if health.held else "suspended and only probed"
            self.log.warning("%s is %s: %s", name, what, health.error)
        for share in planned.shares:
            self.log.info("One task: %s, %s lanes, about %s.", share.label, len(share.lanes), size(share.bytes))
        return [share.as_reference() for share in planned.shares]
