"""The way of a delivery's events: read -> select -> render -> package -> send -> checkpoint, each step overlapping the next.

The lanes of one destination that a task carries are read in one pass and divided among them; each lane packs, sends and
checkpoints for itself. Reading, rendering and packaging are one thread's work, page by page: a page goes through all of them
while it is in the processor's cache, and PostgreSQL reads on meanwhile. Sending is the event loop's, or that of threads of the
destination's. Memory holds a chunk being packaged, one waiting, and the parcels under way; never the window.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial, reduce

from logstream.destinations.base import Destination, Options
from logstream.destinations.parcel import LaneRef, Packer, Parcel, UsedNames
from logstream.destinations.transport.secrets import LONGEST_REASON
from logstream.errors import (
    DatabaseError,
    DeliveryError,
    EventsPassedBy,
    LeaseLost,
    LogstreamError,
    excuse,
    is_blameless,
    ours,
)
from logstream.events import Cursor
from logstream.export.contents import contents_of, masks_of
from logstream.export.limiter import AdaptiveLimit
from logstream.export.outbox import Outbox
from logstream.export.refusals import LaneFailed, Refusals
from logstream.export.retrying import RetryNews
from logstream.export.select import Chunk, Demultiplexer, EventRenderer, Unsendable, after
from logstream.export.send import RetryPolicy
from logstream.export.window_plan import selected
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.leases import LeaseKeeper
from logstream.ledger.records import Lane, trail_of
from logstream.settings.models import Streaming
from logstream.settings.resolution import Workspace
from logstream.store.base import EventStore, Page
from logstream.threads import OutOfTime, in_time, seen_through
from logstream.tracebacks import words_of
from logstream.units import counted

log = logging.getLogger("logstream")

CHUNK_EVENTS = 10_000
CHUNK_BYTES = 8 * 1024 * 1024

SPARE = 0.9
"""How full a chunk is meant to be: what PostgreSQL sends beyond a full one is thrown away, with the connection it came over."""

AGAIN_BYTES = 64 * 1024 * 1024
"""How much is kept of what an earlier attempt seems to have sent, until it is known to be the same; it sent that within
`CHECKPOINT_SECONDS`. More than this is sent again."""

READ_SECONDS = 300.0
"""How long a chunk may take to be read and packaged: a log store that is silent for longer fails the lanes."""

Packed = list[tuple["LaneWork", list[Parcel], list[Unsendable]]]


class LaneWork:
    """One lane while it is delivered: its packer, its outbox, and what stopped it."""

    def __init__(self, lane: Lane, packer: Packer, outbox: Outbox) -> None:
        self.lane, self.packer, self.outbox = lane, packer, outbox
        self.resume = lane.counted
        self._sent_to = lane.position if lane.trail is not None else lane.counted
        self._again: list[Parcel] = []
        """What an earlier attempt has sent and not counted, if nothing has come or gone there since."""
        self._again_bytes = 0
        self.error: LogstreamError | None = None
        self.ended = False
        """Whether it is delivered, and that is written."""

    def skip(self, chunk: Chunk) -> Chunk:
        """What of a chunk comes after what is counted; a packer that names by what went before is shown the rest."""
        if self.resume is None:
            return chunk
        before, left = after(chunk, self.resume)
        self.packer.remember(before)
        if left.events:
            self.resume = None
        return left

    async def put(self, parcel: Parcel) -> None:
        """Send a parcel, unless an earlier attempt did: then it is counted."""
        if self._sent_to is not None and parcel.last <= self._sent_to:
            self._again.append(parcel)
            self._again_bytes += parcel.size
            if parcel.last == self._sent_to or self._again_bytes > AGAIN_BYTES:
                await self.take_up()
        else:
            await self.take_up()
            await self.outbox.put(parcel)

    async def take_up(self) -> None:
        """Count what an earlier attempt has sent. Where it is not the same that it sent, it is sent again.

        A row that came late would be counted as sent, and was not; one that was purged would leave the rest without its name.
        """
        again, self._again, self._sent_to = self._again, [], None
        if not again:
            return
        sent, self.lane.trail = self.lane.trail, 0
        if sent == reduce(lambda trail, parcel: trail_of(trail, parcel.name), again, 0):
            for parcel in again:
                self.outbox.note(parcel)
            return
        for parcel in again:
            await self.outbox.put(parcel)


class DeliveryPipeline:
    """Delivers lanes of one destination and one window. The caller has the lanes' leases, and keeps them.


    `threads` read and package; they may be shared by many. `workspaces` gives the lanes' workspaces, by the names that they
    have in this delivery. `used` are names of objects that the delivery has put before.
    """

    def __init__(
        self, lanes: Sequence[Lane], store: EventStore, writer: LedgerWriter, destination: Destination[Options],
        streamings: Mapping[int, Streaming], policy: RetryPolicy, limit: AdaptiveLimit, keeper: LeaseKeeper,
        threads: Executor, workspaces: Callable[[], Iterable[Workspace]], used: UsedNames | None = None,
        news: RetryNews | None = None,
    ) -> None:  # fmt: skip
        self._keeper, self._threads, self._news = keeper, threads, news
        self._secrets = destination.secrets
        self._refusals = Refusals(partial(writer.has_taken_of, lanes[0]))
        self._chunks = 0
        # what an event takes: as planned, then as it was in the chunk before
        self._event_bytes = sum(lane.planned_bytes for lane in lanes) / (
            sum(lane.planned.total() for lane in lanes) or 1
        )
        self._rendered = False
        """Whether a message was made of any event."""
        self._external_ids = {w.id: w.external_id for w in workspaces()} if destination.needs_external_ids else {}
        self._store, self._writer, self._window = store, writer, lanes[0].window
        self._contents, self._masks = contents_of(streamings), masks_of(streamings)
        self._used = used or UsedNames()
        self._works = {lane.lane: self._work(lane, destination, policy, limit) for lane in lanes}
        lane_of = {workspace: lane.lane for lane in lanes for workspace in lane.workspace_ids}
        instants = {workspace: lane.now_ns or 0 for lane in lanes for workspace in lane.workspace_ids}
        known = {workspace: streaming for workspace, streaming in streamings.items() if workspace in instants}
        self._streamings = known
        self._renderer = EventRenderer(known, instants, workspaces)
        self._lanes = Demultiplexer(lane_of)

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
            self._used,
        )
        packer = destination.packer(name, lane.part)
        confirm = partial(self._keeper.confirm, lane)
        outbox = Outbox(lane, self._writer, destination, policy, limit, self._refusals, confirm, self._news)
        return LaneWork(lane, packer, outbox)

    @property
    def remarks(self) -> str | None:
        """What a person should know of it though it was delivered."""
        return self._renderer.fallbacks

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
            # in the words of others, as what a receiver answers: they may quote a secret, or a whole event
            name = next(iter(self._works.values())).lane.destination
            log.error("Delivering to %s broke.\n%s", name, self._secrets.traceback(error))  # noqa: TRY400 - masked
            said = self._secrets.excerpt(f"{type(error).__name__}: {words_of(error)}", LONGEST_REASON)
            broke = DeliveryError(f"delivering broke: {said}")
            for work in self._open():
                await self._stop(work, excuse(broke) if is_blameless(error) else broke)
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
        return [work for work in self._works.values() if work.error is None and not work.ended]

    async def _send_rest(self, work: LaneWork) -> None:
        try:
            for parcel in await asyncio.to_thread(lambda: list(work.packer.finish())):
                await work.put(parcel)
            await work.take_up()
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
            await seen_through(self._finish(work))
        except LogstreamError as error:
            await self._stop(work, error)

    async def _finish(self, work: LaneWork) -> None:
        await self._writer.finish(work.lane, work.outbox.news)
        self._keeper.forget(work.lane)
        work.ended = True

    async def _look_for_missing(self, lane: Lane) -> None:
        """Before what a lane lacks is called lost: does the log store hold it, after all?"""
        if not any(events > 0 for events in lane.missing().values()):
            return
        count = partial(
            self._store.count, self._window, workspace_ids=lane.workspace_ids,
            by_log_type=any(streaming.selection.filters_logs for streaming in self._streamings.values()),
        )  # fmt: skip
        with ours():
            counts = await asyncio.get_running_loop().run_in_executor(self._threads, count)
        passed_by = (selected(counts, self._streamings, lane.destination) - lane.delivered - lane.rejected).total()
        if passed_by:
            raise EventsPassedBy(
                f"{counted(passed_by, 'event was', 'events were')} passed by: still in the log store; plan the window again"
            )

    async def _stop(self, work: LaneWork, error: LogstreamError) -> None:
        """Write down what stopped a lane, to the end. No error is raised: the other lanes go on."""
        work.error = error
        await seen_through(self._write_stop(work, error))

    async def _write_stop(self, work: LaneWork, error: LogstreamError) -> None:
        await work.outbox.abandon()
        if isinstance(error, LeaseLost):
            return  # the books are another attempt's
        permanent, void = isinstance(error, LaneFailed) and error.permanent, isinstance(error, EventsPassedBy)
        try:
            await self._writer.fail(
                work.lane, work.outbox.news, str(error), permanent=permanent, void=void, blameless=is_blameless(error)
            )
            self._keeper.forget(work.lane)
        except Exception as unwritten:  # the ledger is away, or a fault of ours: the others go on all the same
            log.warning(
                "%s, lane %s: it cannot be written why it stopped: %s", work.lane.destination, work.lane.lane, unwritten
            )

    async def _stream(self) -> None:
        """Send chunk after chunk. While one is sent the next is read and packaged, and no more than that one."""
        ahead: asyncio.Future[tuple[Packed, Cursor | None, bool]] | None = self._ahead(self._start())
        try:
            while ahead is not None:
                try:
                    packed, position, more = await ahead
                except OutOfTime:  # one that a destination's packing raises tells nothing of the log store
                    raise DatabaseError(f"the log store has not answered for {READ_SECONDS:.0f} s") from None
                self._chunks += 1
                ahead = self._ahead(position) if more else None
                for work, parcels, bad in packed:
                    await self._put(work, parcels, bad)
                if not self._open():
                    return
        finally:
            if ahead is not None:
                # a thread cannot be stopped: the packers are its own until it has ended
                await asyncio.shield(asyncio.gather(ahead, return_exceptions=True))

    def _ahead(self, position: Cursor | None) -> asyncio.Future[tuple[Packed, Cursor | None, bool]]:
        return asyncio.ensure_future(in_time(self._threads, READ_SECONDS, self._chunk, position))

    async def _put(self, work: LaneWork, parcels: list[Parcel], bad: list[Unsendable]) -> None:
        if work.error is not None:
            return
        work.outbox.reject(bad)
        try:
            for parcel in parcels:
                await work.put(parcel)
            if not self._rendered:
                await self._refusals.nothing_made()
        except LogstreamError as error:
            await self._stop(work, error)

    def _start(self) -> Cursor | None:
        """Where to begin: after the earliest checkpoint, unless names depend on all that came before."""
        resumes = [work.resume for work in self._works.values()]
        naming = any(work.resume and work.packer.needs_all_before for work in self._works.values())
        known = [resume for resume in resumes if resume is not None]
        return min(known) if len(known) == len(resumes) and not naming else None

    def _chunk(self, position: Cursor | None) -> tuple[Packed, Cursor | None, bool]:
        """Read the events of one statement and package them page by page, while they are in the processor's cache.

        Returns what is to be sent, the place after it, and whether there is more.
        """
        packed: dict[int, tuple[LaneWork, list[Parcel], list[Unsendable]]] = {
            number: (work, [], []) for number, work in self._works.items()
        }
        page = Page([], more=False)
        rows = size = 0
        for page in self._pages(position):
            rows += len(page.events) + len(page.bad)
            size += page.bytes
            for number, some, no_events in self._lanes.divide(page.events, page.bad):
                work, parcels, bad = packed[number]
                left = work.skip(self._renderer.render(some, no_events))
                self._rendered |= bool(left.events)
                parcels.extend(work.packer.pack(left.events, left.messages))
                bad.extend(left.bad)
            position = page.last or position
        if size and rows:
            self._event_bytes = size / rows
        return list(packed.values()), position, page.more

    def _pages(self, position: Cursor | None) -> Iterator[Page]:
        with ours():  # what is done with a page, a destination's packing too, is done outside of it
            yield from self._store.read(
                self._window, self._renderer.filters, position, max_events=self._most_events(), max_bytes=CHUNK_BYTES
            )

    def _most_events(self) -> int:
        """How many events to ask for: as many as are likely to fill a chunk, and hardly more."""
        return max(1, min(CHUNK_EVENTS, int(SPARE * CHUNK_BYTES / max(self._event_bytes, 1))))
