"""Many deliveries at once: thousands of customers, each with a destination of its own.

In a pipeline of its own each is a reading of the window, three writes to the ledger at least and dozens of turns of the event
loop and of threads, often for one object. Here one pass over the window reads the events of hundreds of them, which package
their own as they come; a statement announces their objects, some threads put them, and one more statement writes that they are
delivered.

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
from threading import get_ident
from typing import Any

from logstream import clock
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.outcome import Delivered, Retry
from logstream.destinations.parcel import Parcel, Part, UsedNames
from logstream.errors import LeaseLost
from logstream.export.deployment import Deployment
from logstream.export.members import MOST_BYTES, Likely, Member, NamesWanted, Packaging, delivered, parts_of
from logstream.export.memory import MemoryBudget
from logstream.export.one_pass import OnePass, note_broken
from logstream.export.opening import Destinations
from logstream.export.pipeline import READ_SECONDS
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.lane_writes import Announcement
from logstream.ledger.leases import LeaseKeeper
from logstream.ledger.records import Lane, News
from logstream.settings.models import Streaming
from logstream.settings.repository import Snapshot
from logstream.settings.resolution import Workspace, streamings_of
from logstream.threads import SharedThreads, in_time, is_from_outside
from logstream.tracebacks import traceback_of
from logstream.units import counted

log = logging.getLogger("logstream")

FEWEST = 8
"""So many deliveries at least are made together: fewer are quick as it is."""

PACK_DELIVERIES = 512
PACK_BYTES = 48 * 1024 * 1024
"""How much of a pack is expected to be held at once, packaged, until it is put."""

PACKS = 2
"""While one pack waits for its receivers, another is read and packaged."""

GATHER_SECONDS = 0.02
"""How long to wait for others of a pack once one destination is open."""

PUT_THREADS = 32
STALL_SECONDS = 5.0
"""What of a pack is not there when no put has ended for so long, and all that are being put are slow, is left to pipelines: no
receiver holds up others."""

STALLS = 6
"""It is left after so many times that in any case."""

SLOW_SECONDS = 1.0
SLOW_BYTES = 128 * 1024
"""A put is slow that takes so long for each of its objects, and as long again for each time that it has so many bytes."""

TROUBLES = 3
"""Parcels of one connection that were slow, or are to be tried again; what is left of it then has pipelines, which know how to
wait."""


def divide(groups: Iterable[Sequence[Sequence[Lane]]]) -> tuple[list[Sequence[Lane]], list[Sequence[Sequence[Lane]]]]:
    """The deliveries that may be made together among those of some destinations, each given as the lanes of its windows; and all
    others.

    A destination that has several windows gets them in their order, one after another.
    """
    some: list[Sequence[Lane]] = []
    others: list[Sequence[Sequence[Lane]]] = []
    for windows in groups:
        if len(windows) == 1 and _is_new(windows[0]) and sum(lane.planned_bytes for lane in windows[0]) <= MOST_BYTES:
            some.append(windows[0])
        else:
            others.append(windows)
    if len(some) < FEWEST:
        return [], [*others, *([lanes] for lanes in some)]
    return some, others


def _is_new(lanes: Sequence[Lane]) -> bool:
    return all(lane.planned and lane.position is None and lane.counted is None and not lane.part for lane in lanes)


class DeliveriesTogether:
    """Makes deliveries of one task together. `threads` read and package.

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
        self._likely = Likely()

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
                for pack in _packs(waiting, lambda: self._likely):
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
                joining = Member(lanes, destination)
                member = joining if joining.fits(self._likely) else None
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
            held = sum(member.expected(self._likely) for member in pack)
            async with self._memory.share(sum(member.size for member in pack), held=held) as no_more_chunks:
                await self._package(pack)
                no_more_chunks()
                await self._deliver_together(pack, done)
        except Exception as error:  # of one of them, or of all: that is seen when each is alone
            log.debug("%s have a pipeline each\n%s", counted(len(pack), "delivery", "deliveries"), traceback_of(error))
        finally:
            self._room.release()
        for member in pack:
            member.parcels.clear()  # packs that wait are cut from one list, which has these as well
            if lanes := [lane for lane in member.lanes if lane.key not in done]:
                self._left(lanes)

    async def _deliver_together(self, pack: Sequence[Member], done: set[tuple[int, int]]) -> None:
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

    async def _package(self, pack: Sequence[Member]) -> None:
        """Read the events of a pack, chunk after chunk, and make each lane's parcels."""
        reading = await in_time(self._threads, READ_SECONDS, self._begun, pack)
        while reading.more:
            await in_time(self._threads, READ_SECONDS, reading.read)
        await in_time(self._threads, READ_SECONDS, reading.finish)
        self._likely = self._likely.or_more(reading.likely)

    def _begun(self, pack: Sequence[Member]) -> OnePass:
        lanes = [lane for member in pack for lane in member.lanes]
        snapshot = self._snapshots[lanes[0].snapshot_id]
        store = self._deployment.store(snapshot)
        streamings = streamings_of(snapshot.settings, [number for lane in lanes for number in lane.workspace_ids])
        self._look_for_used_names(pack)
        packaging, named = _packaging(pack, streamings, None)
        if named:
            lanes = [lane for member in named for lane in member.lanes]
            workspaces = self._deployment.ledger.workspaces_of(lanes, store.workspaces)
            packaging += _packaging(named, streamings, workspaces)[0]
        return OnePass(store, packaging, streamings, self._likely)

    def _look_for_used_names(self, pack: Sequence[Member]) -> None:
        ledger, used = self._deployment.ledger, defaultdict[int, list[Part]](list)
        before = ledger.with_superseded([member.delivery_id for member in pack])
        for number, part in ledger.superseded(before) if before else ():
            used[number].append(part)
        for member in pack:
            member.used = UsedNames(used[member.delivery_id])

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
            before, stalls = 0, 0
            while running and (not stalls or (stalls < STALLS and puts.may_end)):
                _, running = await asyncio.wait(running, timeout=STALL_SECONDS)
                stalls = stalls + 1 if before == len(puts.arrived) else 0
                before = len(puts.arrived)
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
        self._slow_from: dict[int, float] = {}
        """Thread to when what it puts is slow."""
        self._holds = holds
        self._troubles: Counter[str] = Counter()
        self.arrived: list[int] = []

    def stop(self) -> None:
        """Begin no more puts."""
        self._waiting.clear()

    @property
    def may_end(self) -> bool:
        """Whether anything is being put that is not slow yet."""
        return max(self._slow_from.copy().values(), default=0.0) > clock.monotonic()

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
        slow = self._slow_from[get_ident()] = clock.monotonic() + _slow_seconds(parcel)
        outcome = destination.send_now(parcel)
        del self._slow_from[get_ident()]
        if isinstance(outcome, Delivered):
            self.arrived.append(id(parcel))
        if isinstance(outcome, Retry) or clock.monotonic() > slow:
            self._troubles[connection] += 1


def _slow_seconds(parcel: Parcel) -> float:
    """From how many seconds on the put of a parcel is slow."""
    return SLOW_SECONDS * (parcel.requests + parcel.size / SLOW_BYTES)


def _packaging(
    pack: Sequence[Member], streamings: Mapping[int, Streaming], workspaces: Sequence[Workspace] | None
) -> tuple[list[Packaging], list[Member]]:
    """The packaging of each of some deliveries, and those of which names of workspaces are wanted that are not given."""
    packaging, named = list[Packaging](), list[Member]()
    for member in pack:
        try:
            packaging.append(Packaging(member, streamings, workspaces))
        except NamesWanted:
            named.append(member)
        except Exception as error:
            note_broken(member, error)
    return packaging, named


def _packs(waiting: Sequence[Member], likely: Callable[[], Likely]) -> Iterator[list[Member]]:
    """Deliveries of one window and one snapshot of the settings, as many at a time as a pack may have."""
    groups: dict[object, list[Member]] = defaultdict(list)
    for member in waiting:
        groups[(member.lanes[0].window, member.lanes[0].snapshot_id)].append(member)
    for group in groups.values():
        pack: list[Member] = []
        size = 0
        for member in group:
            expected = member.expected(likely())
            if pack and (len(pack) == PACK_DELIVERIES or size + expected > PACK_BYTES):
                yield pack
                pack, size = [], 0
            pack.append(member)
            size += expected
        yield pack
