"""Every statement that locks several lanes takes them in one order: no two of them wait for each other.

PostgreSQL ends one of two that do. It was a renewal of leases, or a write, and with that the deliveries of all its lanes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
from psycopg.sql import SQL, Identifier

from logstream.airflow.connections import AirflowConnections
from logstream.events import Cursor
from logstream.export.exporter import Exporter
from logstream.ledger.checkpoints import StepWriter
from logstream.ledger.lane_writes import LaneWrite
from logstream.ledger.plans import _known_lanes
from logstream.ledger.records import Lane, News
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
