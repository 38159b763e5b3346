"""One word for how a destination is, and `logstream status`: what is said of each trouble, and that nothing is called well that is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.export.exporter import Exporter
from logstream.ledger.condition import Backlog, Condition, DestinationStatus
from logstream.ledger.coverage import Schedule
from logstream.ledger.health import Health
from logstream.ledger.overview import DeliveryFilter, Overview
from logstream.ledger.status import Status, look
from logstream.testing.servers import LogSink
from logstream.window import Window

from .conftest import Cli
from .stage import PROJECT
from .test_engine import Make, engine, filled
from .test_healing import run, two_destinations, window
from .test_losses import quick

__all__ = ["engine", "filled"]  # fixtures

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
STEP = timedelta(minutes=5)
GAP = Backlog(12, NOW - HOUR)
DOWN = Health(1, NOW, None, "it is down")


@pytest.mark.parametrize(
    ("facts", "condition"),
    [
        ({}, "waiting"),
        ({"delivered_until": NOW}, "up to date"),
        ({"gaps": GAP}, "gaps"),
        ({"delivered_until": NOW - HOUR, "gaps": GAP}, "gaps"),
        ({"gaps": GAP, "last_sealed": NOW - STEP}, "catching up"),
        ({"gaps": GAP, "last_sealed": NOW - 2 * STEP, "step": STEP}, "catching up"),
        ({"gaps": GAP, "last_sealed": NOW - 3 * STEP, "step": STEP}, "gaps"),
        ({"gaps": GAP, "last_sealed": NOW - STEP, "step": timedelta(minutes=1)}, "gaps"),
        ({"owed": 1, "owed_since": NOW - HOUR}, "owed"),
        ({"owed": 1, "owed_since": NOW - HOUR, "last_sealed": NOW - HOUR}, "owed"),
        ({"owed": 1, "owed_since": NOW - HOUR, "last_sealed": NOW - HOUR, "step": HOUR}, "catching up"),
        ({"owed": 1, "owed_since": NOW - HOUR, "last_sealed": NOW - STEP}, "catching up"),
        ({"owed": 1, "owed_since": NOW, "gaps": GAP}, "owed"),
        ({"delivered_until": NOW, "rejected_share": 1.0}, "rejecting"),
        ({"delivered_until": NOW, "rejected_share": 0.01}, "rejecting"),
        ({"delivered_until": NOW, "rejected_share": 0.009}, "up to date"),
        ({"health": DOWN, "delivered_until": NOW, "rejected_share": 1.0, "owed": 1, "last_sealed": NOW}, "failing"),
        ({"trouble": "it is down", "delivered_until": NOW}, "failing"),
        ({"trouble": "it is down", "health": Health(suspended_at=NOW, held=True)}, "held"),
        ({"trouble": "it was down", "owed": 1, "owed_since": NOW - HOUR, "last_sealed": NOW - STEP}, "catching up"),
        ({"trouble": "it is down", "owed": 1, "owed_since": NOW - HOUR}, "failing"),
        ({"blocked": "the log store is away", "delivered_until": NOW}, "blocked"),
        ({"blocked": "the log store is away", "owed": 1, "owed_since": NOW - HOUR}, "blocked"),
        ({"blocked": "the log store was away", "owed": 1, "owed_since": NOW, "last_sealed": NOW - STEP}, "catching up"),
        ({"blocked": "the log store is away", "trouble": "it is down"}, "failing"),
        ({"blocked": "the log store is away", "health": DOWN}, "failing"),
        ({"health": Health(3, NOW, NOW, "it is down"), "owed": 9, "last_sealed": NOW}, "suspended"),
        ({"health": Health(suspended_at=NOW, held=True), "owed": 9, "last_sealed": NOW}, "held"),
    ],
)
def test_the_word(facts: dict[str, Any], condition: str) -> None:
    status = DestinationStatus("lake", **{"now": NOW, **facts})
    assert status.condition == Condition(condition)
    assert status.sentence.startswith(condition)


@given(
    st.builds(
        DestinationStatus, st.just("lake"),
        st.builds(Health, st.integers(0, 3), st.just(NOW), st.sampled_from([None, NOW]), st.just("down"), st.booleans()),
        st.sampled_from([None, NOW]), st.integers(0, 3), st.just(NOW - HOUR), st.sampled_from([Backlog(), GAP]),
        st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([None, NOW - STEP, NOW - HOUR]), st.integers(0, 2),
        st.just(None), st.sampled_from([None, "down"]), st.sampled_from([None, "away"]), st.just(None), st.just(NOW),
        st.sampled_from([None, STEP]),
    )
)  # fmt: skip
def test_up_to_date_is_said_of_nothing_that_lacks_anything(status: DestinationStatus) -> None:
    lacks = (
        status.owed or status.gaps.windows or status.health.failures or status.health.suspended or status.health.held
        or status.trouble or status.blocked
    )  # fmt: skip
    if status.condition is Condition.UP_TO_DATE:
        assert not lacks and status.delivered_until
    if status.rejected_share or status.lost:
        assert not (status.is_well and status.condition is Condition.UP_TO_DATE)
    assert bool(status.condition.remedy) is not status.condition.is_well, "what needs a person says what to do"


def test_the_docs_say_what_each_word_means() -> None:
    text = (PROJECT / "docs" / "operating.md").read_text()
    for condition in Condition:
        assert f"| {condition} | {condition.meaning} | {condition.remedy or 'nothing'} |" in text


def test_a_remedy_names_the_destination_that_it_is_of() -> None:
    for condition in Condition:
        assert "NAME" not in condition.remedy_for("lake")
    assert "`logstream destinations check lake`" in Condition.SUSPENDED.remedy_for("lake")


def test_how_long_it_takes() -> None:
    owed = DestinationStatus("lake", owed=25, owed_since=NOW, step=STEP, now=NOW, last_sealed=NOW)
    assert owed.ready_in(12, 24) == 3 * STEP
    assert replace(owed, gaps=Backlog(25, NOW), owed=1).ready_in(12, 24) == 2 * STEP
    for trouble in (Health(1, NOW, None, "down"), Health(suspended_at=NOW), Health(suspended_at=NOW, held=True)):
        assert replace(owed, health=trouble).ready_in(12, 24) is None, "it gets nothing now"
    assert replace(owed, last_sealed=None).ready_in(12, 24) is None
    assert DestinationStatus("lake", owed=25, owed_since=NOW, now=NOW).ready_in(12, 24) is None
    assert DestinationStatus("lake", step=STEP, now=NOW).ready_in(12, 24) is None


def looked(exporter: Exporter) -> Status:
    return look(exporter.engine, exporter.settings.current().settings.destinations)


def words(exporter: Exporter) -> dict[str, str]:
    return {status.name: status.condition.value for status in looked(exporter).destinations}


def test_a_destination_is_failing_while_a_run_still_tries_again(engine: Make, sink: LogSink, tmp_path: Path) -> None:
    exporter = quick(engine(two_destinations(tmp_path / "out")))
    run(exporter, 0)
    sink.fail = lambda _: 503
    planned = exporter.plan(window(1))
    keys = [key for share in planned.shares for key in share.lanes]
    exporter.deliver(keys)
    assert words(exporter) == {"hook": "failing", "out": "up to date"}, "its task is tried again by Airflow"
    (problem,) = looked(exporter).problems
    assert "503" in problem.text
    sink.fail = lambda _: None
    exporter.deliver(keys)
    assert words(exporter) == {"hook": "up to date", "out": "up to date"}
    exporter.seal(planned.delivery_ids)
    assert looked(exporter).is_well


def test_a_destination_from_its_first_window_over_an_outage_to_being_up_to_date_again(
    engine: Make, sink: LogSink, tmp_path: Path
) -> None:
    exporter = quick(engine(two_destinations(tmp_path / "out")))
    assert words(exporter) == {"hook": "waiting", "out": "waiting"}
    assert looked(exporter).is_well
    run(exporter, 0)
    assert words(exporter) == {"hook": "up to date", "out": "up to date"}
    sink.fail = lambda _: 503
    run(exporter, 1)
    found = looked(exporter)
    assert words(exporter) == {"hook": "failing", "out": "up to date"}
    (problem,) = found.problems
    assert (problem.destination, problem.condition) == ("hook", "failing")
    assert "503" in problem.text and "destinations check" in problem.remedy
    for number in range(2, 5):
        run(exporter, number)
    assert words(exporter)["hook"] == "suspended"
    sink.fail = lambda _: None
    exporter.healing = type(exporter.healing)(owed_per_run=1)
    run(exporter, 5)
    assert words(exporter)["hook"] == "catching up", "its probe has arrived, and more is owed"
    assert looked(exporter).is_well
    exporter.healing = type(exporter.healing)()
    run(exporter, 6)
    assert words(exporter) == {"hook": "up to date", "out": "up to date"}
    exporter.ledger.suspend("out", "by ann")
    assert words(exporter)["out"] == "held"
    assert not looked(exporter).is_well


def test_what_is_owed_and_does_not_come_is_called_owed(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path
) -> None:
    exporter = quick(engine(two_destinations(tmp_path / "out")))
    run(exporter, 0)
    sink.fail = lambda _: 503
    run(exporter, 1)
    exporter.ledger.resume("hook")  # a person says that it is well again
    assert words(exporter)["hook"] == "catching up"
    filled.execute("update logstream.deliveries set sealed_at = sealed_at - interval '1 hour'")
    assert words(exporter) == {"hook": "owed", "out": "up to date"}
    (problem,) = looked(exporter).problems
    assert (problem.condition, "1 window owed" in problem.text) == ("owed", True)


def test_a_gap_is_one_problem_however_many_destinations_miss_its_events(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    now = datetime.now(UTC)
    filled.execute("update logstream.settings_snapshots set created_at = %s", (now - 2 * HOUR,))
    exporter.ledger.note_schedule(Schedule.of(Window(now - HOUR, now - HOUR + STEP)))
    found = looked(exporter)
    assert words(exporter) == {"hook": "gaps", "out": "gaps"}
    (problem,) = found.problems
    assert (problem.condition, problem.destination) == ("gaps", None)
    assert found.gaps.windows == pytest.approx(23, abs=1)
    assert "paused" in problem.remedy


def test_what_is_lost_is_said_until_it_is_acknowledged(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path
) -> None:
    exporter = quick(engine(two_destinations(tmp_path / "out")))
    sink.fail = lambda _: 503
    run(exporter, 0)
    gone = filled.execute(
        "delete from events where recorded_at < %s and workspace_id %% 2 = 1", (window(0).end,)
    ).rowcount
    sink.fail = lambda _: None
    run(exporter, 1)
    assert words(exporter) == {"hook": "up to date", "out": "up to date"}
    assert [(problem.condition, problem.destination) for problem in looked(exporter).problems] == [("lost", "hook")]
    assert f"{gone:,} events" in looked(exporter).problems[0].text
    exporter.ledger.acknowledge("ann")
    assert looked(exporter).is_well


def test_a_window_of_which_all_is_lost_was_not_delivered(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path
) -> None:
    exporter = quick(engine(two_destinations(tmp_path / "out")))
    sink.fail = lambda _: 503
    run(exporter, 0)
    filled.execute("delete from events where workspace_id %% 2 = 1".replace("%%", "%"))
    sink.fail = lambda _: None
    run(exporter, 1)
    hook = next(status for status in looked(exporter).destinations if status.name == "hook")
    assert (hook.delivered_until, hook.condition, hook.lost > 0) == (None, Condition.WAITING, True)
    shown = Overview(exporter.engine).deliveries(DeliveryFilter(destination="hook"))
    assert [(item.delivered, item.lost) for item in shown] == [(0, hook.lost)]


def test_one_that_refuses_a_share_of_its_events_is_not_called_well(engine: Make, sink: LogSink, tmp_path: Path) -> None:
    document = two_destinations(tmp_path / "out")
    document["destinations"]["hook"]["format"] = "single"
    exporter = quick(engine(document))
    sink.fail = lambda number: 400 if number % 3 == 0 else None
    run(exporter, 0)
    assert words(exporter)["hook"] == "rejecting"
    (problem,) = looked(exporter).problems
    assert "%" in problem.text and "rejected" in problem.remedy


Say = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def say(cli: Cli, filled: psycopg.Connection) -> Say:
    def status(*more: str) -> tuple[int, dict[str, Any]]:
        done = cli("status", "--dsn", filled.info.dsn, "--json", *more)
        return done.returncode, json.loads(done.stdout)

    return status


def test_the_command(
    say: Say, cli: Cli, engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path
) -> None:
    code, document = say()
    assert (code, document["well"], document["destinations"]) == (0, True, [])
    assert "settings apply" in cli("status", "--dsn", filled.info.dsn).stdout
    exporter = quick(engine(two_destinations(tmp_path / "out")))
    run(exporter, 0)
    code, document = say()
    moments = [document["streaming_since"], *(one["delivered_until"] for one in document["destinations"])]
    assert all(moment.endswith("Z") for moment in moments), "as every command writes a moment"
    assert (code, document["first"]) == (0, None)
    assert [(one["name"], one["condition"]) for one in document["destinations"]] == [
        ("hook", "up to date"), ("out", "up to date"),
    ]  # fmt: skip
    sink.fail = lambda _: 503
    run(exporter, 1)
    code, document = say()
    assert (code, document["well"]) == (1, False)
    assert document["first"]["destination"] == "hook"
    assert {one["name"]: one["owed_windows"] for one in document["destinations"]} == {"hook": 1, "out": 0}
    done = cli("status", "--dsn", filled.info.dsn)
    assert done.returncode == 1
    assert done.stdout.startswith("NOT all is well: 1 failing, 1 up to date\nfirst: hook: failing")
