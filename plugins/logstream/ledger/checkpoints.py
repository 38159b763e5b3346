"""Writes to the ledger for many lanes at once: whatever has come together while one write was under way is the next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

import psycopg

from logstream.database import connect_async, database_errors, is_stale
from logstream.errors import DatabaseError
from logstream.ledger.lane_writes import STEP, LaneWrite
from logstream.ledger.lanes import Lanes
from logstream.ledger.records import Lane, News
from logstream.threads import ANSWER_SECONDS, in_time


class StepWriter:
    """Writes steps in one round trip each, through a connection of its own, and waits for no disk. Of one event loop."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: psycopg.AsyncConnection | None = None

    async def write(self, steps: Sequence[LaneWrite]) -> set[tuple[int, int]]:
        """Write steps; return the names of lanes that are another attempt's by now."""
        document = (b"[" + b",".join(step.row for step in steps) + b"]").decode()
        with database_errors("writing the ledger"):
            if self._connection is None or is_stale(self._connection):
                await self.close()
                self._connection = await connect_async(self._dsn, application="logstream steps")
            done = await (await self._connection.execute(STEP, (document,))).fetchall()
        return {step.key for step in steps} - {(row[0], row[1]) for row in done}

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()


class LedgerWriter:
    """Group commit: one transaction for all lanes that have something to write. Not for several event loops.

    Every call returns when what it wrote is in the ledger.
    """

    def __init__(self, ledger: Lanes, control_dsn: str, threads: Executor) -> None:
        self._ledger, self._threads = ledger, threads
        self._steps = StepWriter(control_dsn)
        self._waiting: list[tuple[LaneWrite, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def step(self, lane: Lane) -> None:
        """Write how far a lane has come, and no more."""
        await self._put(LaneWrite.step(lane))

    async def checkpoint(self, lane: Lane, news: News) -> None:
        """Write how far a lane has come, its counts, and what is new since the last time."""
        await self._put(LaneWrite.checkpoint(lane, news))

    async def recount(self, lane: Lane, news: News) -> None:
        """Write the counts of a lane that stays delivered."""
        await self._put(LaneWrite.recount(lane, news))

    async def finish(self, lane: Lane, news: News) -> None:
        """Write that a lane is delivered."""
        await self._put(LaneWrite.finish(lane, news))

    async def fail(self, lane: Lane, news: News, error: str, *, permanent: bool, void: bool = False) -> None:
        """Write that a lane stopped, where, and why."""
        await self._put(LaneWrite.fail(lane, news, error, permanent=permanent, void=void))

    async def was_taken(self, lane: Lane) -> bool:
        """Whether a lane's destination has taken events since its options last changed."""
        return await asyncio.to_thread(self._ledger.was_taken, lane.destination, lane.snapshot_id)

    async def close(self) -> None:
        """Close what was opened."""
        await self._steps.close()

    async def _put(self, write: LaneWrite) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._run())
        await done

    async def _run(self) -> None:
        try:
            while self._waiting:
                together, self._waiting = self._waiting, []
                try:
                    missing = await self._write([write for write, _ in together])
                except BaseException as error:
                    for _, done in together:
                        if not done.done():
                            done.set_exception(error)
                    if not isinstance(error, Exception):
                        raise
                    continue
                for write, done in together:
                    if done.done():
                        continue
                    if write.key in missing:
                        done.set_exception(write.lease_lost())
                    else:
                        done.set_result(None)
        finally:
            self._writing = None

    async def _write(self, writes: list[LaneWrite]) -> set[tuple[int, int]]:
        try:
            if all(write.steps for write in writes):
                return await asyncio.wait_for(self._steps.write(writes), ANSWER_SECONDS)
            return await in_time(self._threads, ANSWER_SECONDS, self._ledger.write, writes)
        except TimeoutError:
            raise DatabaseError(f"the control database has not answered for {ANSWER_SECONDS:.0f} s") from None
