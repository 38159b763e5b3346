"""What a receiver refuses: one event is rejected alone, everything is a failing receiver."""

from __future__ import annotations

import asyncio
import itertools
import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from logstream.destinations.base import Limits
from logstream.destinations.registry import destination_type
from logstream.ledger.records import State
from logstream.testing.contract.base import (
    START,
    WINDOW,
    ContractBase,
    canonical,
    ids_in_order,
    poison,
    steps_of,
    stored,
)
from logstream.testing.vendors import Vendor
from logstream.window import Window


class Refuses(ContractBase):
    """One event that is refused or broken is rejected alone; a receiver that refuses everything is failing."""

    @pytest.mark.parametrize("status", [400, 413, 415, 422])
    def test_events_that_are_refused_for_their_content_are_rejected_alone(
        self, store: psycopg.Connection, server: Vendor, status: int
    ) -> None:
        """The first, one in the middle and the last of a window: the others arrive, once; the right ones are dead letters."""
        self.fill(store, 200)
        bad = [min(ids_in_order(store)), ids_in_order(store)[100], ids_in_order(store)[-1]]
        poison(store, bad)
        server.poison = lambda plain: status if b"p0is0n" in plain else None
        report = self.export(store, server, lanes=1)
        assert (report.state, report.events, report.rejected) == (State.DELIVERED, 197, 3), report.error
        rows = store.execute("select event_id, reason from logstream.rejections").fetchall()
        assert {row[0] for row in rows} == set(bad)
        assert all(str(status) in row[1] for row in rows)
        assert canonical(server.taken) == stored(store, "payload->>'p' is null")

    @pytest.mark.parametrize("method", ["entry", "encode"])
    def test_an_exception_for_one_event_rejects_that_event(
        self, store: psycopg.Connection, server: Vendor, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        """Whatever the class raises for it: the others arrive."""
        self.fill(store, 60)
        bad = ids_in_order(store)[30]
        poison(store, [bad])
        kind = destination_type(self.type)
        original = getattr(kind, method)

        def broken(destination: Any, *arguments: Any) -> bytes:
            made: bytes = original(destination, *arguments)
            if b"p0is0n" in made:
                raise OverflowError("date value out of range")
            return made

        monkeypatch.setattr(kind, method, broken)
        report = self.export(store, server)
        assert (report.state, report.events, report.rejected) == (State.DELIVERED, 59, 1), report.error
        rows = store.execute("select event_id, reason from logstream.rejections").fetchall()
        assert rows == [(bad, "it cannot be made ready for sending (OverflowError: date value out of range)")]
        assert canonical(server.taken) == stored(store, "payload->>'p' is null")

    def test_strange_values_stop_nothing(self, store: psycopg.Connection, server: Vendor) -> None:
        """Half a surrogate pair, a number beyond all floats, no time at all: each arrives or is rejected, all others arrive."""
        self.fill(store, 50)
        payloads = [
            '{"id": "1", "x": "\\ud800"}',
            '{"id": "2", "x": 1e999}',
            '{"id": "3", "x": [1e400, "\\udfff\\ud800"]}',
        ]
        times = ["2026-03-01T00:00:00Z", "infinity", "-infinity", "0001-01-01T00:00:00Z BC"]
        for number, (payload, moment) in enumerate(itertools.product(payloads, times)):
            store.execute(
                "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload)"
                " values (%s, 100, 'job', %s, %s, %s)",
                (9000 + number, moment, START + timedelta(seconds=20 * number), payload),
            )
        report = self.export(store, server)
        assert (report.state, report.events + report.rejected) == (State.DELIVERED, 62), report.error
        assert canonical(server.taken) >= stored(store, "id < 9000")

    def test_a_receiver_that_refuses_everything_is_failing(self, store: psycopg.Connection, server: Vendor) -> None:
        """Sixty of sixty refused are no dead letters, and nothing is lost: it is delivered once the receiver is mended."""
        self.fill(store, 60)
        server.poison = lambda _: 400
        for lanes in (1, 4):
            report = self.export(store, server, lanes=lanes, concurrency=2)
            assert (report.state, report.events, report.rejected) == (State.FAILED, 0, 0)
            assert "refused each of" in (report.error or "") and "400" in (report.error or "")
        assert store.execute("select count(*) from logstream.rejections").fetchone() == (0,)
        assert server.requests < 600
        server.poison = lambda _: None
        report = self.export(store, server, lanes=4, concurrency=2)
        assert (report.state, report.events, report.rejected) == (State.DELIVERED, 60, 0)
        assert canonical(server.taken) == stored(store)

    def test_a_destination_that_can_send_nothing_is_failing(
        self, store: psycopg.Connection, server: Vendor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every event is larger than its limit, so nothing is sent: no dead letters, and all arrives once that is mended."""
        self.fill(store, 60)
        padded = "update events set payload = (payload::jsonb || jsonb_build_object('pad', repeat('x', 5000)))::json"
        store.execute(padded)
        kind = destination_type(self.type)
        with monkeypatch.context() as patch:
            patch.setattr(kind, "limits", property(lambda _: Limits(events=10, event_bytes=4_000)))
            report = self.export(store, server)
            assert (report.state, report.events, report.rejected) == (State.FAILED, 0, 0)
            assert "refused each of" in (report.error or "") and "takes at most 4,000" in (report.error or "")
        assert store.execute("select count(*) from logstream.rejections").fetchone() == (0,)
        assert server.requests == 0
        report = self.export(store, server)
        assert (report.state, report.events, report.rejected) == (State.DELIVERED, 60, 0)

    def test_one_poisoned_event_alone_is_believed_after_the_receiver_has_taken_others(
        self, store: psycopg.Connection, server: Vendor
    ) -> None:
        """In a window of its own, or in a lane of its own beside lanes that arrive; not in the first window ever."""
        self.fill(store, 1)
        poison(store, ids_in_order(store))
        server.poison = lambda plain: 400 if b"p0is0n" in plain else None
        report = self.export(store, server)
        assert (report.state, report.events, report.rejected) == (State.FAILED, 0, 0)
        later = Window(WINDOW.end, WINDOW.end + (WINDOW.end - WINDOW.start))
        store.execute(
            "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload) values (50, 100, 'job', %s, %s, %s)",
            (later.start, later.start, json.dumps({"id": "later"})),
        )
        assert self.export(store, server, window=later).state is State.DELIVERED
        report = self.export(store, server)
        assert (report.state, report.events, report.rejected) == (State.DELIVERED, 0, 1)

    @pytest.mark.parametrize(
        "page", ["<!DOCTYPE html><html><body>Sign in</body></html>", "\n <HTML lang=en><p>It works!</p>"]
    )
    def test_a_page_of_html_is_no_success(self, store: psycopg.Connection, server: Vendor, page: str) -> None:
        """A login wall and the wrong port answer 200, too."""
        self.fill(store, 5)
        server.fail, server.echo = lambda _: 200, lambda _, __: page.encode()
        report = self.export(store, server, lanes=1, concurrency=1)
        assert (report.state, report.events) == (State.FAILED, 0)
        assert "correct the address of connection `contract`" in (report.error or "")
        assert server.requests == 1
        failed = [step for step in asyncio.run(steps_of(self.opened(server))) if not step.ok]
        assert failed and all(step.remedy for step in failed)
