"""What a destination withstands: answers in every manner, answers that lie, outages and kills at the worst places."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

import psycopg
import pytest

from logstream.destinations.base import Limits
from logstream.destinations.outcome import Delivered, Outcome
from logstream.destinations.registry import destination_type
from logstream.export import pipeline
from logstream.ledger.records import State
from logstream.store import reading
from logstream.testing.contract.base import (
    START,
    WORKSPACES,
    ContractBase,
    canonical,
    ids_in_order,
    killed_at,
    one_event,
    poison,
    stored,
)
from logstream.testing.filling import fill
from logstream.testing.servers import Manner
from logstream.testing.vendors import Vendor
from logstream.window import Window

FIVE_MINUTES = timedelta(minutes=5)
PAGE, CHUNK = 10, 40
"""Events of a page and of a chunk, in tests about where they end."""

LIES = [
    b"",
    b"OK",
    b"null",
    b"1",
    b"[]",
    b"{}",
    b'"delivered"',
    b"[null]",
    b'{"code": "0", "text": null}',
    b'{"code": 6, "invalid-event-number": -1}',
    b'{"code": 6, "invalid-event-number": 99999999999999999999}',
    b'{"code": 6, "invalid-event-number": "x"}',
    b'{"errors": true}',
    b'{"errors": true, "items": null}',
    b'{"errors": true, "items": [null]}',
    b'{"errors": true, "items": [{"create": {"status": "x"}}]}',
    b'{"errors": true, "items": [{"create": []}]}',
    b'{"errors": "no", "items": {}}',
    b"\xff\xfe\x00\x01",
    b'{"a": ' * 2_000,
    b"x" * 2_000_000,
]
"""Bodies that no vendor sends; some of them look like what a vendor sends."""


class Withstands(ContractBase):
    """Nothing that a receiver or a network does makes an event be lost, or counted as delivered when it was not."""

    no_success: ClassVar[Sequence[tuple[int, bytes]]] = ()
    """Answers (status, body) that look like the vendor's success and are none."""

    def fill_windows(self, store: psycopg.Connection, sizes: Sequence[int]) -> list[Window]:
        """Load so many events into windows one after another."""
        windows = [Window(START + FIVE_MINUTES * n, START + FIVE_MINUTES * (n + 1)) for n in range(len(sizes))]
        for number, (size, window) in enumerate(zip(sizes, windows, strict=True)):
            fill(store, WORKSPACES, size, window.start, FIVE_MINUTES, 1 + 10_000 * number)
        return windows

    @pytest.fixture
    def short_chunks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pages of 10 events, chunks of 40, requests of at most 7."""
        monkeypatch.setattr(reading, "PAGE_EVENTS", PAGE)
        monkeypatch.setattr(pipeline, "CHUNK_EVENTS", CHUNK)
        kind = destination_type(self.type)
        of_vendor: Any = kind.limits

        def limits(destination: Any) -> Limits:
            found: Limits = of_vendor.fget(destination)
            return dataclasses.replace(found, events=min(found.events or 7, 7))

        monkeypatch.setattr(kind, "limits", property(limits))

    @pytest.mark.parametrize("manner", [Manner.PACKED, Manner.CHUNKED, Manner.SLOW])
    def test_answers_are_read_in_whatever_manner_they_come(
        self, store: psycopg.Connection, server: Vendor, manner: Manner
    ) -> None:
        """Successes as well as refusals, whose words are readable in the ledger."""
        self.fill(store, 60)
        poison(store, [30])
        server.poison = lambda plain: 400 if b"p0is0n" in plain else None
        server.manner = lambda _: manner
        report = self.export(store, server, lanes=1)
        assert (report.state, report.events, report.rejected) == (State.DELIVERED, 59, 1), report.error
        ((event, reason),) = store.execute("select event_id, reason from logstream.rejections").fetchall()
        assert event == 30 and "there is something in it" in reason
        assert canonical(server.taken) == stored(store, "id <> 30")

    def test_an_answer_that_is_cut_off_is_none(
        self, store: psycopg.Connection, server: Vendor, short_chunks: None
    ) -> None:
        """What it answered comes again, the same under the same key: the receiver may have taken it."""
        self.fill(store, 60)
        server.manner = lambda number: Manner.CUT if number % 3 == 1 else Manner.PLAIN
        report = self.export(store, server, lanes=2, concurrency=1)
        assert (report.state, report.events, report.error) == (State.DELIVERED, 60, None)
        assert set(canonical(server.taken)) == set(stored(store))
        assert server.changed_repetitions == 0

    def test_windows_of_exactly_a_page_or_a_chunk_and_one_more_or_less(
        self, store: psycopg.Connection, server: Vendor, short_chunks: None
    ) -> None:
        """Every event of each arrives, once."""
        sizes = [PAGE - 1, PAGE, PAGE + 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK]
        for size, window in zip(sizes, self.fill_windows(store, sizes), strict=True):
            report = self.export(store, server, window=window, lanes=2)
            assert (report.state, report.events, report.error) == (State.DELIVERED, size, None)
        assert canonical(server.taken) == stored(store)

    def test_one_poisoned_event_at_each_place_of_a_request(
        self, store: psycopg.Connection, server: Vendor, short_chunks: None
    ) -> None:
        """It is the one that is rejected; the others arrive."""
        first, *windows = self.fill_windows(store, [3, 7, 7, 7, 7, 7, 7, 7])
        assert self.export(store, server, window=first, lanes=1).state is State.DELIVERED
        ids = ids_in_order(store)[3:]
        bad = [ids[7 * place + place] for place in range(7)]
        poison(store, bad)
        server.poison = lambda plain: 400 if b"p0is0n" in plain else None
        for window in windows:
            report = self.export(store, server, window=window, lanes=1, concurrency=1)
            assert (report.state, report.events, report.rejected) == (State.DELIVERED, 6, 1), report.error
        rejected = store.execute("select event_id from logstream.rejections order by event_id").fetchall()
        assert [row[0] for row in rejected] == sorted(bad)
        assert canonical(server.taken) == stored(store, "payload->>'p' is null")

    def test_a_token_that_is_revoked_in_the_middle(
        self, store: psycopg.Connection, server: Vendor, short_chunks: None
    ) -> None:
        """Fails at once, naming the connection; with a good one the rest arrives, and nothing twice."""
        self.fill(store, 60)
        good, connections = server.token, self.connections(server)

        def revoke(number: int) -> None:
            if number == 4:
                server.token = "another-token-0123456789"

        server.fail = revoke
        report = self.export(store, server, connections, lanes=1, concurrency=1)
        assert report.state is State.FAILED and 0 < report.events < 60
        assert "`contract`" in (report.error or "")
        assert server.requests == 4
        server.fail, server.token = lambda _: None, good
        report = self.export(store, server, lanes=1, concurrency=1)
        assert (report.state, report.events, report.error) == (State.DELIVERED, 60, None)
        assert canonical(server.taken) == stored(store)

    def test_an_outage_in_the_middle_of_a_window_of_three_chunks(
        self, store: psycopg.Connection, server: Vendor, short_chunks: None
    ) -> None:
        """What was taken before it is not sent again after it."""
        self.fill(store, 3 * CHUNK)
        begin = 3 * CHUNK // 2 // (destination_limit(self, server) or 7)
        server.fail = lambda number: 503 if number > begin else None
        report = self.export(store, server, lanes=1, concurrency=1)
        assert report.state is State.FAILED and 0 < report.events < 3 * CHUNK
        server.fail = lambda _: None
        report = self.export(store, server, lanes=1, concurrency=1)
        assert (report.state, report.events, report.error) == (State.DELIVERED, 3 * CHUNK, None)
        assert canonical(server.taken) == stored(store)
        assert set(server.keys.values()) == {1}

    def test_a_killed_export_makes_the_requests_that_it_would_have_made(
        self, store: psycopg.Connection, server: Vendor, short_chunks: None
    ) -> None:
        """Compared with an export that nothing disturbs: the same keys, and under each the same bytes."""
        self.fill(store, CHUNK + 5)
        assert self.export(store, server, lanes=1, concurrency=1).state is State.DELIVERED
        undisturbed = set(server.keys)
        store.execute("drop schema logstream cascade")
        killed_at(3, lambda: self.export(store, server, lanes=1, concurrency=1))
        report = self.export(store, server, lanes=1, concurrency=1)
        assert (report.state, report.events, report.error) == (State.DELIVERED, CHUNK + 5, None)
        assert set(server.keys) == undisturbed
        assert server.changed_repetitions == 0

    def test_answers_that_lie_break_nothing(self, server: Vendor) -> None:
        """Whatever stands in an answer, it is read: as a success only if it is the vendor's, and never as a fault of ours."""

        async def outcomes(answers: Sequence[tuple[int, bytes]]) -> list[Outcome]:
            destination = self.opened(server)
            await destination.start()
            found = []
            try:
                for status, body in answers:
                    server.fail, server.echo = (lambda _, s=status: s), (lambda _, __, b=body: b)  # type: ignore[misc]
                    found.append(await destination.deliver(one_event(destination)))
            finally:
                await destination.close()
            return found

        answers = [(status, body) for status in (200, 202, 400, 429, 500) for body in LIES]
        for answer, outcome in zip(answers, asyncio.run(outcomes(answers)), strict=True):
            assert "broke" not in getattr(outcome, "reason", ""), (answer[0], answer[1][:80], outcome)
            assert answer[0] < 300 or not isinstance(outcome, Delivered)
        for answer, outcome in zip(self.no_success, asyncio.run(outcomes(self.no_success)), strict=True):
            assert not isinstance(outcome, Delivered), answer


def destination_limit(contract: ContractBase, server: Vendor) -> int | None:
    """How many events a request holds at most."""
    limit: int | None = contract.opened(server).limits.events
    return limit
