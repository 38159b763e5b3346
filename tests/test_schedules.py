"""What a schedule demands, and what is said where Airflow cannot tell it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from logstream.airflow.operators import NameGaps
from logstream.airflow.operators.schedule import demanded, note_schedule
from logstream.export.exporter import Exporter
from logstream.ledger.coverage import AskedBy, Schedule
from logstream.window import Window
from tests.supervised import FAILURES, MANY, Supervisor
from tests.test_engine import START, engine, filled
from tests.test_gaps import run, seconds, streaming

__all__ = ["engine", "filled", "streaming"]  # fixtures


@pytest.mark.parametrize("failure", FAILURES)
def test_a_schedule_that_airflow_cannot_tell_is_not_replaced_by_the_default(
    streaming: Exporter, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    supervisor = Supervisor.of_this_process(monkeypatch, variables={"logstream_schedule": "* * * * *"})
    monkeypatch.setenv("LOGSTREAM_SCHEDULE", "0 0 1 1 *")

    def noted() -> timedelta:
        note_schedule(streaming.ledger)
        found = streaming.ledger.coverage().schedule
        assert found is not None
        return found.interval.end - found.interval.start

    assert noted() == timedelta(minutes=1)
    supervisor.fails, supervisor.failure = MANY, failure
    assert noted() == timedelta(minutes=1)
    # one that is not set leaves the choice to the environment
    supervisor.fails, supervisor.variables = 0, {}
    assert noted() >= timedelta(days=365)


@pytest.mark.parametrize(
    ("cron", "now", "start", "end", "following"),
    [
        ("*/5 * * * *", "12:03", "11:55", "12:00", "12:05"),
        ("*/5 * * * *", "12:05", "12:00", "12:05", "12:10"),
        ("@hourly", "12:59", "11:00", "12:00", "13:00"),
        ("0 9-17 * * *", "22:00", "16:00", "17:00", "33:00"),
    ],
)
def test_what_a_cron_expression_demands(cron: str, now: str, start: str, end: str, following: str) -> None:
    def clock(text: str) -> datetime:
        hours, minutes = map(int, text.split(":"))
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=hours, minutes=minutes)

    assert demanded(clock(now), cron) == Schedule(Window(clock(start), clock(end)), clock(following))
    assert demanded(clock(now), None) is None


def test_metrics_name_gaps_while_no_run_exports(streaming: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, float] = {}

    @contextmanager
    def ours() -> Iterator[Exporter]:
        yield streaming

    run(streaming, seconds(0, 60))
    run(streaming, seconds(240, 300), AskedBy.REQUEST)
    monkeypatch.setattr("logstream.airflow.operators.watch.exporter", ours)
    variables = Supervisor.of_this_process(monkeypatch, variables={"logstream_schedule": "none"}).variables
    monkeypatch.setattr(
        "logstream.airflow.operators.watch.stats.gauge", lambda name, value, tags=None: told.update({name: value})
    )
    NameGaps(task_id="name_gaps").execute({})
    assert (told["logstream.gaps"], told["logstream.gap_seconds"]) == (1, 180.0)
    # with a schedule, up to now
    variables["logstream_schedule"] = "* * * * *"
    NameGaps(task_id="name_gaps").execute({})
    days = (datetime.now(UTC) - START).total_seconds()
    assert told["logstream.gaps"] == 2
    assert days - 600 < told["logstream.gap_seconds"] < days
    # and without one, again only up to what was exported
    variables["logstream_schedule"] = "none"
    NameGaps(task_id="name_gaps").execute({})
    assert told["logstream.gaps"] == 1
