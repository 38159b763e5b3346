"""Exporting a window: the engine that the DAG, backfills and the command line share.

plan -> deliver -> seal, each on its own, so that an operator can do each in a task of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from logstream.control.engine import open_control
from logstream.destinations import Destination, open_destination
from logstream.destinations.credentials import Connections, SharedConnections
from logstream.destinations.registry import make_destination
from logstream.errors import DeliveryError, InputError, LaneBusy, LogstreamError, WindowNotClosed
from logstream.export.limiter import AdaptiveLimit
from logstream.export.memory import MemoryBudget, keep_freed_memory, rare_garbage_collection
from logstream.export.pipeline import DeliveryPipeline
from logstream.export.planning import MAX_TASKS, Share, WindowPlan, divide, plan_window
from logstream.export.processes import Processes, worth_processes
from logstream.export.redeliver import Redeliverer, Redelivery
from logstream.export.seal import ManifestWriter, seal_deliveries
from logstream.export.send import LaneFailed, RetryPolicy
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.health import Change, HealingPolicy, Health, Outcome, Owed, Turn, to_be_tried
from logstream.ledger.ledger import Ledger
from logstream.ledger.locks import LaneLocks
from logstream.ledger.records import Lane, News, Pending, PendingLane, RejectedEvent, State
from logstream.proof.manifests import Manifest
from logstream.proof.signing import Signer
from logstream.settings.models import Settings
from logstream.settings.repository import SettingsRepository, Snapshot
from logstream.settings.resolution import Route, resolve, streamings_of
from logstream.store.closing import Watch, Writer
from logstream.store.postgres import PostgresStore
from logstream.verify.findings import Verification
from logstream.verify.verifier import Verifier
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
class Planned:
    """A plan that is in the ledger."""

    window: Window
    snapshot: Snapshot
    plan: WindowPlan
    deliveries: dict[str, int]
    shares: list[Share]
    owed: list[int] = field(default_factory=list)
    """Deliveries of earlier windows that are taken along."""

    @property
    def delivery_ids(self) -> list[int]:
        """All deliveries that are to be sealed in the end."""
        return sorted({*self.deliveries.values(), *self.owed})


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


Wait = Callable[[Callable[[LaneResult], None] | None], list[LaneResult]]
"""Waits for what was begun, calling back for each lane."""


@dataclass(slots=True)
class DeliveryReport:
    """What became of one window at one destination. `bytes` were sent, after compression."""

    destination: str
    state: State
    window: Window | None = None
    events: int = 0
    bytes: int = 0
    requests: int = 0
    rejected: int = 0
    error: str | None = None
    sizes: dict[int, int] = field(default_factory=dict)
    delivered: dict[int, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """The contract of `export --json`."""
        names = ("destination", "state", "events", "bytes", "requests", "rejected", "error")
        return {name: getattr(self, name) for name in names}


class Exporter:
    """Exports windows of one log store with the settings and ledger of one control database."""

    def __init__(
        self, store_dsn: str, control_dsn: str, connections: Connections, *, policy: RetryPolicy | None = None,
        signer: Callable[[], Signer | None] | None = None, healing: HealingPolicy | None = None,
    ) -> None:  # fmt: skip
        self.healing = healing or HealingPolicy.from_environment()
        self.changes: list[Change] = []
        self._make_signer = signer
        self._store_dsn, self.control_dsn = store_dsn, control_dsn
        self._connections = connections
        self.policy = policy or RetryPolicy()
        self.engine = open_control(control_dsn, pooled=True)
        self.settings = SettingsRepository(self.engine)
        self.ledger = Ledger(self.engine)
        self._stores: dict[int, PostgresStore] = {}

    @cached_property
    def signer(self) -> Signer | None:
        """The key that signs manifests, if there is one: looked for only when something is sealed."""
        return self._make_signer() if self._make_signer else None

    def __enter__(self) -> Exporter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back all connections."""
        for store in self._stores.values():
            store.close()
        self.engine.dispose()

    def store(self, snapshot: Snapshot) -> PostgresStore:
        """The log store as a snapshot's settings describe it."""
        if snapshot.id not in self._stores:
            self._stores[snapshot.id] = PostgresStore(self._store_dsn, snapshot.settings.log_store)
        return self._stores[snapshot.id]

    def wait_until_closed(
        self, window: Window, *, timeout: float, remind: Callable[[Sequence[Writer]], None] | None = None
    ) -> None:
        """Wait until no writer can add to the window.

        `remind` is called with the writers that are waited for, about once a minute. Raises `InputError` for a window that
        ends in the future, by the database's clock, and `WindowNotClosed` after `timeout` seconds.
        """
        closing, connection = self.store(self.settings.current()).closed_window(window)
        started = reminded = time.monotonic()
        with connection:
            while not closing.look():
                if not closing.past:
                    raise InputError(f"the window {window} ends in the future")
                now = time.monotonic()
                if now - started > timeout:
                    raise WindowNotClosed(f"still writing to the window {window}: {_names(closing.waiting)}")
                if remind and now - reminded > 60:
                    reminded = now
                    remind(closing.waiting)
                time.sleep(LOOK_SECONDS)

    def routes(self, snapshot: Snapshot | None = None) -> list[Route]:
        """The route of every workspace of the log store."""
        snapshot = snapshot or self.settings.current()
        return resolve(snapshot.settings, self.store(snapshot).workspaces())

    def plan(
        self, window: Window, *, snapshot: Snapshot | None = None, only: Collection[str] | None = None,
        max_tasks: int = MAX_TASKS, heal: bool = False,
    ) -> Planned:  # fmt: skip
        """Plan a window and write the plan to the ledger. `only` plans some destinations and leaves the others alone.

        With `heal`, some of what destinations are owed is planned along, oldest first, a destination that is suspended is
        only probed, by one lane of the oldest window that it has not got, and one that is held is left in peace.
        """
        snapshot = snapshot or self.settings.current()
        settings = snapshot.settings
        for name in only or ():
            if name not in settings.destinations:
                known = ", ".join(settings.destinations) or "none"
                raise InputError(f'no destination named "{name}"; the settings have {known}')
        plan = self._plan(window, settings)
        lanes = {name: found for name, found in plan.lanes.items() if only is None or name in only}
        pending = self.ledger.plan(window, snapshot.id, lanes)
        todo, owed = pending.lanes, list[int]()
        if heal:
            before, owed = self._plan_late(window)
            suspended = self.suspended()
            for item in to_be_tried(
                [item for item in self.ledger.owed() if item.window != window], suspended, self.healing.owed_per_run
            ):
                more = self._plan_owed(item, settings)
                owed += more.deliveries.values()
                before += more.lanes
            todo = probes_only(before + todo, suspended)
        return Planned(window, snapshot, plan, pending.deliveries, divide(todo, max_tasks), owed)

    def suspended(self) -> dict[str, Health]:
        """The destinations that are suspended."""
        return {name: health for name, health in self.ledger.health().items() if health.suspended}

    def _plan(self, window: Window, settings: Settings, only: str | None = None) -> WindowPlan:
        store = PostgresStore(self._store_dsn, settings.log_store)
        names = settings.destinations if only is None else [only]
        counts = {name: self._lane_count(name, settings) for name in names}
        try:
            return plan_window(
                settings,
                store.workspaces(),
                store.count(window, by_log_type=settings.filters_logs),
                {**dict.fromkeys(settings.destinations, 1), **counts},
            )
        finally:
            store.close()

    def _plan_late(self, window: Window) -> tuple[list[PendingLane], list[int]]:
        """Plan what was added to earlier windows after they were exported open, now that their writers have ended."""
        todo: list[PendingLane] = []
        ids: list[int] = []
        for late, seen in self.ledger.open_windows():
            if late == window:
                continue
            current = self.settings.current()
            closing, connection = self.store(current).closed_window(late, watch=Watch.of(seen))
            with connection:
                closed = closing.look()
            if not closed:
                self.ledger.note_open(late, closing.watch.as_json())
                continue
            self.ledger.note_closed(late)
            lanes = self.ledger.lanes_in(late)
            snapshot = self.settings.get(max(lane.snapshot_id for lane in lanes)) if lanes else current
            # a lane to which nothing was added is as it was planned, and stays delivered
            pending = self.ledger.plan(late, snapshot.id, self._plan(late, snapshot.settings).lanes)
            todo += pending.lanes
            ids += pending.deliveries.values()
        return todo, ids

    def _plan_owed(self, item: Owed, now: Settings) -> Pending:
        """Plan what is owed anew: by the routes of then, to the destination as it is now."""
        if item.destination not in now.destinations:
            return Pending({}, [])
        snapshot = self.settings.derive(self.settings.get(item.snapshot_id), item.destination, now)
        lanes = self._plan(item.window, snapshot.settings, item.destination).lanes.get(item.destination, ())
        return self.ledger.plan(item.window, snapshot.id, {item.destination: lanes})

    def plan_owed(
        self, destination: str | None = None, window: Window | None = None, max_tasks: int = MAX_TASKS
    ) -> tuple[list[int], list[Share]]:
        """Plan all that is owed, to one destination or to all that are not held, of one window or of all.

        Returns the deliveries, and who carries them.
        """
        now = self.settings.current().settings
        held = {name for name, health in self.suspended().items() if health.held}
        ids: list[int] = []
        todo: list[PendingLane] = []
        for item in self.ledger.owed(destination):
            if window is not None and item.window != window:
                continue
            if destination is None and item.destination in held:
                continue
            pending = self._plan_owed(item, now)
            ids += pending.deliveries.values()
            todo += pending.lanes
        return ids, divide(todo, max_tasks)

    def redeliver_owed(
        self, destination: str | None = None, window: Window | None = None,
        progress: Callable[[LaneResult], None] | None = None,
    ) -> list[DeliveryReport]:  # fmt: skip
        """Deliver what is owed now. A destination that takes it is back in service, whoever suspended it.

        Raises `InputError` for a destination that the settings do not have.
        """
        if destination is not None and destination not in self.settings.current().settings.destinations:
            raise InputError(f'no destination named "{destination}"')
        ids, shares = self.plan_owed(destination, window)
        results = self.deliver([key for share in shares for key in share.lanes], progress)
        failed = {result.lane.destination for result in results if result.error}
        for name in {result.lane.destination for result in results} - failed:
            self.ledger.resume(name)
        return self.seal(ids)

    def _lane_count(self, name: str, settings: Settings) -> int:
        return int(make_destination(name, settings.destinations[name], self._connections).options.lanes)

    def deliver(
        self, keys: Iterable[tuple[int, int]], progress: Callable[[LaneResult], None] | None = None
    ) -> list[LaneResult]:
        """Deliver lanes, several at once. A lane that fails is in the result, with why; it delays no other."""
        keep_freed_memory()
        with rare_garbage_collection():
            return asyncio.run(self._deliver(list(keys), progress))

    def deliver_shares(self, shares: Sequence[Share]) -> Wait:
        """Begin to deliver some shares, in a process each where that pays; call what is returned to wait for them.

        To be called before the caller has threads, which no new process would have.
        """
        if worth_processes(shares):
            return Processes(self._again, [share.lanes for share in shares]).results
        return partial(self.deliver, [key for share in shares for key in share.lanes])

    def _again(self) -> Exporter:
        """Another one of the same, for another process."""
        return Exporter(
            self._store_dsn, self.control_dsn, self._connections, policy=self.policy, signer=self._make_signer
        )

    async def _deliver(
        self, keys: list[tuple[int, int]], progress: Callable[[LaneResult], None] | None
    ) -> list[LaneResult]:
        lanes = await asyncio.to_thread(self.ledger.lanes, keys)
        if len(lanes) < len(keys):
            raise DeliveryError("the plan has changed since: another run has planned this window anew; plan again")
        snapshots = {lane.snapshot_id for lane in lanes}
        loaded = {snapshot_id: self.settings.get(snapshot_id) for snapshot_id in snapshots}
        locks = await asyncio.to_thread(LaneLocks, self.control_dsn)
        try:
            async with AsyncExitStack() as stack:
                task = _Task(self, loaded, Destinations(SharedConnections(self._connections), stack), locks, progress)
                return await task.run(lanes)
        finally:
            locks.close()

    def verify(self, span: Window) -> Verification:
        """Compare log store, ledger, manifests and the objects at the destinations, for every window in `span`."""
        connections = SharedConnections(self._connections)

        async def opened(name: str, snapshot: Snapshot, stack: AsyncExitStack) -> Destination[Any]:
            if name not in snapshot.settings.destinations:
                raise DeliveryError("the settings no longer have it")
            return await Destinations(connections, stack).get(name, snapshot.settings)

        key = self.signer.public_key if self.signer else None
        return Verifier(self.ledger, self.settings, self._store_dsn, opened, key).verify(span)

    def seal(self, deliveries: Iterable[int]) -> list[DeliveryReport]:
        """Compare what was planned with what was delivered, lane by lane; write the outcome, and manifests, to the ledger.

        At object stores manifests are put beside the data, too. A delivery whose manifest cannot be has an error; sealing it
        again tries again.
        """
        lanes: dict[int, list[Lane]] = {}
        for lane in self.ledger.lanes_of(deliveries):
            lanes.setdefault(lane.delivery_id, []).append(lane)
        reports = {delivery_id: _report(found[0].destination, found) for delivery_id, found in lanes.items()}
        self.ledger.seal({delivery_id: report.state for delivery_id, report in reports.items()})
        self._note_health(lanes, reports)
        self.ledger.seal({number: report.state for number, report in reports.items() if report.state is State.OWED})
        complete = [
            lane for lane_id, found in lanes.items() if reports[lane_id].state is State.DELIVERED for lane in found
        ]
        manifests = seal_deliveries(self.ledger, complete, self.signer if complete else None)
        if manifests:
            snapshots = {lanes[manifest.delivery_id][0].snapshot_id for manifest in manifests}
            loaded = {snapshot_id: self.settings.get(snapshot_id) for snapshot_id in snapshots}
            of = {manifest.destination: lanes[manifest.delivery_id][0].snapshot_id for manifest in manifests}
            for delivery_id, error in asyncio.run(self._write_manifests(manifests, loaded, of)).items():
                reports[delivery_id].state, reports[delivery_id].error = State.FAILED, error
        return sorted(reports.values(), key=lambda report: report.destination)

    def redeliver_rejected(self, destination: str | None = None) -> list[Redelivery]:
        """Send the dead letters again, of one destination or of all: rendered and addressed by the settings in force.

        What arrives is sealed anew.
        """
        rejected: dict[tuple[int, int], list[RejectedEvent]] = {}
        for row in self.ledger.rejected(destination=destination):
            rejected.setdefault((row.delivery_id, row.lane), []).append(row)
        results = asyncio.run(self._redeliver(rejected)) if rejected else []
        self.seal({delivery for result in results for delivery in result.deliveries})
        return results

    async def _redeliver(self, rejected: Mapping[tuple[int, int], list[RejectedEvent]]) -> list[Redelivery]:
        now = self.settings.current()
        results: dict[str, Redelivery] = {}
        writer, locks = LedgerWriter(self.ledger, self.control_dsn), LaneLocks(self.control_dsn)
        try:
            async with AsyncExitStack() as stack:
                destinations = Destinations(SharedConnections(self._connections), stack)
                for lane in self.ledger.lanes(rejected):
                    result = results.setdefault(lane.destination, Redelivery(lane.destination))
                    if lane.destination not in now.settings.destinations:
                        result.error = "the settings no longer have it"
                    elif lane.state is not State.DELIVERED or not locks.acquire([lane]):
                        result.error = f"window {lane.window} is not complete yet; deliver it first"
                    else:
                        try:
                            opened = await destinations.get(lane.destination, now.settings)
                            again = Redeliverer(self.ledger, writer, opened, self.store(now), now.settings, self.policy)
                            await again.run(lane, rejected[lane.key], result)
                        except InputError as error:
                            result.error = str(error)
                        finally:
                            locks.release([lane])
        finally:
            await writer.close()
            locks.close()
        return sorted(results.values(), key=lambda result: result.destination)

    def _note_health(self, lanes: Mapping[int, Sequence[Lane]], reports: Mapping[int, DeliveryReport]) -> None:
        """Suspend who has failed too often, welcome who is back; what a suspended one has not got is owed, not failed."""
        if not reports:
            return
        newest = max(found[0].window for found in lanes.values())
        before = self.ledger.health()
        outcomes: dict[str, Outcome] = {}
        reasons = {
            report.destination: next((lane.last_error for lane in lanes[number] if lane.last_error), None)
            or report.error
            for number, report in sorted(reports.items(), reverse=True)
        }
        for delivery_id, report in reports.items():
            window, health = lanes[delivery_id][0].window, before.get(report.destination, Health())
            since = health.suspended_at
            reached = since is not None and any(
                lane.state is State.DELIVERED and lane.finished_at is not None and lane.finished_at > since
                for lane in lanes[delivery_id]
            )
            known = outcomes.get(report.destination)
            if window == newest or reached:
                outcomes[report.destination] = Outcome(
                    newest,
                    failed=report.state is not State.DELIVERED,
                    reached=reached or (known is not None and known.reached),
                    error=reasons[report.destination],
                )
        self.changes += self.ledger.note(outcomes, self.healing.suspend_after)
        suspended = self.suspended()
        back = {change.destination for change in self.changes if change.turn is Turn.RECOVERED}
        for report in reports.values():
            if report.state is State.FAILED and report.destination in suspended.keys() | back:
                report.state = State.OWED
                since = (suspended.get(report.destination) or before.get(report.destination, Health())).suspended_at
                when = f" since {since:%Y-%m-%d %H:%M} UTC" if since else ""
                report.error = f"owed: the destination was suspended{when}; {report.error}"

    async def _write_manifests(
        self, manifests: Sequence[Manifest], snapshots: dict[int, Snapshot], of: dict[str, int]
    ) -> dict[int, str]:
        async with AsyncExitStack() as stack:
            destinations = Destinations(SharedConnections(self._connections), stack)
            writer = ManifestWriter(self.ledger, self.policy)
            return await writer.write(manifests, lambda name: destinations.get(name, snapshots[of[name]].settings))


class _Task:
    """Delivers the lanes that one call of `deliver` was given: many destinations at once, each in a pipeline of its own."""

    def __init__(
        self, exporter: Exporter, snapshots: dict[int, Snapshot], destinations: Destinations, locks: LaneLocks,
        progress: Callable[[LaneResult], None] | None,
    ) -> None:  # fmt: skip
        self._exporter, self._snapshots, self._destinations = exporter, snapshots, destinations
        self._locks, self._progress = locks, progress
        self._writer = LedgerWriter(exporter.ledger, exporter.control_dsn)
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
        ours = await asyncio.to_thread(self._exporter.ledger.begin, ours, time.time_ns())
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
        exporter, name = self._exporter, lanes[0].destination
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
            exporter.store(snapshot),
            self._writer,
            destination,
            streamings_of(snapshot.settings, workspaces),
            exporter.policy,
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
                begun = await asyncio.to_thread(self._exporter.ledger.begin, [lane], time.time_ns())
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


class Destinations:
    """Opens each destination once, when it is first needed; one that cannot be opened says so each time."""

    def __init__(self, connections: Connections, stack: AsyncExitStack) -> None:
        self._connections, self._stack = connections, stack
        self._opening: dict[str, asyncio.Task[Destination[Any]]] = {}

    async def get(self, name: str, settings: Settings) -> Destination[Any]:
        """A destination as these settings have it."""
        key = f"{name} {settings.destinations[name].model_dump_json()}"
        if key not in self._opening:
            self._opening[key] = asyncio.create_task(self._open(name, settings))
        return await self._opening[key]

    async def _open(self, name: str, settings: Settings) -> Destination[Any]:
        destination = await open_destination(name, settings.destinations[name], self._connections)
        self._stack.push_async_callback(destination.close)
        return destination


def _report(name: str, lanes: Sequence[Lane]) -> DeliveryReport:
    report = DeliveryReport(name, State.DELIVERED, lanes[0].window)
    for lane in lanes:
        report.events += lane.delivered.total()
        report.rejected += lane.rejected.total()
        report.bytes += lane.bytes
        report.requests += lane.requests
        for workspace, size in lane.sizes.items():
            report.sizes[workspace] = report.sizes.get(workspace, 0) + size
        for (workspace, _), events in lane.delivered.items():
            report.delivered[workspace] = report.delivered.get(workspace, 0) + events
        if lane.state is not State.DELIVERED:
            report.state = State.FAILED
            report.error = report.error or lane.last_error or f"lane {lane.lane} was not delivered"
        elif missing := lane.missing():
            report.state = State.FAILED
            (workspace, kind), events = next(iter(missing.items()))
            what = "are missing" if events > 0 else "are too many"
            report.error = report.error or (
                f"{abs(events)} events of kind {kind} of workspace {workspace} {what}: the log store no longer holds what "
                "it held when the window was planned"
            )
    return report


def probes_only(todo: list[PendingLane], suspended: Mapping[str, Health]) -> list[PendingLane]:
    """Of lanes in order of their windows: all, but of a suspended destination the first, and none of one that is held."""
    probed: set[str] = set()
    left = []
    for lane in todo:
        if lane[1] in suspended:
            if lane[1] in probed or suspended[lane[1]].held:
                continue
            probed.add(lane[1])
        left.append(lane)
    return left


def empty_reports(planned: Planned) -> list[DeliveryReport]:
    """Reports for destinations that routes lead to and that have no events in the window."""
    names = {plan.route.destination for plan in planned.plan.workspaces if plan.route.destination}
    return [DeliveryReport(name, State.DELIVERED) for name in sorted(names - planned.deliveries.keys())]


def _names(writers: Sequence[Writer]) -> str:
    return "; ".join(map(str, writers[:3])) + (f" and {len(writers) - 3} more" if len(writers) > 3 else "")
