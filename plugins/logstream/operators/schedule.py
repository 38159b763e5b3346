"""When windows are exported, and what that demands by now."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pendulum
from airflow.sdk import CronDataIntervalTimetable, Variable
from airflow.timetables import interval as timetables
from airflow.timetables.base import TimeRestriction

from logstream.ledger.coverage import Schedule
from logstream.window import Window

DEFAULT_CRON = "*/5 * * * *"
VARIABLE = "logstream_schedule"
ENVIRONMENT = "LOGSTREAM_SCHEDULE"


def export_schedule() -> CronDataIntervalTimetable | None:
    """The schedule as a cron expression in UTC, with real data intervals: a run's window is the time since the one before.

    The Airflow Variable `logstream_schedule`, else the environment's `LOGSTREAM_SCHEDULE`, else every five minutes;
    `none` leaves windows to those who trigger them.
    """
    cron = export_cron()
    return None if cron is None else CronDataIntervalTimetable(cron, timezone="UTC")


def export_cron() -> str | None:
    """The schedule's cron expression; `None` for none."""
    cron = Variable.get(VARIABLE, default=None) or os.environ.get(ENVIRONMENT) or DEFAULT_CRON
    return None if cron.strip().lower() == "none" else cron


def demanded(now: datetime, cron: str | None) -> Schedule | None:
    """What a cron expression demands at a time: the newest interval that has ended, and the end of the next one."""
    if cron is None:
        return None
    timetable = timetables.CronDataIntervalTimetable(cron, timezone="UTC")
    ended = timetable.infer_manual_data_interval(run_after=pendulum.instance(now))
    following = timetable.next_dagrun_info(
        last_automated_data_interval=ended, restriction=TimeRestriction(earliest=None, latest=None, catchup=True)
    )
    window = Window(_plain(ended.start), _plain(ended.end))
    return Schedule.of(window, _plain(following.data_interval.end) if following else None)


def _plain(moment: datetime) -> datetime:
    # pendulum's times are datetimes, but not all databases' drivers know them
    return datetime.fromtimestamp(moment.timestamp(), UTC)
