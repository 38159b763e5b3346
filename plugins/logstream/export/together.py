"""Many small deliveries at once: thousands of customers, each with a destination of its own and a few events in a window.

In a pipeline of its own such a delivery is a statement that reads, three writes to the ledger and dozens of turns of the event
loop and of threads, for one object. Here a statement reads the events of hundreds of them, one thread packages them, a
statement announces their objects, some threads put them, and one more statement writes that they are delivered.

Only what goes well is done here. Whatever else is met leaves a lane to a pipeline: an event that cannot be sent, a count that is
not as planned, a refusal, a receiver that is slow, a lane that an earlier attempt has begun. The pipeline begins the lane anew.
The same events are in the same objects again, so what was put here already is replaced by itself; therefore this is for
destinations alone where putting again replaces (`docs/adr/0025`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from logstream import clock
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.outcome import Delivered, Retry
from logstream.destinations.parcel import Parcel, Part, UsedNames
from logstream.errors import LeaseLost
from logstream.events import Event, Selection
from logstream.export.deployment import Deployment
from logstream.export.members import Member, delivered, make_parcels, parts_of
from logstream.export.memory import MemoryBudget
from logstream.export.opening import Destinations
from logstream.export.pipeline import READ_SECONDS
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.lane_writes import Announcement
from logstream.ledger.leases import LeaseKeeper
from logstream.ledger.records import Lane, News
from logstream.settings.models import Streaming
from logstream.settings.repository import Snapshot
from logstream.settings.resolution import streamings_of
from logstream.store.base import Filter
from logstream.threads import SharedThreads, in_time, is_from_outside
from logstream.tracebacks import traceback_of

log = logging.getLogger("logstream")

SMALL_BYTES = 128 * 1024
"""A delivery of more than this is worth a pipeline of its own."""

FEWEST = 8
"""So many small deliveries at least are done together: fewer are quick as it is."""

PACK_DELIVERIES = 512
PACK_BYTES = 4 * 1024 * 1024
"""How much is read, packaged and put at once. All of it is in memory meanwhile."""

PACKED_BYTES = 32 * 1024 * 1024
"""When parcels have so many bytes, the rest of a pack is left to pipelines: a template may make a hundred times the events."""

READINGS = 3
"""How often a pack is read at the most: each time without those that have far more to read than is planned."""

PACKS = 2
"""While one pack waits for its receivers, another is read and packaged."""

GATHER_SECONDS = 0.02
"""How long to wait for others of a pack once one destination is open."""

PUT_THREADS = 32
STALL_SECONDS = 5.0
"""What of a pack is not there when no put has ended for so long is left to pipelines: no receiver holds up others."""

SLOW_SECONDS = 1.0
TROUBLES = 3
"""Parcels of one connection that were slow (for each of their objects), or are to be tried again; what is left of it then has
pipelines, which know how to wait."""


def divide(groups: Iterable[Sequence[Sequence[Lane]]]) -> tuple[list[Sequence[Lane]], list[Sequence[Sequence[Lane]]]]:
    """The small deliveries among those of some destinations, each given as the lanes of its windows; and all others.

    A destination that has several windows gets them in their order, one after another.
    """
    small: list[Sequence[Lane]] = []
    others: list[Sequence[Sequence[Lane]]] = []
    for windows in groups:
        if len(windows) == 1 and _is_small(windows[0]):
            small.append(windows[0])
        else:
            others.append(windows)
    if len(small) < FEWEST:
        return [], [*others, *([lanes] for lanes in small)]
    return small, others


def _is_small(lanes: Sequence[Lane]) -> bool:
    new = all(lane.planned and lane.position is None and lane.counted is None and not lane.part for lane in lanes)
    return new and sum(lane.planned_bytes for lane in lanes) <= SMALL_BYTES


class DeliveriesTogether:
    """Delivers small deliveries of one task together. `threads` read and package.

    `ended` is called for each lane that is delivered, as it is then, with what a person should know of it; `left` for lanes of a
    delivery that must have a pipeline.
    """

    def __init__(
        self, deployment: Deployment, destinations: Destinations, keeper: LeaseKeeper, writer: LedgerWriter,
        memory: MemoryBudget, threads: Executor, snapshots: Mapping[int, Snapshot], *,
        ended: Callable[[Lane, str | None], None], left: Callable[[list[Lane]], None],
    ) -> None:  # fmt: skip
        self._deployment, self._destinations, self._keeper, self._writer = deployment, destinations, keeper, writer
        self._memory, self._threads, self._snapshots = memory, threads, snapshots
        self._ended, self._left = ended, left
        self._room = asyncio.Semaphore(PACKS)

    async def deliver(self, deliveries: Sequence[Sequence[Lane]]) -> None:
        """Deliver them, a pack at a time, as their destinations open."""
        opened: asyncio.Queue[Member | None] = asyncio.Queue()
        opening = [asyncio.create_task(self._open(lanes, opened)) for lanes in deliveries]
        running: list[asyncio.Task[None]] = []
        waiting, missing = list[Member](), len(deliveries)
        try:
            while missing or waiting:
                if missing and not (waiting and opened.empty()):
                    found = await opened.get()
                    missing -= 1
                    waiting += [found] if found is not None else []
                    if opened.empty():
                        await clock.sleep(GATHER_SECONDS)
                    if not opened.empty() and len(waiting) < PACK_DELIVERIES:
                        continue
                for pack in _packs(waiting):
                    await self._room.acquire()
                    running.append(asyncio.create_task(self._deliver_pack(pack)))
                waiting = []
            await asyncio.gather(*running)
        finally:
            for task in (*opening, *running):
                task.cancel()

    async def _open(self, lanes: Sequence[Lane], opened: asyncio.Queue[Member | None]) -> None:
        name, settings = lanes[0].destination, self._snapshots[lanes[0].snapshot_id].settings
        member: Member | None = None
        try:
            destination = await self._destinations.get(name, settings)
            # a plug-in that sends in a way of its own is sent to in that way
            if isinstance(destination, ObjectDestination) and destination.sends_by_put_now:
                member = Member(lanes, destination)
        except (Exception, asyncio.CancelledError) as error:  # else `deliver` waits for this one for ever
            if is_from_outside(error):
                raise
            log.debug(
                "%s is left to its pipeline, which meets the same and writes it down\n%s", name, traceback_of(error)
            )
        if member is None:
            self._left(list(lanes))
        opened.put_nowait(member)

    async def _deliver_pack(self, pack: Sequence[Member]) -> None:
        done: set[tuple[int, int]] = set()
        try:
            async with self._memory.share(sum(member.size for member in pack)):
                await self._deliver_together(pack, done)
        except Exception as error:  # of one of them, or of all: that is seen when each is alone
            log.debug("%s small deliveries have a pipeline each\n%s", len(pack), traceback_of(error))
        finally:
            self._room.release()
        for member in pack:
            if lanes := [lane for lane in member.lanes if lane.key not in done]:
                self._left(lanes)

    async def _deliver_together(self, pack: Sequence[Member], done: set[tuple[int, int]]) -> None:
        await in_time(self._threads, READ_SECONDS, self._package, pack)
        await self._announce(pack)
        arrived = await self._put(pack)
        ended = [
            (
                member,
                delivered(lane, parcels),
                News(parts=parts_of(parcels), announced=member.announced.get(lane.lane, ())),
            )
            for member in pack
            for lane, parcels in member.ready()
            if all(id(parcel) in arrived for parcel in parcels)
        ]
        lost = await self._writer.finish_all([(lane, news) for _, lane, news in ended])
        for (member, lane, _), error in zip(ended, lost, strict=True):
            if error is None:
                self._keeper.forget(lane)
                done.add(lane.key)
                self._ended(lane, member.remarks)

    def _package(self, pack: Sequence[Member]) -> None:
        """Read the events of a pack with one statement, and make each lane's parcels. Blocks."""
        lanes = [lane for member in pack for lane in member.lanes]
        snapshot = self._snapshots[lanes[0].snapshot_id]
        store = self._deployment.store(snapshot)
        streamings = streamings_of(snapshot.settings, [number for lane in lanes for number in lane.workspace_ids])
        events, odd = self._read(pack, streamings)
        sound = [member for member in pack if member.delivery_id not in odd]
        self._look_for_used_names(sound)
        room = PACKED_BYTES
        named = []
        for member in sound:
            if room > 0 and not make_parcels(member, events, streamings, None):
                named.append(member)
            room -= member.packed
        if named:
            lanes = [lane for member in named for lane in member.lanes]
            workspaces = self._deployment.ledger.workspaces_of(lanes, store.workspaces)
            for member in named:
                if room > 0:
                    make_parcels(member, events, streamings, workspaces)
                room -= member.packed

    def _look_for_used_names(self, pack: Sequence[Member]) -> None:
        ledger, used = self._deployment.ledger, defaultdict[int, list[Part]](list)
        before = ledger.with_superseded([member.delivery_id for member in pack])
        for number, part in ledger.superseded(before) if before else ():
            used[number].append(part)
        for member in pack:
            member.used = UsedNames(used[member.delivery_id])

    def _read(
        self, pack: Sequence[Member], streamings: Mapping[int, Streaming]
    ) -> tuple[dict[int, list[Event]], set[int]]:
        """The events of each delivery, by its id, in order; and the deliveries that are left to pipelines.

        Those have rows which are no events, or far more to read than is planned, as logs may have that are narrowed to a few: the
        others are read again without them.
        """
        odd: set[int] = set()
        left = list(pack)
        for _ in range(READINGS):
            if not left:
                break
            events, bad, more = self._read_once(left, streamings)
            if not more:
                return events, odd | bad
            odd |= bad | {member.delivery_id for member in left if member.is_exceeded_by(events[member.delivery_id])}
            left = [member for member in left if member.delivery_id not in odd]
        return {}, {member.delivery_id for member in pack}

    def _read_once(
        self, pack: Sequence[Member], streamings: Mapping[int, Streaming]
    ) -> tuple[dict[int, list[Event]], set[int], bool]:
        """Events by delivery, the deliveries with rows that are no events, and whether there is more than may be read."""
        lanes = [lane for member in pack for lane in member.lanes]
        of = {number: lane.delivery_id for lane in lanes for number in lane.workspace_ids}
        selections: dict[Selection, list[int]] = defaultdict(list)
        for number in sorted(of.keys() & streamings.keys()):
            selections[streamings[number].selection].append(number)
        planned = sum(lane.planned.total() for lane in lanes), sum(lane.planned_bytes for lane in lanes)
        events: dict[int, list[Event]] = {lane.delivery_id: [] for lane in lanes}
        odd: set[int] = set()
        more = True
        for page in self._deployment.store(self._snapshots[lanes[0].snapshot_id]).read(
            lanes[0].window, [Filter.of(selection, numbers) for selection, numbers in selections.items()], None,
            # what is narrowed to some log types is read more widely than it is planned
            max_events=4 * planned[0] + 1_000, max_bytes=2 * planned[1] + PACK_BYTES,
        ):  # fmt: skip
            for event in page.events:
                events[of[event[1]]].append(event)
            odd.update(of[event.workspace_id] for event, _ in page.bad)
            more = page.more
        return events, odd, more

    async def _announce(self, pack: Sequence[Member]) -> None:
        wanted = [
            (member, lane, Announcement.of(lane, parcel.parts))
            for member in pack
            for lane, parcels in member.ready()
            for parcel in parcels
            if parcel.parts
        ]
        numbers = await self._writer.announce_all([announcement for _, _, announcement in wanted])
        for (member, lane, _), number in zip(wanted, numbers, strict=True):
            if isinstance(number, LeaseLost):
                member.parcels.pop(lane.lane, None)
            else:
                member.announced.setdefault(lane.lane, []).append(number)

    async def _put(self, pack: Sequence[Member]) -> set[int]:
        """Put all parcels; return those that have arrived, by their `id`."""
        for member in pack:
            for lane, _ in member.ready():
                try:
                    await self._keeper.confirm(lane)
                except LeaseLost:
                    member.parcels.pop(lane.lane)
        puts, threads = _Puts(pack, self._keeper.holds), SharedThreads(PUT_THREADS)
        running = {asyncio.wrap_future(threads.submit(puts.work)) for _ in range(min(PUT_THREADS, len(pack)))}
        try:
            before = -1
            while running and before < len(puts.arrived):
                before = len(puts.arrived)
                _, running = await asyncio.wait(running, timeout=STALL_SECONDS)
        finally:
            puts.stop()
            for put in running:
                put.cancel()  # a thread that hangs is left behind
        return set(puts.arrived)


class _Puts:
    """Puts parcels, in as many threads as call `work`, until all are put or this is stopped.

    Those of one destination are put one after another: how many at once a plug-in bears is not known here.
    """

    def __init__(self, pack: Iterable[Member], holds: Callable[[Lane], bool]) -> None:
        self._waiting = deque(pack)
        self._holds = holds
        self._troubles: Counter[str] = Counter()
        self.arrived: list[int] = []

    def stop(self) -> None:
        """Begin no more puts."""
        self._waiting.clear()

    def work(self) -> None:
        """Put what waits. Blocks."""
        while True:
            try:
                member = self._waiting.popleft()
            except IndexError:
                return
            connection = str(getattr(member.destination.options, "connection", member.destination.name))
            for lane, parcels in member.ready():
                for parcel in parcels:
                    if self._troubles[connection] < TROUBLES and self._holds(lane):
                        self._put(connection, member.destination, parcel)

    def _put(self, connection: str, destination: ObjectDestination[Any], parcel: Parcel) -> None:
        began = clock.monotonic()
        outcome = destination.send_now(parcel)
        if isinstance(outcome, Delivered):
            self.arrived.append(id(parcel))
        if isinstance(outcome, Retry) or clock.monotonic() - began > SLOW_SECONDS * parcel.requests:
            self._troubles[connection] += 1


def _packs(waiting: Sequence[Member]) -> Iterator[list[Member]]:
    """Deliveries of one window and one snapshot of the settings, as many at a time as a pack may have."""
    groups: dict[object, list[Member]] = defaultdict(list)
    for member in waiting:
        groups[(member.lanes[0].window, member.lanes[0].snapshot_id)].append(member)
    for group in groups.values():
        pack: list[Member] = []
        size = 0
        for member in group:
            if pack and (len(pack) == PACK_DELIVERIES or size + member.size > PACK_BYTES):
                yield pack
                pack, size = [], 0
            pack.append(member)
            size += member.size
        yield pack
