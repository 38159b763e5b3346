"""The way of a delivery's events: read -> select -> render -> package -> send -> checkpoint, each step overlapping the next.

The lanes of one destination that a task carries are read in one pass and divided among them; each lane packs, sends and
checkpoints for itself. Reading, rendering and packaging are one thread's work, page by page: a page goes through all of them
while it is in the processor's cache, and PostgreSQL reads on meanwhile. Sending is the event loop's, or that of threads of the
destination's. Memory holds a chunk being packaged, one waiting, and the parcels under way; never the window.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from functools import partial

from logstream.destinations.base import Destination, Options
from logstream.destinations.parcel import LaneRef, Parcel
from logstream.errors import DatabaseError, DeliveryError, EventsPassedBy, LeaseLost, LogstreamError
from logstream.events import Cursor, Event
from logstream.export.contents import contents_of, masks_of
from logstream.export.limiter import AdaptiveLimit
from logstream.export.outbox import Outbox
from logstream.export.refusals import LaneFailed, Refusals
from logstream.export.send import RetryPolicy
from logstream.export.window_plan import selected
from logstream.export.window_reader import LaneWork, Packed, WindowReader
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.leases import LeaseKeeper
from logstream.ledger.records import Lane
from logstream.settings.models import Streaming
from logstream.settings.resolution import Workspace
from logstream.store.base import EventStore
from logstream.threads import in_time
from logstream.units import counted

log = logging.getLogger("logstream")

CHUNK_EVENTS = 10_000
CHUNK_BYTES = 8 * 1024 * 1024

READ_SECONDS = 300.0
"""How long a chunk may take to be read and packaged: a log store that is silent for longer fails the lanes."""

Chunks = AsyncGenerator[list[Packed], None]
"""What lanes get of a window, chunk after chunk."""


class NotRead(DatabaseError):
    """A chunk was not read and packaged in `READ_SECONDS`."""


class DeliveryPipeline:
    """Delivers lanes of one destination and one window. The caller has the lanes' leases, and keeps them.


    `threads` read and package; they may be shared by many. `workspaces` gives the lanes' workspaces, by the names that they
    have in this delivery.
    """

    def __init__(
        self, lanes: Sequence[Lane], store: EventStore, writer: LedgerWriter, destination: Destination[Options],
        streamings: Mapping[int, Streaming], policy: RetryPolicy, limit: AdaptiveLimit, keeper: LeaseKeeper,
        threads: Executor, workspaces: Callable[[], Iterable[Workspace]],
    ) -> None:  # fmt: skip
        self._keeper, self._threads = keeper, threads
        self._refusals = Refusals()
        self._chunks = 0
        self._external_ids = {w.id: w.external_id for w in workspaces()} if destination.needs_external_ids else {}
        self._store, self._writer, self._window = store, writer, lanes[0].window
        self._contents, self._masks = contents_of(streamings), masks_of(streamings)
        self._works = {lane.lane: self._work(lane, destination, policy, limit) for lane in lanes}
        self.streamings, self._workspaces = streamings, workspaces
        self._reader: WindowReader | None = None
        self.shared: Chunks | None = None
        """Where its chunks come from, if another reads for it (`export/one_pass.py`)."""

    @property
    def works(self) -> list[LaneWork]:
        """Its lanes."""
        return list(self._works.values())

    def read_by(self, reader: WindowReader, chunks: Chunks) -> None:
        """Take what a pass reads for it and for others."""
        self._reader, self.shared = reader, chunks

    def note_reading(self) -> None:
        """A pass gets on that reads for it."""
        self._chunks += 1

    def _work(
        self, lane: Lane, destination: Destination[Options], policy: RetryPolicy, limit: AdaptiveLimit
    ) -> LaneWork:
        assert lane.now_ns is not None, "a lane that is taken has its instant"  # noqa: S101
        name = LaneRef(
            lane.destination,
            lane.window,
            lane.lane,
            destination.options.lanes,
            self._external_ids,
            self._contents,
            self._masks,
        )
        packer = destination.packer(name, lane.part)
        confirm = partial(self._keeper.confirm, lane)
        outbox = Outbox(lane, self._writer, destination, policy, limit, self._refusals, confirm)
        return LaneWork(lane, packer, outbox)

    @property
    def remarks(self) -> str | None:
        """What a person should know of it though it was delivered."""
        return self._reader.remarks(self.works) if self._reader is not None else None

    async def run(self) -> dict[int, LogstreamError | None]:
        """Deliver the lanes from their checkpoints to their ends; return lane to what stopped it.

        A lane that fails is written down as failed, and the others go on.
        """
        try:
            await self._stream()
            for work in self._open():
                await self._send_rest(work)
            await self._judge_refusals()
            for work in self._open():
                await self._end(work)
        except LogstreamError as error:
            # the log store or the ledger is away: that stops all of them
            for work in self._open():
                await self._stop(work, error)
        except Exception as error:  # a fault of ours, or of a plug-in: it stops this destination and no other
            log.exception("Delivering to %s broke.", next(iter(self._works.values())).lane.destination)
            for work in self._open():
                await self._stop(work, DeliveryError(f"delivering broke: {type(error).__name__}: {error}"))
        except BaseException:
            for work in self._open():
                await work.outbox.abandon()
            raise
        return self.errors

    @property
    def progress(self) -> int:
        """A number that grows whenever something was read or has arrived."""
        return self._chunks + sum(work.lane.part for work in self._works.values())

    async def leave(self) -> list[Lane]:
        """Write how far the lanes have come whose delivery was cut short; return those that are still to be delivered."""
        left = []
        for work in self._open():
            try:
                await self._writer.checkpoint(work.lane, work.outbox.news)
                left.append(work.lane)
            except LogstreamError as error:
                await self._stop(work, error)
        return left

    @property
    def errors(self) -> dict[int, LogstreamError | None]:
        """Lane to what stopped it."""
        return {number: work.error for number, work in self._works.items()}

    def _open(self) -> list[LaneWork]:
        return [work for work in self._works.values() if work.error is None]

    async def _send_rest(self, work: LaneWork) -> None:
        try:
            for parcel in await asyncio.to_thread(lambda: list(work.packer.finish())):
                await work.put(parcel)
            await work.outbox.drain()
        except LogstreamError as error:
            await self._stop(work, error)

    async def _judge_refusals(self) -> None:
        """Where nothing was taken in this run, what was taken before decides whether refusals are believed."""
        doubtful = [work.lane for work in self._open() if work.outbox.doubtful]
        if doubtful and await self._writer.was_taken(doubtful[0]):
            self._refusals.believe()

    async def _end(self, work: LaneWork) -> None:
        try:
            await work.outbox.conclude()
            await self._look_for_missing(work.lane)
            await self._writer.finish(work.lane, work.outbox.news)
            self._keeper.forget(work.lane)
        except LogstreamError as error:
            await self._stop(work, error)

    async def _look_for_missing(self, lane: Lane) -> None:
        """Before what a lane lacks is called lost: does the log store hold it, after all?"""
        if not any(events > 0 for events in lane.missing().values()):
            return
        count = partial(
            self._store.count, self._window, workspace_ids=lane.workspace_ids,
            by_log_type=any(streaming.selection.filters_logs for streaming in self.streamings.values()),
        )  # fmt: skip
        counts = await asyncio.get_running_loop().run_in_executor(self._threads, count)
        passed_by = (selected(counts, self.streamings, lane.destination) - lane.delivered - lane.rejected).total()
        if passed_by:
            raise EventsPassedBy(
                f"{counted(passed_by, 'event was', 'events were')} passed by: still in the log store; plan the window again"
            )

    async def _stop(self, work: LaneWork, error: LogstreamError) -> None:
        """Write down what stopped a lane. Never raises: the other lanes go on."""
        work.error = error
        await work.outbox.abandon()
        if isinstance(error, LeaseLost):
            return  # the books are another attempt's
        permanent, void = isinstance(error, LaneFailed) and error.permanent, isinstance(error, EventsPassedBy)
        try:
            await self._writer.fail(work.lane, work.outbox.news, str(error), permanent=permanent, void=void)
            self._keeper.forget(work.lane)
        except LogstreamError as unwritten:
            log.warning(
                "%s, lane %s: it cannot be written why it stopped: %s", work.lane.destination, work.lane.lane, unwritten
            )

    async def _stream(self) -> None:
        """Send chunk after chunk."""
        async with aclosing(self.shared or self._read()) as chunks:
            async for packed in chunks:
                self._chunks += 1
                for work, parcels, bad in packed:
                    await self._put(work, parcels, bad)
                if not self._open():
                    return

    def _read(self) -> Chunks:
        self._reader = WindowReader(self.works, self._store, self._window, self.streamings, self._workspaces)
        return read_ahead(self._reader, self._threads)

    async def _put(self, work: LaneWork, parcels: list[Parcel], bad: list[tuple[Event, str]]) -> None:
        if work.error is not None:
            return
        work.outbox.reject(bad)
        try:
            for parcel in parcels:
                await work.put(parcel)
        except LogstreamError as error:
            await self._stop(work, error)


async def read_ahead(reader: WindowReader, threads: Executor, chunks: int = 1) -> Chunks:
    """Chunk after chunk of a window, each as large as `chunks`. While one is sent the next is read, and no more than that one.

    Raises `NotRead` for a log store that is silent.
    """

    def next_one(position: Cursor | None) -> asyncio.Future[tuple[list[Packed], Cursor | None, bool]]:
        limits = CHUNK_EVENTS * chunks, CHUNK_BYTES * chunks
        return asyncio.ensure_future(in_time(threads, READ_SECONDS, reader.chunk, position, *limits))

    ahead: asyncio.Future[tuple[list[Packed], Cursor | None, bool]] | None = next_one(reader.start())
    try:
        while ahead is not None:
            try:
                packed, position, more = await ahead
            except TimeoutError:
                raise NotRead(f"the log store has not answered for {READ_SECONDS:.0f} s") from None
            ahead = next_one(position) if more else None
            yield packed
    finally:
        if ahead is not None:
            # a thread cannot be stopped: the packers are its own until it has ended
            await asyncio.shield(asyncio.gather(ahead, return_exceptions=True))
