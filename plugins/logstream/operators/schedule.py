"""When windows are exported."""

from __future__ import annotations

import os

from airflow.sdk import CronDataIntervalTimetable, Variable

DEFAULT_CRON = "*/5 * * * *"
VARIABLE = "logstream_schedule"
ENVIRONMENT = "LOGSTREAM_SCHEDULE"


def export_schedule() -> CronDataIntervalTimetable | None:
    """The schedule as a cron expression in UTC, with real data intervals: a run's window is the time since the one before.

    The Airflow Variable `logstream_schedule`, else the environment's `LOGSTREAM_SCHEDULE`, else every five minutes;
    `none` leaves windows to those who trigger them.
    """
    cron = Variable.get(VARIABLE, default=None) or os.environ.get(ENVIRONMENT) or DEFAULT_CRON
    return None if cron.strip().lower() == "none" else CronDataIntervalTimetable(cron, timezone="UTC")
