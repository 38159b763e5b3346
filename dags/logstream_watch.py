"""Names the gaps, tells the news, and streams what people did here. It runs while the export DAG is paused, too."""

from datetime import datetime, timedelta

from airflow.sdk import DAG, TriggerRule

from logstream.airflow.links import owner_links
from logstream.airflow.operators import NameGaps, StreamAuditEvents, TellNews

with DAG(
    "logstream_watch",
    description="Names time that is not exported yet, sends metrics, and tells who is to hear what is new",
    doc_md=__doc__,
    schedule="*/5 * * * *",
    start_date=datetime(2020, 1, 1),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=5),
    owner_links=owner_links(),
    tags=["logstream"],
    default_args={"owner": "logstream", "retries": 0},
):
    gaps = NameGaps(task_id="name_gaps")
    tell = TellNews(task_id="tell_news", trigger_rule=TriggerRule.ALL_DONE)

    gaps >> tell
    StreamAuditEvents(task_id="stream_audit_events")
