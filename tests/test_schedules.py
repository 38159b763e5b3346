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
from tests.test_engine import START, engine, filled
from tests.test_gaps import run, seconds, streaming

__all__ = ["engine", "filled", "streaming"]  # fixtures


class Schedules:
    """Airflow's Variables, of which one has the schedule; `away`, those who ask get the default, as from Airflow's own."""

    def __init__(self, cron: str | None) -> None:
        self.cron, self.away = cron, False

    def get(self, _: str, default: str | None) -> str | None:
        return default if self.away or self.cron is None else self.cron

    def keys(self, prefix: str) -> list[str]:
        if self.away:
            raise BrokenPipeError
        return [prefix] if self.cron else []


@pytest.mark.parametrize("answers", [True, False])
def test_a_schedule_that_airflow_cannot_tell_is_not_replaced_by_the_default(
    streaming: Exporter, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    schedules = Schedules("* * * * *")
    monkeypatch.setattr("logstream.airflow.operators.schedule.Variable", schedules)
    monkeypatch.setenv("LOGSTREAM_SCHEDULE", "0 0 1 1 *")

    def noted() -> timedelta:
        note_schedule(streaming.ledger)
        found = streaming.ledger.coverage().schedule
        assert found is not None
        return found.interval.end - found.interval.start

    assert noted() == timedelta(minutes=1)
    if answers:
        schedules.get = lambda _, default: default  # type: ignore[method-assign]
    else:
        schedules.away = True
    assert noted() == timedelta(minutes=1)
    # one that is not set leaves the choice to the environment
    schedules = Schedules(None)
    monkeypatch.setattr("logstream.airflow.operators.schedule.Variable", schedules)
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
    schedules = Schedules("none")
    monkeypatch.setattr("logstream.airflow.operators.schedule.Variable", schedules)
    monkeypatch.setattr(
        "logstream.airflow.operators.watch.stats.gauge", lambda name, value, tags=None: told.update({name: value})
    )
    NameGaps(task_id="name_gaps").execute({})
    assert (told["logstream.gaps"], told["logstream.gap_seconds"]) == (1, 180.0)
    # with a schedule, up to now
    schedules.cron = "* * * * *"
    NameGaps(task_id="name_gaps").execute({})
    days = (datetime.now(UTC) - START).total_seconds()
    assert told["logstream.gaps"] == 2
    assert days - 600 < told["logstream.gap_seconds"] < days
    # and without one, again only up to what was exported
    schedules.cron = "none"
    NameGaps(task_id="name_gaps").execute({})
    assert told["logstream.gaps"] == 1
