"""Delivers what destinations are owed, or their dead letters, when a person asks for it: here, or on the console's page."""

from datetime import datetime

from airflow.sdk import DAG, Param

from logstream.airflow.links import owner_links
from logstream.airflow.operators import AFTER_A_LOST_WORKER, EmitAssetEvents, GrowingDelay, Redeliver

WHEN = "ISO 8601 with an offset, like 2026-11-24T00:00:00Z. Leave both out for all windows that are owed."

with DAG(
    "logstream_redeliver",
    description="Delivers what destinations are owed, or their dead letters, on demand",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2020, 1, 1),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=4,
    owner_links=owner_links(),
    tags=["logstream"],
    default_args={
        "owner": "logstream",
        "retries": 1,
        "retry_delay": AFTER_A_LOST_WORKER,
        "retry_policy": GrowingDelay(),
    },
    params={
        "destination": Param(None, type=["null", "string"], description="Only to this destination; all if left out."),
        "window_start": Param(None, type=["null", "string"], description=WHEN),
        "window_end": Param(None, type=["null", "string"], description=WHEN),
        "rejected": Param(False, type="boolean", description="Send the rejected events again instead."),
        "events": Param(
            None,
            type=["null", "array"],
            items={"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
            description="With that, only these: [delivery id, event id] each.",
        ),
    },
):
    redeliver = Redeliver(task_id="redeliver")
    emit = EmitAssetEvents(task_id="emit_asset_events", source="redeliver").as_teardown()

    redeliver >> emit
