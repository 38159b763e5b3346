"""Tries every destination out once a day, so that an expired credential is found before it fails a night's window."""

from datetime import datetime, timedelta

from airflow.sdk import DAG, TriggerRule

from logstream.airflow.links import owner_links
from logstream.airflow.operators import CheckDestinations, TellNews, check_schedule

with DAG(
    "logstream_check",
    description="Tries every destination out, and tells of those that fail",
    doc_md=__doc__,
    schedule=check_schedule(),
    start_date=datetime(2020, 1, 1),
    catchup=False,
    is_paused_upon_creation=True,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=2),
    owner_links=owner_links(),
    tags=["logstream"],
    default_args={"owner": "logstream", "retries": 0},
):
    check = CheckDestinations(task_id="check_destinations")
    tell = TellNews(task_id="tell_news", trigger_rule=TriggerRule.ALL_DONE)

    check >> tell
