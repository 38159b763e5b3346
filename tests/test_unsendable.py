"""Events of which no message can be made: dead letters beside acceptances, a fault to be mended where there are none.

The masks here look at every value of an event twice. `search.FREE_STEPS` is small, so that an event of 4 kB asks too much of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.http import HttpDestination
from logstream.errors import BadEvent
from logstream.export import outbox
from logstream.export.exporter import Exporter
from logstream.export.refusals import MOST_DOUBTED
from logstream.jsonpath import search
from logstream.ledger.lane_writes import LaneWrite
from logstream.ledger.lanes import Lanes
from logstream.ledger.records import Delivery, State
from logstream.rendering import renderer
from logstream.testing.servers import LogSink
from logstream.validation import validate_settings
from logstream.window import Window

from .test_engine import EVERYTHING, QUICK, WINDOW, Connections

TOO_MUCH = ["$..*", "$..email"]
HEAVY = json.dumps({"id": "heavy", "all": [0] * 2_000})
GOOD = json.dumps({"id": "good"})
LATER = Window(WINDOW.end, WINDOW.end + timedelta(minutes=5))


@pytest.fixture(autouse=True)
def _small_events_are_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FREE_STEPS", 100)


@pytest.fixture
def exporter(store: psycopg.Connection, sink: LogSink) -> Iterator[Exporter]:
    store.execute("insert into workspaces (id, name, role) values (1, 'A', 'customer'), (2, 'B', 'customer')")
    credentials = HttpCredentials(sink.url, headers={"Authorization": f"Bearer {sink.token}"})
    with Exporter(store.info.dsn, store.info.dsn, Connections(sink=credentials), policy=QUICK) as made:
        yield made


def fill(store: psycopg.Connection, *payloads: str, window: Window = WINDOW, workspace: int = 1) -> None:
    """Events, a second apart."""
    (first,) = store.execute("select coalesce(max(id), 0) + 1 from events").fetchone() or (0,)
    for number, payload in enumerate(payloads):
        moment = window.start + timedelta(seconds=number)
        store.execute(
            "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload) values (%s, %s, 'job', %s, %s, %s)",
            (first + number, workspace, moment, moment, payload),
        )


def run(exporter: Exporter, mask: list[str], window: Window = WINDOW, **options: Any) -> Delivery:
    destination = {"type": "http", "connection": "sink", "format": "array", "lanes": 1, "max_events": 5, **options}
    admin = {"enabled": True, "events": EVERYTHING, "destination": "d", "mask": mask}
    exporter.settings.apply(validate_settings({"admin": admin, "destinations": {"d": destination}}))
    planned = exporter.plan(window)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    (report,) = exporter.seal(planned.delivery_ids)
    return report


def rejected(exporter: Exporter) -> list[int]:
    return sorted(row.event_id for row in exporter.ledger.rejected())


@pytest.mark.parametrize("events", [1, MOST_DOUBTED, 60])
def test_masks_that_fail_on_every_event_are_a_fault_and_no_dead_letters(
    store: psycopg.Connection, exporter: Exporter, sink: LogSink, events: int
) -> None:
    fill(store, *[HEAVY] * events)
    report = run(exporter, TOO_MUCH)
    assert (report.state, report.events, report.rejected) == (State.FAILED, 0, 0)
    assert "can be sent" in (report.error or "") and "its fields cannot be masked" in (report.error or "")
    assert "the masks" in (report.error or "")
    assert rejected(exporter) == [] and sink.requests == 0
    report = run(exporter, ["$.email"])
    assert (report.state, report.events, report.rejected) == (State.DELIVERED, events, 0)


def test_a_fault_of_ours_with_every_event_is_one(
    store: psycopg.Connection, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, *[GOOD] * 60)
    with monkeypatch.context() as patch:
        patch.setattr(renderer, "refuse_deep_nesting", lambda payload: payload[1_000_000])
        report = run(exporter, ["$.email"])
    assert (report.state, report.events, report.rejected) == (State.FAILED, 0, 0)
    assert "IndexError" in (report.error or "") and rejected(exporter) == []


@pytest.mark.parametrize("place", [0, 1, 9, 19])
def test_one_among_others_is_rejected_alone(
    store: psycopg.Connection, exporter: Exporter, sink: LogSink, place: int
) -> None:
    payloads = [GOOD] * 20
    payloads[place] = HEAVY
    fill(store, *payloads)
    report = run(exporter, TOO_MUCH)
    assert (report.state, report.events, report.rejected) == (State.DELIVERED, 19, 1), report.error
    assert rejected(exporter) == [place + 1] and len(sink.events()) == 19


@pytest.mark.parametrize("good", [0, 40, 59])
def test_of_many_bad_ones_each_is_rejected_where_others_can_be_sent(
    store: psycopg.Connection, exporter: Exporter, good: int
) -> None:
    """More than may be doubted of a receiver: that some can be sent is known before the first is."""
    fill(store, *[HEAVY] * good, GOOD, *[HEAVY] * (60 - good))
    report = run(exporter, TOO_MUCH)
    assert (report.state, report.events, report.rejected) == (State.DELIVERED, 1, 60), report.error


def test_a_window_of_bad_ones_alone_is_believed_after_others_have_arrived(
    store: psycopg.Connection, exporter: Exporter
) -> None:
    """A quiet window does not stop for ever at the one event that it has."""
    fill(store, HEAVY)
    assert run(exporter, TOO_MUCH).state is State.FAILED
    fill(store, GOOD, window=LATER)
    assert run(exporter, TOO_MUCH, LATER).state is State.DELIVERED
    report = run(exporter, TOO_MUCH)
    assert (report.state, report.events, report.rejected) == (State.DELIVERED, 0, 1), report.error


def test_a_lane_of_bad_ones_alone_is_believed_beside_another_lane(
    store: psycopg.Connection, exporter: Exporter
) -> None:
    fill(store, *[HEAVY] * 3, workspace=1)
    fill(store, *[GOOD] * 30, workspace=2)
    report = run(exporter, TOO_MUCH, lanes=16)
    assert (report.state, report.events, report.rejected) == (State.DELIVERED, 30, 3), report.error


def test_beside_a_receiver_that_refuses_the_others_nothing_is_believed(
    store: psycopg.Connection, exporter: Exporter, sink: LogSink
) -> None:
    fill(store, HEAVY, GOOD, HEAVY, GOOD)
    sink.fail = lambda _: 400
    report = run(exporter, TOO_MUCH)
    assert (report.state, report.events, report.rejected) == (State.FAILED, 0, 0)
    assert "refused each of 4 events" in (report.error or "") and rejected(exporter) == []
    sink.fail = lambda _: None
    report = run(exporter, TOO_MUCH)
    assert (report.state, report.events, report.rejected) == (State.DELIVERED, 2, 2), report.error


def test_rows_that_are_no_events_are_believed(store: psycopg.Connection, exporter: Exporter) -> None:
    """They are what they are whatever the settings say, also in the first window ever."""
    store.execute("alter table events alter column payload type text using payload::text")
    fill(store, "{no JSON", '{"deep": ' + "[" * 600 + "]" * 600 + "}")
    report = run(exporter, [])
    assert (report.state, report.events, report.rejected) == (State.DELIVERED, 0, 2), report.error


@pytest.mark.parametrize("behind", [0, 1])
def test_many_dead_letters_enter_the_ledger_in_portions(
    store: psycopg.Connection, exporter: Exporter, monkeypatch: pytest.MonkeyPatch, behind: int
) -> None:
    """All in one write would take longer than a write may: the lane would end at no attempt."""
    written: list[int] = []
    write = Lanes.write

    def noting(lanes: Lanes, writes: Sequence[LaneWrite]) -> set[tuple[int, int]]:
        written.extend(len(one.rejections) for one in writes)
        return write(lanes, writes)

    monkeypatch.setattr(outbox, "REJECTED_AT_ONCE", 10)
    monkeypatch.setattr(Lanes, "write", noting)
    store.execute("alter table events alter column payload type text using payload::text")
    fill(store, GOOD, *["{no JSON"] * 35, *[GOOD] * behind)
    report = run(exporter, [], concurrency=1)
    assert (report.state, report.events, report.rejected) == (State.DELIVERED, 1 + behind, 35), report.error
    assert rejected(exporter) == list(range(2, 37))
    assert [events for events in written if events] == [10, 10, 10, 5]


def test_an_attempt_that_goes_on_believes_by_what_the_one_before_delivered(
    store: psycopg.Connection, exporter: Exporter, sink: LogSink
) -> None:
    """As it would have without having been stopped: more bad ones are left than may stand before the first good one."""
    fill(store, *[GOOD] * 20, *[HEAVY] * 60)
    sink.fail = lambda number: 403 if number == 3 else None
    assert run(exporter, TOO_MUCH, concurrency=1).state is State.FAILED
    sink.fail = lambda _: None
    store.execute("delete from events where id between 11 and 20")
    report = run(exporter, TOO_MUCH, concurrency=1)
    assert (report.state, report.events, report.rejected) == (State.DELIVERED, 10, 60), report.error


@pytest.mark.timeout(60)
def test_events_that_a_plug_in_calls_bad_are_believed_beside_acceptances_and_hold_up_nothing(
    store: psycopg.Connection, exporter: Exporter, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than may be under way at once, behind one that the receiver refused."""

    def entry(_: object, event: Any, message: bytes) -> bytes:
        if b"heavy" in message:
            raise BadEvent("there is no room for it")
        return message

    monkeypatch.setattr(HttpDestination, "entry", entry)
    fill(store, GOOD, *[HEAVY] * 20)
    sink.fail = lambda _: 400
    report = run(exporter, [], concurrency=1)
    assert (report.state, report.events, report.rejected) == (State.FAILED, 0, 0)
    sink.fail = lambda _: None
    report = run(exporter, [], concurrency=1)
    assert (report.state, report.events, report.rejected) == (State.DELIVERED, 1, 20), report.error


def test_a_lane_in_which_all_are_refused_is_believed_beside_a_lane_that_arrives(
    store: psycopg.Connection, exporter: Exporter, sink: LogSink
) -> None:
    """One workspace whose every event is bad, and more of them than may be doubted: in whatever order lanes come, and tasks."""
    fill(store, *[json.dumps({"id": "p0is0n"})] * 60, workspace=1)
    fill(store, *[GOOD] * 30, workspace=2)
    refuse = sink.receive
    sink.receive = lambda request, body: (400, b"{}") if b"p0is0n" in body else refuse(request, body)  # type: ignore[method-assign]
    destination = {"type": "http", "connection": "sink", "format": "array", "lanes": 16}
    admin = {"enabled": True, "events": EVERYTHING, "destination": "d"}
    exporter.settings.apply(validate_settings({"admin": admin, "destinations": {"d": destination}}))
    planned = exporter.plan(WINDOW)
    keys = [key for share in planned.shares for key in share.lanes]
    bad, good = sorted(exporter.ledger.lanes(keys), key=lambda lane: min(lane.workspace_ids))
    for lanes, state in (([bad.key], State.FAILED), ([good.key], State.DELIVERED), ([bad.key], State.DELIVERED)):
        exporter.deliver(lanes)
        (now,) = exporter.ledger.lanes(lanes)
        assert now.state is state, now.last_error
    (report,) = exporter.seal(planned.delivery_ids)
    assert (report.state, report.events, report.rejected) == (State.DELIVERED, 30, 60), report.error
