"""`deliver`: the lanes of one task, many destinations at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass

from logstream.destinations.credentials import SharedConnections
from logstream.errors import DeliveryError, InputError, LaneBusy, LogstreamError
from logstream.export.deployment import Deployment
from logstream.export.limiter import AdaptiveLimit
from logstream.export.memory import MemoryBudget, keep_freed_memory, rare_garbage_collection
from logstream.export.opening import Destinations
from logstream.export.pipeline import DeliveryPipeline
from logstream.export.send import LaneFailed
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.locks import LaneLocks
from logstream.ledger.records import Lane, News, State
from logstream.settings.repository import Snapshot
from logstream.settings.resolution import streamings_of
from logstream.window import Window

log = logging.getLogger("logstream")

MEMORY_BYTES = 128 * 1024 * 1024
"""What the chunks of all pipelines of one task may hold: many small ones at once, or a few large ones."""

LANE_WAIT_SECONDS = 600.0
"""How long to wait for another run that is delivering the same lane."""

LOOK_SECONDS = 0.25

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
    lanes = await asyncio.to_thread(deployment.ledger.lanes, keys)
    if len(lanes) < len(keys):
        raise DeliveryError("the plan has changed since: another run has planned this window anew; plan again")
    snapshots = {lane.snapshot_id for lane in lanes}
    loaded = {snapshot_id: deployment.settings.get(snapshot_id) for snapshot_id in snapshots}
    locks = await asyncio.to_thread(LaneLocks, deployment.control_dsn)
    try:
        async with AsyncExitStack() as stack:
            destinations = Destinations(SharedConnections(deployment.connections), stack)
            return await DeliveryTask(deployment, loaded, destinations, locks, progress).run(lanes)
    finally:
        locks.close()


class DeliveryTask:
    """Delivers the lanes that one call of `deliver` was given: many destinations at once, each in a pipeline of its own."""

    def __init__(
        self, deployment: Deployment, snapshots: dict[int, Snapshot], destinations: Destinations, locks: LaneLocks,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self._deployment, self._snapshots, self._destinations = deployment, snapshots, destinations
        self._locks, self._progress = locks, progress
        self._writer = LedgerWriter(deployment.ledger, deployment.control_dsn)
        self._limits: dict[str, AdaptiveLimit] = {}
        self._memory = MemoryBudget(MEMORY_BYTES)
        self._threads = ThreadPoolExecutor(READERS, "logstream reading")
        self._results: list[LaneResult] = []

    async def run(self, lanes: list[Lane]) -> list[LaneResult]:
        """Deliver. Lanes that another run is delivering are waited for, and taken up one by one."""
        try:
            with self._threads:
                return await self._run(lanes)
        finally:
            await self._writer.close()

    async def _run(self, lanes: list[Lane]) -> list[LaneResult]:
        ours = await asyncio.to_thread(self._locks.acquire, lanes)
        taken = {lane.key for lane in ours}
        ours = await asyncio.to_thread(self._deployment.ledger.begin, ours, time.time_ns())
        groups: dict[str, dict[Window, list[Lane]]] = {}
        for lane in ours:
            groups.setdefault(lane.destination, {}).setdefault(lane.window, []).append(lane)
        await asyncio.gather(
            *(self._in_order([group[window] for window in sorted(group)]) for group in groups.values()),
            *(self._later(lane) for lane in lanes if lane.key not in taken),
        )
        return self._results

    async def _in_order(self, windows: list[list[Lane]]) -> None:
        """Deliver the windows of one destination, the oldest first. Where one fails, the later ones wait for another run."""
        for index, lanes in enumerate(windows):
            if await self._group(lanes):
                continue
            for later in windows[index + 1 :]:
                await asyncio.to_thread(self._locks.release, later)
                for lane in later:
                    self._say(LaneResult(lane, 0.0, "not tried: an earlier window of this destination failed"))
            return

    async def _group(self, lanes: list[Lane]) -> bool:
        """Deliver the lanes of one delivery, and give their locks back. Returns whether all of them arrived."""
        started = time.monotonic()
        try:
            todo = [lane for lane in lanes if lane.state is not State.DELIVERED]
            for lane in lanes:
                if lane.state is State.DELIVERED:
                    self._say(LaneResult(lane, 0.0))
            if todo:
                async with self._memory.share(sum(lane.planned_bytes for lane in todo)):
                    started = time.monotonic()
                    await self._deliver(todo, started)
        except LogstreamError as error:
            for lane in lanes:
                self._say(LaneResult(lane, time.monotonic() - started, str(error)))
            return False
        finally:
            await asyncio.to_thread(self._locks.release, lanes)
        return all(lane.state is State.DELIVERED for lane in lanes)

    async def _deliver(self, lanes: list[Lane], started: float) -> None:
        deployment, name = self._deployment, lanes[0].destination
        snapshot = self._snapshots[lanes[0].snapshot_id]
        try:
            destination = await self._destinations.get(name, snapshot.settings)
        except InputError as error:
            for lane in lanes:
                await self._writer.fail(lane, News(), str(error), permanent=True)
                self._say(LaneResult(lane, time.monotonic() - started, str(error), permanent=True))
            return
        limit = self._limits.setdefault(name, AdaptiveLimit(destination.limits.concurrency))
        workspaces = [workspace for lane in lanes for workspace in lane.workspace_ids]
        pipeline = DeliveryPipeline(
            lanes,
            deployment.store(snapshot),
            self._writer,
            destination,
            streamings_of(snapshot.settings, workspaces),
            deployment.policy,
            limit,
            self._threads,
        )
        errors = await pipeline.run()
        for lane in lanes:
            stopped = errors[lane.lane]
            permanent = isinstance(stopped, LaneFailed) and stopped.permanent
            remarks = None if stopped else pipeline.remarks
            seconds, why = time.monotonic() - started, str(stopped) if stopped else None
            after = stopped.after if isinstance(stopped, LaneFailed) else None
            self._say(LaneResult(lane, seconds, why, permanent=permanent, remarks=remarks, after=after))

    async def _later(self, lane: Lane) -> None:
        """Wait for whoever delivers a lane, then see what is left to do."""
        started = time.monotonic()
        log.info("Lane %s of %s is being delivered by another run; waiting for it.", lane.lane, lane.destination)
        try:
            while not await asyncio.to_thread(self._locks.acquire, [lane]):
                if time.monotonic() - started > LANE_WAIT_SECONDS:
                    raise LaneBusy(
                        f"another run has been delivering lane {lane.lane} of {lane.destination} for too long"
                    )
                await asyncio.sleep(LOOK_SECONDS)
            try:
                begun = await asyncio.to_thread(self._deployment.ledger.begin, [lane], time.time_ns())
            except LogstreamError:
                await asyncio.to_thread(self._locks.release, [lane])
                raise
        except LogstreamError as error:
            self._say(LaneResult(lane, time.monotonic() - started, str(error)))
            return
        await self._group(begun)

    def _say(self, result: LaneResult) -> None:
        self._results.append(result)
        if self._progress:
            self._progress(result)
