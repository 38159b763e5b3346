"""Every statement that locks several lanes takes them in one order: no two of them wait for each other.

PostgreSQL ends one of two that do. It was a renewal of leases, or a write, and with that the deliveries of all its lanes.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection

from logstream.airflow.connections import AirflowConnections
from logstream.destinations.parcel import EventRef, Tally
from logstream.events import Cursor
from logstream.export.exporter import Exporter
from logstream.ledger import plans
from logstream.ledger.checkpoints import StepWriter
from logstream.ledger.lane_writes import LaneWrite
from logstream.ledger.plans import _known_lanes
from logstream.ledger.records import Lane, News, Rejection, State
from logstream.ledger.write_offs import WrittenOff
from logstream.proof.manifests import Sealed
from logstream.validation import validate_settings
from tests.test_small_windows import WINDOW, each_its_own, fill

ROUNDS = 60


def test_what_locks_many_lanes_at_once_ends(database: str, store: psycopg.Connection) -> None:
    fill(store, 40)
    # who waits finds out soon that it waits for ever
    store.execute(SQL("alter database {} set deadlock_timeout = '20ms'").format(Identifier(store.info.dbname)))
    with Exporter(database, database, AirflowConnections()) as exporter:
        exporter.settings.apply(validate_settings(each_its_own(40, {"type": "file", "path": "/tmp/x/"}, "path")))
        planned = exporter.plan(WINDOW)
        keys = [key for share in planned.shares for key in share.lanes]
        ledger, steps = exporter.ledger, StepWriter(database)
        assert len(ledger.take(keys, "us", 0)) == len(keys) == 32
        lanes = [replace(lane, position=Cursor(1, 1)) for lane in ledger.lanes(keys)]

        def in_some_order(seed: int) -> list[Lane]:
            return random.Random(seed).sample(lanes, len(lanes))

        def write(seed: int) -> None:
            assert ledger.write([LaneWrite.checkpoint(lane, News()) for lane in in_some_order(seed)]) == set()

        def renew(seed: int) -> None:
            assert ledger.renew(in_some_order(seed), "us") == set(keys)

        def give_back(seed: int) -> None:
            ledger.release(in_some_order(seed), "another")

        def plan(_: int) -> None:
            with exporter.engine.begin() as connection:
                assert len(_known_lanes(connection, planned.delivery_ids, lock=True)) == len(keys)

        def name(seed: int) -> None:
            for lane in in_some_order(seed)[:8]:
                store.execute("update logstream.lanes set names = null where delivery_id = %s and lane = %s", lane.key)
            ledger.workspaces_of(in_some_order(seed), list)

        async def step() -> None:
            for seed in range(ROUNDS):
                assert await steps.write([LaneWrite.step(lane) for lane in in_some_order(seed)]) == set()
            await steps.close()

        def repeated(act: Callable[[int], None]) -> None:
            for seed in range(ROUNDS):
                act(seed)

        with ThreadPoolExecutor(6) as threads:
            running = [threads.submit(repeated, act) for act in (write, renew, give_back, name, plan)]
            running.append(threads.submit(asyncio.run, step()))
        for each in running:
            each.result()


def test_what_locks_many_deliveries_at_once_ends(database: str, store: psycopg.Connection) -> None:
    fill(store, 40)
    store.execute(SQL("alter database {} set deadlock_timeout = '20ms'").format(Identifier(store.info.dbname)))
    with Exporter(database, database, AirflowConnections()) as exporter:
        exporter.settings.apply(validate_settings(each_its_own(40, {"type": "file", "path": "/tmp/x/"}, "path")))
        ids, ledger = exporter.plan(WINDOW).delivery_ids, exporter.ledger

        def seal(seed: int) -> None:
            chosen = random.Random(seed)
            some = chosen.sample(ids, len(ids))
            ledger.seal(
                {number: chosen.choice([State.DELIVERED, State.FAILED]) for number in some}, dict.fromkeys(some)
            )

        def plan(_: int) -> None:
            assert exporter.plan(WINDOW).delivery_ids == ids

        def prune(_: int) -> None:
            ledger.prune(WINDOW.end)

        def write_off(seed: int) -> None:
            ledger.write_off(f"d{1 + seed % 4}", "us", "gone")
            ledger.seal_written_off(WrittenOff(planned_at(seed), {}))

        def planned_at(seed: int) -> dict[int, datetime]:
            rows = store.execute("select id, planned_at from logstream.deliveries").fetchall()
            return dict(random.Random(seed).sample(rows, len(rows)))

        def repeated(act: Callable[[int], None]) -> None:
            for seed in range(ROUNDS):
                act(seed)

        with ThreadPoolExecutor(6) as threads:
            running = [threads.submit(repeated, act) for act in (seal, seal, plan, plan, prune, write_off)]
        for each in running:
            each.result()


def test_what_notes_many_manifests_at_once_ends(database: str, store: psycopg.Connection) -> None:
    """Two runs that seal the same windows put their manifests in orders of their own."""
    fill(store, 40)
    store.execute(SQL("alter database {} set deadlock_timeout = '20ms'").format(Identifier(store.info.dbname)))
    with Exporter(database, database, AirflowConnections()) as exporter, ThreadPoolExecutor(3) as threads:
        exporter.settings.apply(validate_settings(each_its_own(40, {"type": "file", "path": "/tmp/x/"}, "path")))
        ledger = exporter.ledger
        found = ledger.deliveries(exporter.plan(WINDOW).delivery_ids)
        none = Tally()
        made = [
            manifest
            for generation in range(40)
            for manifest in ledger.chain(
                [
                    Sealed(item.id, item.destination, WINDOW, generation, 1, none, none, 0, [], [], "", none, none)
                    for item in found
                ]
            )
        ]
        together = threading.Barrier(3)

        def note(seed: int) -> None:
            some = random.Random(seed).sample(made, len(made))
            together.wait()
            ledger.note_put(some)

        for begin in range(0, 3 * ROUNDS, 3):
            store.execute("update logstream.manifests set put_at = null")
            list(threads.map(note, range(begin, begin + 3)))
        assert ledger.not_put({item.destination for item in found}) == []


def test_a_lane_writes_its_dead_letters_while_its_window_is_planned_again(
    database: str, store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 1)
    with Exporter(database, database, AirflowConnections()) as exporter, ThreadPoolExecutor(1) as threads:
        exporter.settings.apply(validate_settings(each_its_own(1, {"type": "file", "path": "/tmp/x/"}, "path")))
        (share,) = exporter.plan(WINDOW).shares
        exporter.ledger.take(share.lanes, "us", 0)
        (lane,) = exporter.ledger.lanes(share.lanes)
        rejection = Rejection(EventRef(1, 1, "user_activity"), "it is bad")
        write = LaneWrite.checkpoint(replace(lane, position=Cursor(1, 1)), News([rejection]))
        wrote: list[Future[set[tuple[int, int]]]] = []

        def locking(connection: Connection, delivery_ids: Sequence[int], *, lock: bool = False) -> Any:
            if lock:  # the deliveries are locked, and their lanes are not yet
                wrote.append(threads.submit(exporter.ledger.write, [write]))
                time.sleep(0.5)
            return _known_lanes(connection, delivery_ids, lock=lock)

        monkeypatch.setattr(plans, "_known_lanes", locking)
        exporter.plan(WINDOW)
        assert [future.result() for future in wrote] == [set()]
