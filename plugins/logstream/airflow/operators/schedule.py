"""When windows are exported, and what that demands by now."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pendulum
from airflow.sdk import CronDataIntervalTimetable, Variable
from airflow.timetables import interval as timetables
from airflow.timetables.base import TimeRestriction

from logstream.airflow.backends import variable
from logstream.errors import AirflowAway
from logstream.ledger.coverage import Schedule
from logstream.window import Window

if TYPE_CHECKING:
    from logstream.ledger.ledger import Ledger

log = logging.getLogger("logstream")

DEFAULT_CRON = "*/5 * * * *"
VARIABLE = "logstream_schedule"
ENVIRONMENT = "LOGSTREAM_SCHEDULE"

DEFAULT_CHECK_CRON = "0 15 * * *"
CHECK_VARIABLE = "logstream_check_schedule"
CHECK_ENVIRONMENT = "LOGSTREAM_CHECK_SCHEDULE"


def export_schedule() -> CronDataIntervalTimetable | None:
    """The schedule as a cron expression in UTC, with real data intervals: a run's window is the time since the one before.

    The Airflow Variable `logstream_schedule`, else the environment's `LOGSTREAM_SCHEDULE`, else every five minutes;
    `none` leaves windows to those who trigger them.
    """
    cron = _cron(Variable.get(VARIABLE, default=None))
    return None if cron is None else CronDataIntervalTimetable(cron, timezone="UTC")


def check_schedule() -> str | None:
    """When destinations are tried out: the Airflow Variable `logstream_check_schedule`, else the environment's
    `LOGSTREAM_CHECK_SCHEDULE`, else every day at 15:00 UTC; `none` for never."""
    given = Variable.get(CHECK_VARIABLE, default=None) or os.environ.get(CHECK_ENVIRONMENT) or DEFAULT_CHECK_CRON
    return None if given.strip().lower() == "none" else given


def _cron(given: str | None) -> str | None:
    """The schedule's cron expression, by what the Variable says; `None` for no schedule."""
    cron = given or os.environ.get(ENVIRONMENT) or DEFAULT_CRON
    return None if cron.strip().lower() == "none" else cron


def note_schedule(ledger: Ledger) -> None:
    """Note in the ledger what the schedule demands by now; leave what is noted where Airflow cannot say what the schedule is.

    Noting the default then would hide every gap, or name time that no schedule demands.
    """
    try:
        given = variable(VARIABLE)
    except AirflowAway as error:
        log.warning("%s. The schedule noted before holds.", error)
        return
    ledger.note_schedule(demanded(datetime.now(UTC), _cron(given)))


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
