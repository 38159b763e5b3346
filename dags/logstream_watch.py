"""Names the gaps: time that is not exported yet. It runs while the export DAG is paused, too."""

from datetime import datetime, timedelta

from airflow.sdk import DAG

from logstream.operators import NameGaps

with DAG(
    "logstream_watch",
    description="Names time that is not exported yet, in the metrics and its log",
    doc_md=__doc__,
    schedule="*/5 * * * *",
    start_date=datetime(2020, 1, 1),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=5),
    tags=["logstream"],
    default_args={"owner": "logstream", "retries": 0},
):
    NameGaps(task_id="name_gaps")
