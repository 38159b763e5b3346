"""Writes to the ledger for many lanes at once: whatever has come together while one write was under way is the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from typing import Generic, TypeVar

import psycopg

from logstream import clock
from logstream.database import connect_async, database_errors, is_stale
from logstream.destinations.parcel import Part
from logstream.errors import DatabaseError, LeaseLost, ours
from logstream.ledger.lane_writes import STEP, STEPS, Announcement, LaneWrite, lease_lost
from logstream.ledger.lanes import Lanes
from logstream.ledger.records import Lane, News
from logstream.threads import ANSWER_SECONDS, in_time, within

MANY = 8
"""So many deliveries at once are small ones: of each an announcement and its end are written, and others go on meanwhile."""

GATHER_SECONDS = 0.03
"""How long the first of what many deliveries write waits for more of it: a transaction costs more than what it holds of one."""

_W = TypeVar("_W")
_R = TypeVar("_R")


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
            statement = STEP if len(steps) == 1 else STEPS
            done = await (await self._connection.execute(statement, (document,))).fetchall()
        return {step.key for step in steps} - {(row[0], row[1]) for row in done}

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()


class Together(Generic[_W, _R]):
    """Group commit: whatever has come together while one write was under way is the next. Of one event loop.

    `may_wait` is asked, of what has come, whether the write waits `GATHER_SECONDS` for more.
    """

    def __init__(
        self, write: Callable[[list[_W]], Awaitable[Sequence[_R | LeaseLost]]], may_wait: Callable[[list[_W]], bool]
    ) -> None:
        self._write, self._may_wait = write, may_wait
        self._waiting: list[tuple[_W, asyncio.Future[_R]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def put(self, item: _W) -> _R:
        """Write something; return what is said of it when it is written. Raises `LeaseLost` where it could not be."""
        done: asyncio.Future[_R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        try:
            while self._waiting:
                together, self._waiting = self._waiting, []
                try:
                    if self._may_wait([item for item, _ in together]):
                        await clock.sleep(GATHER_SECONDS)
                        together, self._waiting = together + self._waiting, []
                    answers = await self._write([item for item, _ in together])
                except BaseException as error:
                    for _, done in together:
                        if not done.done():
                            done.set_exception(error)
                    if not isinstance(error, Exception):
                        raise
                    continue
                for (_, done), answer in zip(together, answers, strict=True):
                    if done.done():
                        continue
                    if isinstance(answer, LeaseLost):
                        done.set_exception(answer)
                    else:
                        done.set_result(answer)
        finally:
            self._writing = None


class LedgerWriter:
    """One transaction for all lanes that have something to write. Not for several event loops.

    Every call returns when what it wrote is in the ledger.
    """

    def __init__(self, ledger: Lanes, control_dsn: str, threads: Executor) -> None:
        self._ledger, self._threads = ledger, threads
        self._steps = StepWriter(control_dsn)
        self._deliveries = 0
        self._writes: Together[LaneWrite, None] = Together(self._write, self._may_wait)
        self._announcements: Together[Announcement, int] = Together(self._announce, self._may_wait)

    @contextmanager
    def delivery(self) -> Iterator[None]:
        """A delivery is under way: where there are many, what one writes waits a moment for what others do."""
        self._deliveries += 1
        try:
            yield
        finally:
            self._deliveries -= 1

    async def announce(self, lane: Lane, parts: Sequence[Part]) -> int:
        """Write which objects are about to be put, before they are; return the number that `News.announced` settles it by."""
        return await self._announcements.put(Announcement.of(lane, parts))

    async def announce_all(self, announcements: Sequence[Announcement]) -> list[int | LeaseLost]:
        """The same for many lanes at once, in one statement; `LeaseLost` is in the place of each that must not be put."""
        return await self._announce(announcements) if announcements else []

    async def finish_all(self, ended: Sequence[tuple[Lane, News]]) -> list[LeaseLost | None]:
        """Write that many lanes are delivered, in one transaction; `LeaseLost` is in the place of each that is another's."""
        return await self._write([LaneWrite.finish(lane, news) for lane, news in ended]) if ended else []

    async def step(self, lane: Lane) -> None:
        """Write how far a lane has come, and no more."""
        await self._writes.put(LaneWrite.step(lane))

    async def checkpoint(self, lane: Lane, news: News) -> None:
        """Write how far a lane has come, its counts, and what is new since the last time."""
        await self._writes.put(LaneWrite.checkpoint(lane, news))

    async def recount(self, lane: Lane, news: News) -> None:
        """Write the counts of a lane that stays delivered."""
        await self._writes.put(LaneWrite.recount(lane, news))

    async def finish(self, lane: Lane, news: News) -> None:
        """Write that a lane is delivered."""
        await self._writes.put(LaneWrite.finish(lane, news))

    async def fail(
        self, lane: Lane, news: News, error: str, *, permanent: bool, void: bool = False, blameless: bool = False
    ) -> None:
        """Write that a lane stopped, where, and why; see `LaneWrite.fail`."""
        await self._writes.put(LaneWrite.fail(lane, news, error, permanent=permanent, void=void, blameless=blameless))

    async def was_taken(self, lane: Lane) -> bool:
        """Whether a lane's destination has taken events since its options last changed."""
        with ours():
            return await asyncio.to_thread(self._ledger.was_taken, lane.destination, lane.snapshot_id)

    async def has_taken_of(self, lane: Lane) -> bool:
        """Whether a lane's destination has taken events of the lane's window, in this lane or another."""
        with ours():
            return await asyncio.to_thread(self._ledger.has_taken_of, lane.delivery_id)

    async def close(self) -> None:
        """Close what was opened."""
        await self._steps.close()

    def _may_wait(self, writes: Sequence[LaneWrite | Announcement]) -> bool:
        # for a step a place among the requests under way is kept
        steps = any(isinstance(write, LaneWrite) and write.steps for write in writes)
        return self._deliveries >= MANY and not steps

    async def _write(self, writes: Sequence[LaneWrite]) -> list[LeaseLost | None]:
        async with _answering():
            if all(write.steps for write in writes):
                missing = await within(ANSWER_SECONDS, self._steps.write(writes))
            else:
                missing = await in_time(self._threads, ANSWER_SECONDS, self._ledger.write, writes)
        return [write.lease_lost() if write.key in missing else None for write in writes]

    async def _announce(self, announcements: Sequence[Announcement]) -> list[int | LeaseLost]:
        async with _answering():
            noted = await in_time(self._threads, ANSWER_SECONDS, self._ledger.announce, announcements)
        return [noted.get(place) or lease_lost(item) for place, item in enumerate(announcements)]


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    try:
        with ours():
            yield
    except TimeoutError:
        raise DatabaseError(f"the control database has not answered for {ANSWER_SECONDS:.0f} s") from None
