"""Everything arrives, once and in order, whatever happens on the way."""

from __future__ import annotations

import json
import random
import time
from datetime import timedelta

import psycopg
import pytest

from logstream.ledger.records import State
from logstream.testing.contract.base import (
    START,
    WORKSPACES,
    ContractBase,
    canonical,
    killed_at,
    stored,
)
from logstream.testing.filling import fill
from logstream.testing.servers import CLOSED, HALF
from logstream.testing.vendors import Vendor


class Arrives(ContractBase):
    """What is sent arrives: all of it, once, in order, after failures and kills."""

    @pytest.mark.parametrize("compression", ["none", "gzip"])
    def test_all_once_and_in_order(self, store: psycopg.Connection, server: Vendor, compression: str) -> None:
        """With one request at a time, the order is the store's."""
        self.fill(store, self.events)
        report = self.export(store, server, compression=compression, lanes=1, concurrency=1)
        assert (report.state, report.events, report.error) == (State.DELIVERED, self.events, None)
        assert canonical(server.taken) == stored(store)
        assert report.requests == server.requests
        if self.keeps_order:
            rows = store.execute("select payload::text from events order by recorded_at, id").fetchall()
            assert server.taken == [json.loads(text) for (text,) in rows]

    def test_quiet_workspaces_beside_a_busy_one(self, store: psycopg.Connection, server: Vendor) -> None:
        """Most pages of the window hold nothing of the quiet ones: their one event arrives all the same."""
        busy, quiet = WORKSPACES[:1], WORKSPACES[1:10]
        fill(store, busy, 2_500, START, timedelta(minutes=5))
        for number, workspace in enumerate(quiet):
            fill(store, [workspace], 1, START + timedelta(seconds=30 * number), timedelta(seconds=1), 10_000 + number)
        report = self.export(store, server, lanes=8)
        assert (report.state, report.events, report.error) == (State.DELIVERED, 2_509, None)
        assert canonical(server.taken) == stored(store)

    def test_complete_while_one_request_in_five_fails(self, store: psycopg.Connection, server: Vendor) -> None:
        """429, 503, broken connections, half answers: all arrives, and what is repeated is the same under the same key."""
        self.fill(store, self.many)
        dice = random.Random(5)
        server.fail = lambda _: dice.choice((429, 503, CLOSED, HALF)) if dice.random() < 0.2 else None
        report = self.export(store, server, concurrency=4)
        assert (report.state, report.events, report.error) == (State.DELIVERED, self.many, None)
        assert canonical(server.taken) == stored(store)
        assert server.changed_repetitions == 0

    def test_retry_after_is_honoured(self, store: psycopg.Connection, server: Vendor) -> None:
        """Nothing comes before the time the receiver asked for."""
        self.fill(store, 5)
        times: list[float] = []

        def fail(_: int) -> int | None:
            times.append(time.monotonic())
            return 429 if len(times) == 1 else None

        server.fail, server.answer_headers = fail, {"Retry-After": "1"}
        assert self.export(store, server, lanes=1, concurrency=1).state is State.DELIVERED
        assert times[1] - times[0] >= 1.0

    def test_what_cannot_be_helped_is_not_tried_again(self, store: psycopg.Connection, server: Vendor) -> None:
        """A refused credential fails at once, with words that tell what to do."""
        self.fill(store, 100)
        server.fail = lambda _: self.permanent_status
        report = self.export(store, server, lanes=1, concurrency=1)
        assert (report.state, report.events) == (State.FAILED, 0)
        assert server.requests == 1
        assert "`contract`" in (report.error or "")

    def test_after_a_kill_at_most_what_was_under_way_comes_again(
        self, store: psycopg.Connection, server: Vendor
    ) -> None:
        """With the same key and the same bytes."""
        self.fill(store, self.events)
        killed_at(self.kill_at, lambda: self.export(store, server, lanes=1, concurrency=2, **self.small_requests))
        report = self.export(store, server, lanes=1, concurrency=2, **self.small_requests)
        assert (report.state, report.events) == (State.DELIVERED, self.events)
        assert sum(times - 1 for times in server.keys.values()) <= 2
        assert server.changed_repetitions == 0
        assert set(canonical(server.taken)) == set(stored(store))
