"""Rows that come late, or are purged, where a worker had sent and not yet counted when it was killed."""

from __future__ import annotations

import json

import psycopg
import pytest

from logstream.errors import DatabaseError
from logstream.export import outbox
from logstream.export.exporter import Exporter
from logstream.ledger.lanes import Lanes
from logstream.ledger.records import State
from logstream.testing.servers import LogSink
from logstream.verify.verifier import verify

from .test_engine import WINDOW, Make, engine, filled, override
from .test_sealing import only

__all__ = ["engine", "filled"]  # fixtures


TO_SINK = override({"type": "http", "connection": "sink", "format": "lines", "max_events": 50, "lanes": 1})


def lanes_of(exporter: Exporter) -> list[tuple[int, int]]:
    return [key for share in exporter.plan(WINDOW).shares for key in share.lanes]


def sends_and_dies(exporter: Exporter, lanes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Send everything, write how far that is, and die before any of it is counted."""

    def unwritten(*_: object) -> None:
        raise DatabaseError("the worker is gone")

    with monkeypatch.context() as dead:
        dead.setattr(outbox, "CHECKPOINT_SECONDS", 3600.0)
        dead.setattr(Lanes, "write", unwritten)
        assert only(exporter.deliver(lanes)).error
    exporter.engine.dispose()


@pytest.mark.parametrize("planned_again", [False, True])
def test_a_row_that_comes_before_the_place_up_to_which_was_sent_is_sent(
    engine: Make, filled: psycopg.Connection, sink: LogSink, monkeypatch: pytest.MonkeyPatch, planned_again: bool
) -> None:
    exporter = engine(TO_SINK)
    lanes = lanes_of(exporter)
    sends_and_dies(exporter, lanes, monkeypatch)
    ((had,),) = filled.execute("select count(*) from events").fetchall()
    assert len(sink.events()) == had
    filled.execute(
        "insert into events select 99999, workspace_id, kind, occurred_at, recorded_at, %s from events order by id limit 1",
        (json.dumps({"id": "late"}),),
    )
    if planned_again:
        lanes = lanes_of(exporter)
    assert not only(exporter.deliver(lanes)).error
    assert sum(event.get("id") == "late" for event in sink.events()) == 1
    sealed = only(exporter.seal([lanes[0][0]]))
    assert (sealed.state, sealed.events) == (State.DELIVERED, had + 1)
    assert [str(finding) for finding in verify(exporter, WINDOW).findings] == []


def test_what_was_sent_and_is_the_same_is_counted_and_not_sent_again(
    engine: Make, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(TO_SINK)
    lanes = lanes_of(exporter)
    sends_and_dies(exporter, lanes, monkeypatch)
    sent = sink.requests
    assert not only(exporter.deliver(lanes)).error
    assert sink.requests == sent
    assert only(exporter.seal([lanes[0][0]])).state is State.DELIVERED
    assert [str(finding) for finding in verify(exporter, WINDOW).findings] == []


def test_what_an_older_version_has_sent_and_not_counted_is_sent_again(
    engine: Make, filled: psycopg.Connection, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wrote the place alone: what is at that place cannot be told from what was sent."""
    exporter = engine(TO_SINK)
    lanes = lanes_of(exporter)
    sends_and_dies(exporter, lanes, monkeypatch)
    filled.execute("update logstream.lanes set trail = null")
    keys = set(sink.keys)
    assert not only(exporter.deliver(lanes)).error
    assert set(sink.keys) == keys and set(sink.keys.values()) == {2}, "under the same keys"
    assert only(exporter.seal([lanes[0][0]])).state is State.DELIVERED
