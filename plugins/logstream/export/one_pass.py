"""One pass over a window for many destinations of a task: their events are read once, and divided among them.

Each destination packages, sends and checkpoints for itself, exactly as if it was read for alone; cuts depend on the events, so
bytes, names and keys are the same. Between the pass and a destination waits one chunk at most. A destination that does not take
the next one in time leaves: what it has delivered is in the ledger, and a reading of its own goes on from there later. So a slow
one holds nobody back, and memory does not grow with how slow it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from contextlib import aclosing, suppress
from functools import partial

from logstream.errors import DatabaseError
from logstream.export.pipeline import Chunks, DeliveryPipeline, NotRead, read_ahead
from logstream.export.window_reader import Packed, WindowReader
from logstream.ledger.lane_names import LaneNames
from logstream.ledger.records import Lane
from logstream.store.base import EventStore
from logstream.window import Window

log = logging.getLogger("logstream")

GATHER_SECONDS = 1.0
"""How long those who have come to a window wait for others that may."""

PATIENCE_SECONDS = 5.0
"""How long a pass waits for a destination to take its part of the next chunk."""

PASS_CHUNKS = 2
"""What a pass reads at once, in the chunks of a destination that is read for alone."""

Place = tuple[Window, int]
"""What is read: a window, by the settings of a snapshot."""


def place_of(lanes: Iterable[Lane]) -> Place | None:
    """Where some lanes of one delivery may be read together with others'; `None` where an earlier attempt has begun them."""
    found = {(lane.window, lane.snapshot_id) for lane in lanes if lane.counted is None and lane.position is None}
    begun = any(lane.counted is not None or lane.position is not None for lane in lanes)
    return None if begun or len(found) != 1 else found.pop()


class Member:
    """A destination in a pass, and the chunk that waits for it."""

    def __init__(self, pipeline: DeliveryPipeline) -> None:
        self.pipeline = pipeline
        self.ready = asyncio.Event()
        self.left = False
        """Whether the pass goes on without it: it is to be cut short, and read for alone."""
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the pass has nothing more for it."""
        self._ended = False
        self._waiting: asyncio.Queue[list[Packed] | DatabaseError | None] = asyncio.Queue(1)

    @property
    def takes_part(self) -> bool:
        """Whether the pass still reads for it."""
        return not self.left and not self._ended

    async def chunks(self) -> Chunks:
        """What the pass reads for it."""
        while (found := await self._waiting.get()) is not None:
            if isinstance(found, DatabaseError):
                raise found
            yield found

    def offer(self, part: list[Packed] | DatabaseError | None) -> asyncio.Task[None] | None:
        """Give it the next chunk, or the end; return what is to be waited for where it has not taken the last one yet."""
        try:
            self._waiting.put_nowait(part)
        except asyncio.QueueFull:
            return asyncio.create_task(self._waiting.put(part))
        return None

    def leave(self) -> None:
        """The pass goes on without it."""
        self.left = True
        self.ready.set()
        self.note_over()

    def note_over(self) -> None:
        """The pass has nothing more for it."""
        if not self.over.done():
            self.over.set_result(None)

    def end(self) -> None:
        """Its pipeline has ended: it takes nothing that comes."""
        self._ended = True
        self.note_over()
        while not self._waiting.empty():
            self._waiting.get_nowait()


class Passes:
    """The passes of one task. `expected` says how many destinations come to each place at the most."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._expected: Counter[Place] = Counter()
        self._gathering: dict[Place, list[Member]] = {}
        self._all_here: dict[Place, asyncio.Event] = {}
        self._running: set[asyncio.Task[None]] = set()

    def expect(self, lanes: Iterable[Lane]) -> None:
        """A destination will come with these lanes of one delivery."""
        place = place_of(list(lanes))
        if place is not None:
            self._expected[place] += 1

    def withdraw(self, place: Place) -> None:
        """A destination that was expected does not come."""
        self._expected[place] -= 1
        self._look(place)

    def are_shared(self, place: Place | None) -> bool:
        """Whether more than one destination may come to a place."""
        return place is not None and self._expected[place] > 1

    async def join(self, place: Place, pipeline: DeliveryPipeline, store: EventStore, ledger: LaneNames) -> Member:
        """Join a pass; return when it begins."""
        member = Member(pipeline)
        if place not in self._gathering:
            self._gathering[place], self._all_here[place] = [], asyncio.Event()
            task = asyncio.create_task(self._begin(place, store, ledger))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        self._gathering[place].append(member)
        self._look(place)
        await member.ready.wait()
        return member

    async def close(self) -> None:
        """Stop the passes: their destinations have ended."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _look(self, place: Place) -> None:
        if place in self._gathering and len(self._gathering[place]) >= self._expected[place]:
            self._all_here[place].set()

    async def _begin(self, place: Place, store: EventStore, ledger: LaneNames) -> None:
        with suppress(TimeoutError):  # those who come later gather anew
            await asyncio.wait_for(self._all_here[place].wait(), GATHER_SECONDS)
        members = self._gathering.pop(place)
        self._expected[place] -= len(members)
        del self._all_here[place]
        try:
            await self._run(members, store, ledger, place[0])
        except Exception:
            # the fault of one of them, it is not known whose: read for alone, it stops that one
            log.exception("A pass over window %s broke; its destinations are read for one by one.", place[0])
            for member in members:
                member.leave()
        finally:
            for member in members:
                member.ready.set()

    async def _run(self, everyone: list[Member], store: EventStore, ledger: LaneNames, window: Window) -> None:
        members = _apart(everyone)
        streamings = {
            workspace: streaming for member in members for workspace, streaming in member.pipeline.streamings.items()
        }
        works = [work for member in members for work in member.pipeline.works]
        member_of = {id(work): member for member in members for work in member.pipeline.works}
        names = partial(ledger.workspaces_of, [work.lane for work in works], store.workspaces)
        reader = await asyncio.to_thread(WindowReader, works, store, window, streamings, names)
        for member in members:
            member.pipeline.read_by(reader, member.chunks())
            member.ready.set()
        end: DatabaseError | None = None
        try:
            async with aclosing(read_ahead(reader, self._threads, PASS_CHUNKS)) as chunks:
                async for packed in chunks:
                    parts: dict[Member, list[Packed]] = {}
                    for part in packed:
                        parts.setdefault(member_of[id(part.work)], []).append(part)
                    await self._hand_over(parts)
                    if not any(member.takes_part for member in members):
                        return
                    for member in members:
                        member.pipeline.note_reading()
        except NotRead:
            raise  # whether the log store is silent or what packages its events: read for alone, each will see
        except DatabaseError as error:
            end = error
        await self._hand_over(dict.fromkeys(members, end))
        for member in members:
            member.note_over()

    @staticmethod
    async def _hand_over(parts: Mapping[Member, list[Packed] | DatabaseError | None]) -> None:
        """Give members their parts; let those go that have no room for them in time."""
        late = {}
        for member, part in parts.items():
            if member.takes_part and (task := member.offer(part)) is not None:
                late[task] = member
        if not late:
            return
        try:
            _, waiting = await asyncio.wait(late, timeout=PATIENCE_SECONDS)
        except BaseException:
            for task in late:
                task.cancel()
            raise
        for task in waiting:
            task.cancel()
            late[task].leave()


def _apart(members: list[Member]) -> list[Member]:
    """Those that can be read for together: a row goes to one lane, so others that want its workspace are read for alone."""
    taken: set[int] = set()
    for member in members:
        own = {workspace for work in member.pipeline.works for workspace in work.lane.workspace_ids}
        if own & taken:
            member.leave()
        else:
            taken |= own
    return [member for member in members if not member.left]
