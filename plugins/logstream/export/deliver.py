"""`deliver`: the lanes of one task, many destinations at once."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache, partial

from logstream import clock
from logstream.errors import LaneBusy, LogstreamError, is_blameless, is_permanent, ours
from logstream.export import together
from logstream.export.deployment import Deployment
from logstream.export.limiter import AdaptiveLimit
from logstream.export.memory import MemoryBudget, keep_freed_memory
from logstream.export.opening import Destinations, give_up_slow_hooks
from logstream.export.pipeline import DeliveryPipeline
from logstream.export.refusals import LaneFailed
from logstream.export.retrying import RetryNews
from logstream.export.used_names import used_names
from logstream.garbage import rare_garbage_collection
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.leases import LeaseKeeper
from logstream.ledger.records import NOT_TRIED, Lane, News, State
from logstream.settings.repository import Snapshot
from logstream.settings.resolution import streamings_of
from logstream.threads import LeftBehindThreads
from logstream.tracebacks import traceback_of
from logstream.units import counted
from logstream.window import Window

log = logging.getLogger("logstream")

MEMORY_BYTES = 128 * 1024 * 1024
"""What the chunks of all pipelines of one task may hold: many small ones at once, or a few large ones."""

LANE_WAIT_SECONDS = 600.0
"""How long to wait for another run that is delivering the same lane."""

LOOK_SECONDS = 0.5
"""How often to look whether a lane of another run is free."""

STALL_SECONDS = 5.0
"""A delivery that has got nowhere for so long gives way to one that has not had its turn."""

LEDGER_THREADS = 4

READERS = 2
"""Threads, and connections to the log store, of one task: they take turns at the interpreter, and while one waits for the
database another packages."""


@dataclass(frozen=True, slots=True)
class LaneResult:
    """What became of one lane in this run."""

    lane: Lane
    seconds: float
    error: str | None = None
    permanent: bool = False
    remarks: str | None = None
    after: float | None = None
    """Seconds that the receiver asked to wait before it is tried again."""


Progress = Callable[[LaneResult], None]


def deliver(
    deployment: Deployment, keys: Iterable[tuple[int, int]], progress: Progress | None = None
) -> list[LaneResult]:
    """Deliver lanes, several at once. A lane that fails is in the result, with why; it delays no other."""
    keep_freed_memory()
    with rare_garbage_collection():
        return asyncio.run(_deliver(deployment, list(keys), progress))


async def _deliver(deployment: Deployment, keys: list[tuple[int, int]], progress: Progress | None) -> list[LaneResult]:
    give_up_slow_hooks()
    threads = LeftBehindThreads(LEDGER_THREADS, "logstream ledger")
    keeper = LeaseKeeper(deployment.ledger, owner_name(), threads)
    writer = LedgerWriter(deployment.ledger, deployment.control_dsn, threads)
    try:
        async with AsyncExitStack() as stack:
            destinations = Destinations(deployment.new_connections(), stack)
            return await DeliveryTask(deployment, destinations, keeper, writer, progress).run(keys)
    finally:
        await keeper.close()
        await writer.close()
        threads.shutdown()


def owner_name() -> str:
    """A name for the leases of one task that no other has, and that tells a person where it runs."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class DeliveryTask:
    """Delivers the lanes that one call of `deliver` was given: many destinations at once, each in a pipeline of its own."""

    def __init__(
        self, deployment: Deployment, destinations: Destinations, keeper: LeaseKeeper, writer: LedgerWriter,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self._deployment, self._destinations = deployment, destinations
        self._keeper, self._writer, self._progress = keeper, writer, progress
        self._limits: dict[str, AdaptiveLimit] = {}
        self._news = RetryNews()
        self._memory = MemoryBudget(MEMORY_BYTES)
        self._threads = LeftBehindThreads(READERS, "logstream reading")
        self._snapshots: dict[int, Snapshot] = {}
        self._results: list[LaneResult] = []
        self._refused: set[tuple[int, int]] = set()
        """Lanes whose receiver refuses what they bring, and answers: the windows after theirs are tried."""

    async def run(self, keys: Sequence[tuple[int, int]]) -> list[LaneResult]:
        """Deliver. Lanes that another run is delivering are waited for, and taken up when they are free."""
        ours, others = await self._take(keys)
        try:
            await asyncio.gather(self._by_destination(ours), self._later(others))
        finally:
            self._threads.shutdown()
        return self._results

    async def _take(self, keys: Sequence[tuple[int, int]]) -> tuple[list[Lane], list[Lane]]:
        """Take the lanes that are still to be delivered; return those that are ours now, and those that are another run's."""
        found = await asyncio.to_thread(self._deployment.ledger.lanes, keys)
        if len(found) < len(keys):
            # another run answers for what it has planned anew; sealing tells what became of it
            log.warning(
                "Another run has planned %s anew meanwhile, and they are left to it.",
                counted(len(keys) - len(found), "lane"),
            )
        for lane in found:
            if lane.state is State.DELIVERED:
                self._say(LaneResult(lane, 0.0))
        todo = [lane for lane in found if lane.state is not State.DELIVERED]
        taken = await self._keeper.take([lane.key for lane in todo])
        try:
            for snapshot_id in {lane.snapshot_id for lane in taken} - self._snapshots.keys():
                self._snapshots[snapshot_id] = await asyncio.to_thread(self._deployment.settings.get, snapshot_id)
        except BaseException:
            # who tries again would find them leased, by itself, which renews what it has: and wait for another run
            await self._keeper.release(taken)
            raise
        ours = {lane.key for lane in taken}
        return taken, [lane for lane in todo if lane.key not in ours]

    async def _by_destination(self, lanes: Iterable[Lane]) -> None:
        groups: dict[str, dict[Window, list[Lane]]] = defaultdict(lambda: defaultdict(list))
        for lane in lanes:
            groups[lane.destination][lane.window].append(lane)
        in_order = ([windows[window] for window in sorted(windows)] for windows in groups.values())
        small, others = together.divide(in_order)
        await asyncio.gather(self._together(small), *(self._in_order(windows) for windows in others))

    async def _together(self, deliveries: Sequence[Sequence[Lane]]) -> None:
        """Deliver what is small with what it has in common done once; what is met with any trouble has a pipeline of its own."""
        if not deliveries:
            return
        started, alone = clock.monotonic(), list[asyncio.Task[None]]()

        def ended(lane: Lane, remarks: str | None) -> None:
            self._say(LaneResult(lane, clock.monotonic() - started, remarks=remarks))

        def left(lanes: list[Lane]) -> None:
            alone.append(asyncio.create_task(self._in_order([lanes])))

        joint = together.DeliveriesTogether(
            self._deployment, self._destinations, self._keeper, self._writer, self._memory, self._threads,
            self._snapshots, ended=ended, left=left,
        )  # fmt: skip
        try:
            await joint.deliver(deliveries)
            await asyncio.gather(*alone)
        finally:
            for task in alone:
                task.cancel()

    async def _in_order(self, windows: Sequence[Sequence[Lane]]) -> None:
        """Deliver the windows of one destination, the oldest first. Where one fails, the later ones wait for another run."""
        for index, lanes in enumerate(windows):
            if await self._window(lanes):
                continue
            later = [lane for window in windows[index + 1 :] for lane in window]
            await self._keeper.release(later)
            # trying those again in this run helps as little, or as much, as trying again what they wait for
            permanent = all(result.permanent for result in self._results if result.error and result.lane in lanes)
            for lane in later:
                self._say(LaneResult(lane, 0.0, NOT_TRIED, permanent=permanent))
            return

    async def _window(self, lanes: Sequence[Lane]) -> bool:
        """Deliver the lanes of one delivery, and give them back. Returns whether later windows may follow.

        Whatever goes wrong with it, foreseen or not, is this delivery's alone.
        """
        started, todo, first_turn = clock.monotonic(), list(lanes), True
        try:
            while todo:
                size = sum(lane.planned_bytes for lane in todo)
                async with self._memory.share(size, first_turn=first_turn):
                    with self._writer.delivery():
                        todo = await self._turn(todo, started)
                first_turn = False
        except Exception as error:
            if not isinstance(error, LogstreamError):
                log.error("Delivering to %s broke.\n%s", lanes[0].destination, traceback_of(error))  # noqa: TRY400 - masked
            await self._fail(todo, started, error)
        finally:
            await self._keeper.release(lanes)
        return all(lane.state is State.DELIVERED or lane.key in self._refused for lane in lanes)

    async def _turn(self, lanes: list[Lane], started: float) -> list[Lane]:
        """Deliver until all lanes have ended, or until this gets nowhere while others wait; return what is left to do."""
        deployment, name = self._deployment, lanes[0].destination
        snapshot = self._snapshots[lanes[0].snapshot_id]
        destination = await self._destinations.get(name, snapshot.settings)
        limit = self._limits.setdefault(name, AdaptiveLimit(destination.limits.concurrency))
        workspaces = [workspace for lane in lanes for workspace in lane.workspace_ids]
        with ours():
            store = deployment.store(snapshot)
            used = await asyncio.to_thread(used_names, deployment.ledger, destination, lanes)
        pipeline = DeliveryPipeline(
            lanes, store, self._writer, destination,
            streamings_of(snapshot.settings, workspaces), deployment.policy, limit, self._keeper, self._threads,
            cache(partial(deployment.ledger.workspaces_of, lanes, store.workspaces)), used, self._news,
        )  # fmt: skip
        left = [] if await self._run_while_it_moves(pipeline) else await pipeline.leave()
        waiting = {lane.lane for lane in left}
        for lane in lanes:
            if lane.lane not in waiting:
                self._say_ended(lane, pipeline, started)
        return left

    async def _run_while_it_moves(self, pipeline: DeliveryPipeline) -> bool:
        """Run a pipeline. Returns false if it was cut short, because it got nowhere and others wait for the memory it holds."""
        running = asyncio.create_task(pipeline.run())
        moved, progress = clock.monotonic(), pipeline.progress
        try:
            while not running.done():
                await asyncio.wait({running}, timeout=LOOK_SECONDS)
                if pipeline.progress != progress:
                    moved, progress = clock.monotonic(), pipeline.progress
                elif self._memory.is_wanted and clock.monotonic() - moved > STALL_SECONDS and not running.done():
                    return False
            running.result()
            return True
        finally:
            if not running.done():
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    def _say_ended(self, lane: Lane, pipeline: DeliveryPipeline, started: float) -> None:
        stopped = pipeline.errors[lane.lane]
        failed = stopped if isinstance(stopped, LaneFailed) else None
        if failed is not None and failed.refused:
            self._refused.add(lane.key)
        self._say(
            LaneResult(
                lane,
                clock.monotonic() - started,
                str(stopped) if stopped else None,
                permanent=failed is not None and failed.permanent,
                remarks=None if stopped else pipeline.remarks,
                after=failed.after if failed else None,
            )
        )

    async def _fail(self, lanes: Iterable[Lane], started: float, error: Exception) -> None:
        """Write down that lanes could not even be begun, or what broke them."""
        foreseen = isinstance(error, LogstreamError)
        reason = str(error) if foreseen else f"delivering broke ({type(error).__name__}); see the log of the task"
        permanent = is_permanent(error)
        for lane in lanes:
            try:
                await self._writer.fail(lane, News(), reason, permanent=permanent, blameless=is_blameless(error))
                self._keeper.forget(lane)
            except Exception as unwritten:  # the ledger is away, or a fault of ours: the others go on all the same
                log.warning(
                    "%s, lane %s: it cannot be written why it failed: %s", lane.destination, lane.lane, unwritten
                )
            self._say(LaneResult(lane, clock.monotonic() - started, reason, permanent=permanent))

    async def _later(self, others: list[Lane]) -> None:
        """Wait for the runs that deliver some lanes, then see what is left to do."""
        started, running = clock.monotonic(), list[asyncio.Task[None]]()
        for lane in others:
            log.info("Lane %s of %s is being delivered by another run; waiting for it.", lane.lane, lane.destination)
        while others and clock.monotonic() - started < LANE_WAIT_SECONDS:
            await clock.sleep(LOOK_SECONDS)
            try:
                ours, others = await self._take([lane.key for lane in others])
            except LogstreamError as error:
                log.warning("Cannot look whether lanes are free, trying again: %s", error)
                continue
            if ours:
                running.append(asyncio.create_task(self._by_destination(ours)))
        for lane in others:
            busy = LaneBusy(f"another run has been delivering lane {lane.lane} of {lane.destination} for too long")
            self._say(LaneResult(lane, clock.monotonic() - started, str(busy)))
        await asyncio.gather(*running)

    def _say(self, result: LaneResult) -> None:
        self._results.append(result)
        if self._progress:
            self._progress(result)
