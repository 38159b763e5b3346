"""Destinations that are away: suspended, probed, and caught up with, while no other destination notices."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.errors import DatabaseError, InputError
from logstream.export.exporter import Exporter
from logstream.ledger.coverage import AskedBy
from logstream.ledger.health import Change, HealingPolicy, Health, Outcome, Owed, Turn, judge, to_be_tried
from logstream.ledger.records import NOT_TRIED, Delivery, State
from logstream.store.base import Page
from logstream.store.postgres import PostgresStore
from logstream.testing.servers import LogSink
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.test_engine import EVERYTHING, START, Make, engine, files, filled

__all__ = ["engine", "filled"]  # fixtures

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def window(number: int) -> Window:
    return Window(START + timedelta(seconds=5 * number), START + timedelta(seconds=5 * number + 5))


def outcome(number: int, *, failed: bool, reached: bool = False) -> Outcome:
    return Outcome(window(number), failed, reached, "why" if failed else None)


def judged(*outcomes: Outcome, after: int = 3) -> tuple[Health, list[Turn | None]]:
    health, turns = Health(), []
    for item in outcomes:
        health, turn = judge(health, item, NOW, after)
        turns.append(turn)
    return health, turns


def test_some_failed_windows_in_a_row_suspend() -> None:
    bad = [outcome(number, failed=True) for number in range(3)]
    assert judged(*bad[:2])[0].suspended is False
    assert judged(*bad) == (Health(3, window(2).end, NOW, "why"), [None, None, Turn.SUSPENDED])
    assert judged(bad[0], bad[1], outcome(2, failed=False), bad[2])[0].failures == 1
    assert judged(bad[0], bad[0], bad[0], bad[0])[0].failures == 1, "one window that is tried again and again is one"
    assert judged(*bad, *bad, after=0)[1] == [None] * 6


def test_only_what_arrives_brings_it_back() -> None:
    bad = [outcome(number, failed=True) for number in range(5)]
    health, turns = judged(*bad)
    assert (health.failures, turns[3:]) == (3, [None, None])
    assert judged(*bad, outcome(5, failed=True, reached=True)) == (Health(), [*turns, Turn.RECOVERED])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), unique=True), st.integers(0, 5))
def test_the_oldest_are_taken_along_and_no_more_than_some(items: list[tuple[str, int]], limit: int) -> None:
    owed = [Owed(index, name, window(number), 1, NOW, 1, None) for index, (name, number) in enumerate(items)]
    taken = to_be_tried(owed, {"a": Health(suspended_at=NOW)}, limit)
    for name in "abc":
        ours = sorted(item.window for item in owed if item.destination == name)
        assert [item.window for item in taken if item.destination == name] == ours[: 1 if name == "a" else limit]


def test_the_policy_comes_from_the_environment() -> None:
    assert HealingPolicy.from_environment({}) == HealingPolicy(3, 12, 24)
    assert HealingPolicy.from_environment({"LOGSTREAM_GAPS_PER_RUN": "5"}).gaps_per_run == 5
    assert HealingPolicy.from_environment({"LOGSTREAM_SUSPEND_AFTER": "0"}).suspend_after == 0
    with pytest.raises(InputError, match="LOGSTREAM_OWED_PER_RUN='many' is no whole number"):
        HealingPolicy.from_environment({"LOGSTREAM_OWED_PER_RUN": "many"})


def run(
    exporter: Exporter, number: int, changes: list[Change] | None = None
) -> dict[tuple[str, Window | None], Delivery]:
    """What a scheduled run does with one window."""
    planned = exporter.plan(window(number), heal=True, asked_by=AskedBy.SCHEDULE)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    sealed = exporter.seal(planned.delivery_ids)
    if changes is not None:
        changes += sealed.changes
    return {(report.destination, report.window): report for report in sealed}


def two_destinations(folder: Path, *, manifests: bool = False) -> dict[str, Any]:
    """Half of the workspaces stream to an HTTP service, the others to a folder."""
    streaming = {"enabled": True, "events": EVERYTHING}
    return {
        "workspaces": [
            {"id": 100 + number, "streaming": {**streaming, "destination": "hook" if number % 2 else "out"}}
            for number in range(12)
        ],
        "destinations": {
            "hook": {"type": "http", "connection": "sink", "format": "array", "lanes": 2, "concurrency": 1},
            "out": {"type": "file", "path": str(folder), **({"manifests": True} if manifests else {})},
        },
    }


@pytest.mark.thorough
def test_a_destination_that_was_down_for_fifty_windows_gets_everything_in_order(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy = type(exporter.policy)(attempts=1, base=0.001, cap=0.001)
    changes: list[Change] = []
    sink.fail = lambda _: 503
    for number in range(50):
        before = sink.requests
        reports = run(exporter, number, changes)
        assert reports["out", window(number)].state is State.DELIVERED
        if number >= 3:
            # suspended: one lane is tried, and the run has nothing to be red for
            assert sink.requests - before == 1
            assert reports["hook", window(number)].state is State.OWED
    assert [change.turn for change in changes] == [Turn.SUSPENDED]
    assert changes[0].owed in (2, 3)
    assert "answered 503" in (exporter.ledger.health()["hook"].error or "")
    owed = exporter.ledger.owed()
    assert len(owed) == 50
    assert (
        sum(item.events for item in owed)
        == filled.execute(
            "select count(*) from events where workspace_id %% 2 = 1 and recorded_at < %s", (window(49).end,)
        ).fetchone()[0]
    )  # type: ignore[index]

    sink.fail = lambda _: None
    number = 50
    while exporter.ledger.owed() or number < 53:
        reports = run(exporter, number, changes)
        older = [name for name in reports if name[0] == "hook" and name[1] != window(number)]
        assert len(older) <= exporter.healing.owed_per_run
        assert reports["out", window(number)].state is State.DELIVERED
        number += 1
        assert number < 60, "it takes about five runs"
    assert [change.turn for change in changes] == [Turn.SUSPENDED, Turn.RECOVERED]
    assert exporter.ledger.health() == {}

    wanted = filled.execute(
        "select payload ->> 'id', id from events where workspace_id %% 2 = 1 and recorded_at < %s order by recorded_at, id",
        (window(number - 1).end,),
    ).fetchall()
    arrived = [document for body in sink.bodies for document in json.loads(body)]
    texts = Counter(json.dumps(document, sort_keys=True) for document in arrived)
    rows = filled.execute(
        "select payload from events where workspace_id %% 2 = 1 and recorded_at < %s", (window(number - 1).end,)
    )
    assert texts == Counter(json.dumps(row[0], sort_keys=True) for row in rows)
    assert len(arrived) == len(wanted)
    assert sink.changed_repetitions == 0
    span = Window(window(0).start, window(number - 1).end)
    assert verify(exporter, span).findings == []


def test_what_is_owed_goes_to_the_destination_as_it_is_now(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    document = two_destinations(tmp_path / "out")
    document["destinations"]["hook"] = {"type": "http", "connection": "dead", "path": "/nowhere"}
    exporter = engine(document)
    exporter.policy = type(exporter.policy)(attempts=1)
    assert run(exporter, 0)["hook", window(0)].state is State.FAILED
    # the administrator mends the destination, and switches workspaces off that the owed window was routed for
    document["destinations"]["hook"] = {"type": "http", "connection": "sink", "format": "array"}
    document["workspaces"] = document["workspaces"][:2]
    exporter = engine(document)
    reports = run(exporter, 1)
    assert reports["hook", window(0)].state is State.DELIVERED
    count = filled.execute(
        "select count(*) from events where workspace_id %% 2 = 1 and recorded_at >= %s and recorded_at < %s",
        (window(0).start, window(0).end),
    ).fetchone()
    assert count is not None
    assert reports["hook", window(0)].events == count[0]
    assert exporter.settings.current().settings.own.keys() == {100, 101}, "what was derived is not in force"
    assert verify(exporter, Window(window(0).start, window(1).end)).findings == []


def test_a_failed_window_of_another_destination_is_no_ones_debt(engine: Make, sink: LogSink, tmp_path: Path) -> None:
    document = two_destinations(tmp_path / "out")
    document["destinations"]["out"]["path"] = "/proc/nowhere"
    exporter = engine(document)
    reports = run(exporter, 0)
    assert reports["hook", window(0)].state is State.DELIVERED
    assert reports["out", window(0)].state is State.FAILED
    assert [item.destination for item in exporter.ledger.owed()] == ["out"]
    assert exporter.ledger.owed("hook") == []


def test_dead_letters_are_sent_again_once(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    deep = '{"id": "deep", "x": ' + "[" * 600 + "]" * 600 + "}"
    filled.execute(
        "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload) values (77777, 100, 'job', %s, %s, %s)",
        (window(0).start, window(0).start, deep),
    )
    exporter = engine(two_destinations(tmp_path / "out"))
    report = run(exporter, 0)["out", window(0)]
    assert (report.state, report.rejected) == (State.DELIVERED, 1)
    (letter,) = exporter.ledger.rejected()
    assert (letter.event_id, letter.workspace_id, letter.destination) == (77777, 100, "out")
    assert "nested 601 levels deep" in letter.reason
    # not mended yet: it stays
    (again,) = exporter.redeliver_rejected()
    assert (again.delivered, again.rejected_again) == (0, 1)
    # the platform mends the event
    filled.execute('update events set payload = \'{"id": "mended"}\' where id = 77777')
    before = files(tmp_path / "out")
    (again,) = exporter.redeliver_rejected("out")
    assert (again.delivered, again.rejected_again, again.error) == (1, 0, None)
    exporter.seal(again.deliveries)
    new = {name: body for name, body in files(tmp_path / "out").items() if name not in before}
    assert list(new.values()) == [b'{"id": "mended"}']
    assert exporter.ledger.rejected() == []
    assert exporter.redeliver_rejected() == []
    lane = next(lane for lane in exporter.ledger.lanes_in(window(0)) if 100 in lane.workspace_ids)
    assert lane.missing() == {}
    assert lane.rejected.total() == 0


def test_pruning_keeps_counts_and_manifests(engine: Make, tmp_path: Path) -> None:
    exporter = engine(two_destinations(tmp_path / "out", manifests=True))
    run(exporter, 0)
    run(exporter, 1)
    assert exporter.ledger.prune(window(0).end) == 2
    assert exporter.ledger.prune(window(0).end) == 0
    span = Window(window(0).start, window(1).end)
    result = verify(exporter, span)
    assert result.findings == []
    assert result.objects == len([name for name in files(tmp_path / "out") if not name.startswith("_manifests")])
    victim = next(iter(sorted((tmp_path / "out").glob("1*/**/*.json"))))
    victim.unlink()
    assert any("is missing" in finding.what for finding in verify(exporter, span).findings)


def test_a_credential_that_is_wrong_for_good_is_tried_once_a_window(
    engine: Make, sink: LogSink, tmp_path: Path
) -> None:
    document = two_destinations(tmp_path / "out")
    document["destinations"]["hook"]["connection"] = "wrong"
    exporter = engine(document)
    for number in range(4):
        run(exporter, number)
    assert exporter.ledger.health()["hook"].suspended
    assert sink.requests <= 2 * 3 * 2 + 1


def test_what_was_not_tried_behind_a_window_that_failed_says_so(engine: Make, sink: LogSink, tmp_path: Path) -> None:
    """It has lost no worker: an operator must not be sent to look for one."""
    document = two_destinations(tmp_path / "out")
    document["destinations"]["hook"]["connection"] = "wrong"
    exporter = engine(document)
    run(exporter, 0)
    reports = run(exporter, 1)
    assert "401" in (reports["hook", window(0)].error or "")
    waited = reports["hook", window(1)].error or ""
    assert waited.startswith(f"{NOT_TRIED}: ") and "401" in waited, "the cause, too"
    owed = {item.window: item.error or "" for item in exporter.ledger.owed()}
    assert "401" in owed[window(0)] and owed[window(1)] == waited
    assert reports["hook", window(1)].is_excused, "it counts against no destination"


def test_one_that_was_down_and_has_nothing_new_is_well_when_it_has_got_everything(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy = type(exporter.policy)(attempts=1, base=0.001, cap=0.001)
    sink.fail = lambda _: 503
    run(exporter, 0)
    run(exporter, 1)
    assert exporter.ledger.health()["hook"].failures == 2
    filled.execute("delete from events where workspace_id %% 2 = 1 and recorded_at >= %s", (window(2).start,))
    sink.fail = lambda _: None
    run(exporter, 2)
    assert exporter.ledger.owed() == []
    assert exporter.ledger.health() == {}


def test_one_that_is_owed_nothing_any_more_can_be_taken_back_into_service(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.ledger.suspend("hook", "by ann")
    assert list(exporter.redeliver_owed("hook")) == []
    assert exporter.ledger.suspended() == {}


def away(*_: object, **__: object) -> Iterator[Page]:
    """A log store that is not there."""
    raise DatabaseError("reading the window's events: the server has closed the connection")


@contextmanager
def store_is_away() -> Iterator[None]:
    """For so long no events can be read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PostgresStore, "read", away)
        yield


def test_a_log_store_that_is_away_suspends_nobody(
    engine: Make, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    changes: list[Change] = []

    with store_is_away():
        for number in range(4):
            states = {report.state for report in run(exporter, number, changes).values()}
            assert states == {State.FAILED}
    assert (exporter.ledger.health(), changes) == ({}, [])
    assert len(exporter.ledger.owed()) == 8
    run(exporter, 4, changes)
    assert (exporter.ledger.owed(), changes) == ([], [])


def test_what_a_destination_did_before_the_log_store_was_away_is_not_forgotten(
    engine: Make, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy = type(exporter.policy)(attempts=1, base=0.001, cap=0.001)
    sink.fail = lambda _: 503
    run(exporter, 0)
    run(exporter, 1)

    with store_is_away():
        run(exporter, 2)
        assert exporter.ledger.health()["hook"].failures == 2
    run(exporter, 3)
    assert exporter.ledger.health()["hook"].suspended


def test_what_a_held_destination_is_owed_says_who_holds_it(engine: Make, sink: LogSink, tmp_path: Path) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.ledger.suspend("hook", "held by ann")
    report = run(exporter, 0)["hook", window(0)]
    assert report.state is State.OWED and (report.error or "").endswith("; held by ann")
    (owed,) = exporter.owed()
    assert (owed.error or "").endswith("; held by ann")
