"""The windows of a schedule are those that Airflow makes, without asking it for each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.timetables.interval import CronDataIntervalTimetable, DeltaDataIntervalTimetable

from logstream.console import runs
from logstream.window import Window

START = datetime(2026, 3, 1, tzinfo=UTC)


SPANS = [
    (START, timedelta(days=1)),
    (datetime(2026, 2, 27, 23, 59, 30, tzinfo=UTC), timedelta(days=3, minutes=7)),
    (datetime(2026, 10, 25, 0, 2, 1, 500_000, tzinfo=UTC), timedelta(hours=5)),
    (datetime(2025, 12, 31, 12, tzinfo=UTC), timedelta(seconds=30)),
]


def same_as_airflows(timetable: Any, start: datetime, end: datetime) -> None:
    """Whether ours are the windows of a range that Airflow itself lists for a backfill."""
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("d", schedule=timetable, start_date=datetime(2020, 1, 1, tzinfo=UTC)) as dag:
        pass
    serialized = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    intervals = [info.data_interval for info in serialized.iter_dagrun_infos_between(start, end)]
    theirs = [Window(interval.start, interval.end) for interval in intervals if interval.end <= end]
    assert list(runs.windows_between(serialized, start, end)) == theirs


@pytest.mark.parametrize(
    ("cron", "times"),
    [("*/30 * * * *", 1), ("7,22,37 */3 * * *", 1), ("@daily", 9), ("0 3 * * 1-5", 9), ("0 0 1 * *", 60)],
)
def test_windows_of_a_schedule_are_those_that_airflow_makes(cron: str, times: int) -> None:
    for start, length in SPANS:
        for zone in ("UTC", "Europe/Berlin"):
            same_as_airflows(CronDataIntervalTimetable(cron, timezone=zone), start, start + times * length)
    same_as_airflows(DeltaDataIntervalTimetable(timedelta(hours=5)), START, START + timedelta(days=times))


def test_a_month_of_windows_does_not_ask_airflow_for_each() -> None:
    """Each of its answers takes half a millisecond, so a month of five minutes took five seconds."""
    dag = SimpleNamespace(timetable=CronDataIntervalTimetable("*/5 * * * *", timezone="UTC"))
    found = list(runs.windows_between(dag, START, START + timedelta(days=31)))
    assert len(found) == 31 * 288
    assert found[0] == Window(START, START + timedelta(minutes=5)) and found[-1].end == START + timedelta(days=31)
