"""A lane's way: read -> select -> render -> package -> send -> checkpoint, each step overlapping the next.

Reading and rendering run in threads, sending on the event loop. Memory holds one chunk being read, one being rendered,
and the parcels under way; never the window.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from logstream.delivery.ledger import Lane, Ledger
from logstream.delivery.sending import LaneFailed, RetryPolicy, Sent, send
from logstream.destinations.base import Destination, Options
from logstream.destinations.objects import EventPacker
from logstream.destinations.parcel import EventRef, LaneRef, Packer, Parcel, cursor_of
from logstream.errors import BadEvent, LogstreamError
from logstream.events import Cursor, Event, Kind, Selection
from logstream.rendering import Renderer
from logstream.settings.models import Streaming
from logstream.store.base import EventStore, Filter, Page
from logstream.store.postgres import log_fields

CHUNK_EVENTS = 5_000
CHUNK_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Chunk:
    """Events that are rendered: those to send with their messages, and those that cannot be sent with the reason."""

    events: list[Event]
    messages: list[bytes]
    bad: list[tuple[Event, str]] = field(default_factory=list)


class LaneRenderer:
    """Selects and renders the events of a lane, each workspace's by its own setting."""

    def __init__(self, streamings: dict[int, Streaming], now_ns: int) -> None:
        shared: dict[int, tuple[Selection, Renderer]] = {}
        self._by_workspace: dict[int, tuple[Selection, Renderer]] = {}
        for workspace, streaming in streamings.items():
            # an admin's setting is one object for all workspaces, and so is its renderer
            if id(streaming) not in shared:
                selection = streaming.selection
                renderer = Renderer.of(streaming.message, drop_lines=selection.drops_lines, now_ns=now_ns)
                shared[id(streaming)] = selection, renderer
            self._by_workspace[workspace] = shared[id(streaming)]
        self._shared = list(shared.values())
        self._narrowing = any(selection.filters_logs for selection, _ in self._shared)

    @property
    def filters(self) -> list[Filter]:
        """What to read."""
        groups: dict[Selection, list[int]] = {}
        for workspace, (selection, _) in self._by_workspace.items():
            groups.setdefault(selection, []).append(workspace)
        return [Filter.of(selection, sorted(workspaces)) for selection, workspaces in groups.items()]

    def render(self, events: Sequence[Event]) -> Chunk:
        """Render the selected ones of some events, in order."""
        if self._narrowing:
            events = [event for event in events if self._selected(event)]
        kept: list[Event] = []
        messages: list[bytes] = []
        bad: list[tuple[Event, str]] = []
        for event in events:
            try:
                messages.append(self._by_workspace[event[1]][1].render(event[2], event[5]))
                kept.append(event)
            except BadEvent as error:
                bad.append((event, str(error)))
        return Chunk(kept, messages, bad)

    def _selected(self, event: Event) -> bool:
        selection = self._by_workspace[event.workspace_id][0]
        if event.kind != Kind.LOG_SERVICE or not selection.filters_logs:
            return True
        return selection.matches(event.kind, *log_fields(event.payload))

    @property
    def fallbacks(self) -> str | None:
        """What was sent by the default message instead of its template, in words; `None` if nothing was."""
        reasons = [(renderer.fallbacks, renderer.fallback_reason) for _, renderer in self._shared]
        broken = [(count, reason) for count, reason in reasons if reason]
        if not broken:
            return None
        return f"message template broke, the default message was sent instead: {broken[0][1]}"


class LanePipeline:
    """Delivers one lane. The caller holds the lane's lock."""

    def __init__(
        self, lane: Lane, lanes: int, store: EventStore, ledger: Ledger, destination: Destination[Options],
        streamings: dict[int, Streaming], policy: RetryPolicy,
    ) -> None:  # fmt: skip
        assert lane.now_ns is not None, "begin() gives a lane its instant"  # noqa: S101
        self._lane, self._store, self._ledger, self._destination = lane, store, ledger, destination
        self._policy = policy
        self._renderer = LaneRenderer(streamings, lane.now_ns)
        self._packer: Packer = destination.packer(LaneRef(lane.destination, lane.window, lane.lane, lanes), lane.part)
        self._outbox = Outbox(lane, ledger, destination, policy)

    async def run(self) -> None:
        """Deliver the lane from its checkpoint to its end. Raises `LaneFailed`; the ledger has how far it came."""
        try:
            await self._recall()
            await self._stream()
            await self._outbox.drain()
        except LaneFailed as error:
            await self._outbox.abandon()
            await self._fail(str(error), permanent=error.permanent)
            raise
        except LogstreamError as error:
            await self._outbox.abandon()
            await self._fail(str(error), permanent=False)
            raise
        except BaseException:
            await self._outbox.abandon()
            raise
        await asyncio.to_thread(self._ledger.finish, self._lane, self._outbox.rejected)

    async def _fail(self, reason: str, *, permanent: bool) -> None:
        await asyncio.to_thread(self._ledger.fail, self._lane, self._outbox.rejected, reason, permanent=permanent)

    @property
    def remarks(self) -> str | None:
        """What a person should know of it though it was delivered."""
        return self._renderer.fallbacks

    async def _stream(self) -> None:
        reading: asyncio.Task[Page] | None = asyncio.create_task(self._read(self._lane.position))
        try:
            while reading is not None:
                events, more = await reading
                reading = asyncio.create_task(self._read(cursor_of(events[-1]))) if more else None
                parcels, bad = await asyncio.to_thread(self._render_and_pack, events)
                self._outbox.reject(bad)
                for parcel in parcels:
                    await self._outbox.put(parcel)
        finally:
            if reading is not None:
                reading.cancel()
        for parcel in await asyncio.to_thread(lambda: list(self._packer.finish())):
            await self._outbox.put(parcel)

    async def _read(self, after: Cursor | None) -> Page:
        return await asyncio.to_thread(
            self._store.read,
            self._lane.window,
            self._renderer.filters,
            after,
            max_events=CHUNK_EVENTS,
            max_bytes=CHUNK_BYTES,
        )

    def _render_and_pack(self, events: list[Event]) -> tuple[list[Parcel], list[tuple[Event, str]]]:
        chunk = self._renderer.render(events)
        return list(self._packer.pack(chunk.events, chunk.messages)), chunk.bad

    async def _recall(self) -> None:
        """Show a packer that names events by what went before them what an earlier attempt delivered."""
        if self._lane.position is None or not isinstance(self._packer, EventPacker):
            return
        after: Cursor | None = None
        more = True
        while more:
            events, more = await self._read(after)
            before = [event for event in events if cursor_of(event) <= self._lane.position]
            self._packer.remember(self._renderer.render(before).events)
            if len(before) < len(events):
                return
            after = cursor_of(events[-1]) if events else after


class Outbox:
    """Sends parcels, several at once, and checkpoints them in order.

    At most the destination's concurrency of parcels is sent and not yet in the ledger: after a crash no more than those
    are sent again.
    """

    def __init__(self, lane: Lane, ledger: Ledger, destination: Destination[Options], policy: RetryPolicy) -> None:
        self._lane, self._ledger, self._destination, self._policy = lane, ledger, destination, policy
        self._slots = asyncio.Semaphore(destination.limits.concurrency)
        self._under_way: deque[tuple[Parcel, asyncio.Task[Sent]]] = deque()
        self._bad: deque[tuple[Cursor, EventRef, str]] = deque()
        self._rejected: list[tuple[EventRef, str]] = []
        self._settling: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    def reject(self, bad: Sequence[tuple[Event, str]]) -> None:
        """Note events that cannot be sent; they enter the ledger with the parcel that comes after them."""
        for event, reason in bad:
            self._bad.append((cursor_of(event), EventRef(event.id, event.workspace_id, event.kind), reason))

    async def put(self, parcel: Parcel) -> None:
        """Send a parcel as soon as there is room. Raises what an earlier one failed with."""
        await self._slots.acquire()
        if self._failure is not None:
            raise self._failure
        task = asyncio.create_task(send(self._destination, parcel, self._policy))
        self._under_way.append((parcel, task))
        task.add_done_callback(self._settle_soon)

    async def drain(self) -> None:
        """Wait until everything is sent and in the ledger."""
        while self._under_way or self._settling is not None:
            if self._settling is None:
                self._settle_soon()
            assert self._settling is not None  # noqa: S101 - just made
            await asyncio.wait([self._settling, *(task for _, task in list(self._under_way)[:1])])
            await asyncio.sleep(0)
            if self._failure is not None:
                raise self._failure
        self._take_bad(None)

    async def abandon(self) -> None:
        """Stop sending what is not sent; what has arrived goes into the ledger."""
        tasks = [task for _, task in self._under_way]
        for task in tasks:
            if not task.done():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._settling is not None:
            await asyncio.gather(self._settling, return_exceptions=True)
        self._collect()

    @property
    def rejected(self) -> list[tuple[EventRef, str]]:
        """The rejected events that are not in the ledger yet."""
        return self._rejected

    def _settle_soon(self, _: object = None) -> None:
        if self._settling is None:
            self._settling = asyncio.create_task(self._settle())

    async def _settle(self) -> None:
        """Write to the ledger what has arrived without a gap, and make room for as much."""
        try:
            while (collected := self._collect()) > 0:
                rejected = list(self._rejected)
                await asyncio.to_thread(self._ledger.checkpoint, self._lane, rejected)
                del self._rejected[: len(rejected)]
                for _ in range(collected):
                    self._slots.release()
        except BaseException as error:
            self._failure = self._failure or error
        finally:
            self._settling = None
            if self._failure is not None:
                # whoever waits for room must learn of it
                self._slots.release()

    def _collect(self) -> int:
        collected = 0
        while self._under_way and self._under_way[0][1].done() and self._failure is None:
            parcel, task = self._under_way[0]
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is not None:
                self._failure = error
                break
            self._under_way.popleft()
            self._count(parcel, task.result())
            collected += 1
        return collected

    def _count(self, parcel: Parcel, sent: Sent) -> None:
        lane = self._lane
        lane.delivered.update(parcel.tally)
        if sent.rejected:
            lane.delivered.subtract(sent.rejected_tally)
            lane.rejected.update(sent.rejected_tally)
            self._rejected += sent.rejected
        lane.sizes.update(parcel.sizes)
        lane.bytes += sent.bytes
        lane.requests += sent.requests
        lane.part += 1
        lane.position = parcel.last
        self._take_bad(parcel.last)

    def _take_bad(self, until: Cursor | None) -> None:
        while self._bad and (until is None or self._bad[0][0] < until):
            _, event, reason = self._bad.popleft()
            self._lane.rejected.update(Counter({(event.workspace_id, event.kind): 1}))
            self._rejected.append((event, reason))
