"""Exports each window of the workspaces' audit logs to where their owners need them."""

from datetime import datetime

from airflow.sdk import DAG, Param, TriggerRule

from logstream.airflow.links import owner_links
from logstream.airflow.operators import (
    AFTER_A_LOST_WORKER,
    EmitAssetEvents,
    GrowingDelay,
    PlanDeliveries,
    ResolveRoutes,
    SealWindow,
    WaitForClosedWindow,
    deliver_tasks,
    export_deadline,
    export_schedule,
)

with DAG(
    "logstream_export",
    description="Exports each window of the workspaces' audit logs to where their owners need them",
    doc_md=__doc__,
    schedule=export_schedule(),
    start_date=datetime(2020, 1, 1),
    catchup=False,
    max_active_runs=4,
    deadline=export_deadline(),
    owner_links=owner_links(),
    tags=["logstream"],
    params={
        "destinations": Param(
            None,
            type=["null", "array"],
            items={"type": "string"},
            description="Export the window to these destinations only, and leave the others as they are.",
        )
    },
    default_args={
        "owner": "logstream",
        "retries": 3,
        "retry_delay": AFTER_A_LOST_WORKER,
        "retry_policy": GrowingDelay(),
    },
):
    closed = WaitForClosedWindow(task_id="wait_for_closed_window")
    routes = ResolveRoutes(task_id="resolve_routes")
    plan = PlanDeliveries(task_id="plan_deliveries", snapshot=routes.output)
    deliver = deliver_tasks(plan)
    seal = SealWindow(task_id="seal_window", trigger_rule=TriggerRule.ALL_DONE)

    emit = EmitAssetEvents(task_id="emit_asset_events").as_teardown()

    closed >> routes >> plan >> deliver >> seal >> emit
