"""Sending rejected events again, on demand, after a person has mended what they were rejected for."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from logstream import clock
from logstream.destinations.base import Destination, Options
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.parcel import EventRef, LaneRef, Parcel, Tally, sizes_of, tally_of
from logstream.destinations.registry import make_destination
from logstream.errors import InputError
from logstream.events import Event
from logstream.export.contents import contents_of, masks_of
from logstream.export.deliver import LEDGER_THREADS, Progress, deliver, owner_name
from logstream.export.deployment import Deployment
from logstream.export.opening import Destinations, give_up_slow_hooks
from logstream.export.plan import Planner
from logstream.export.refusals import LaneFailed
from logstream.export.removed import with_removals
from logstream.export.retrying import RetryNews
from logstream.export.seal import Sealing, seal
from logstream.export.select import Chunk, EventRenderer
from logstream.export.send import RetryPolicy, send
from logstream.export.stock import keeps_objects, reason_of
from logstream.export.used_names import used_among
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.leases import LeaseKeeper
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import Delivery, Lane, News, RejectedEvent, Rejection, State
from logstream.settings.models import Settings
from logstream.settings.resolution import streamings_of
from logstream.store.postgres import PostgresStore
from logstream.store.rows import is_nameless
from logstream.threads import LeftBehindThreads
from logstream.window import Window


@dataclass(slots=True)
class Redelivery:
    """What became of the rejected events of a destination."""

    destination: str
    delivered: int = 0
    rejected_again: int = 0
    gone: int = 0
    """Events that the log store no longer holds."""
    error: str | None = None
    deliveries: set[int] = field(default_factory=set)


def redeliver_owed(
    deployment: Deployment,
    destination: str | None = None,
    window: Window | None = None,
    progress: Progress | None = None,
    carrier: str | None = None,
) -> Sealing:
    """Deliver what is owed now. A destination that takes it is back in service, also one that a person suspended.

    What is owed to destinations that the settings no longer have is among the deliveries that are returned, with the reason.
    Raises `InputError` for a destination that neither the settings nor the ledger have.
    """
    configured = deployment.settings.current().settings.destinations
    if destination is not None and destination not in configured.keys() | deployment.ledger.destination_names():
        known = ", ".join(configured) or "none"
        raise InputError(f'no destination named "{destination}"; the settings have {known}')
    ids, shares = Planner(deployment).plan_owed(destination, window, carrier=carrier)
    results = deliver(deployment, [key for share in shares for key in share.lanes], progress)
    failed = {result.lane.destination for result in results if result.error}
    for name in {result.lane.destination for result in results} - failed:
        deployment.ledger.resume(name)
    if destination is not None and not ids:
        deployment.ledger.resume(destination)  # nothing is owed to it that could show whether it is back
    sealing = seal(deployment, ids, carrier=carrier)
    left = _left(deployment, destination, window)
    return replace(sealing, deliveries=[*sealing.deliveries, *left]) if left else sealing


def _left(deployment: Deployment, destination: str | None, window: Window | None) -> list[Delivery]:
    """What is owed to destinations that the settings no longer have."""
    owed = with_removals(deployment.settings, deployment.ledger.owed(destination))
    items = {item.delivery_id: item for item in owed if item.removed and window in (None, item.window)}
    known = {delivery.id: delivery for delivery in deployment.ledger.deliveries(items)}
    return [
        replace(
            known.get(number) or Delivery(number, item.destination, item.window, item.snapshot_id, State.OWED),
            state=State.OWED, error=item.error,
        )
        for number, item in items.items()
    ]  # fmt: skip


def redeliver_rejected(
    deployment: Deployment, destination: str | None = None, keys: Collection[tuple[int, int]] | None = None
) -> list[Redelivery]:
    """Send dead letters again, of one destination or of all: rendered and addressed by the settings in force.

    `keys` are (delivery id, event id) of those that are meant, where not all are. What arrives is sealed anew.
    """
    rejected: dict[tuple[int, int], list[RejectedEvent]] = {}
    for row in deployment.ledger.rejected(destination=destination, keys=keys):
        rejected.setdefault((row.delivery_id, row.lane), []).append(row)
    results = asyncio.run(_redeliver(deployment, rejected)) if rejected else []
    sealed = {delivery for result in results for delivery in result.deliveries}
    # none of them was planned here: one that is planned by now is another run's, which exports its window again
    for report in seal(deployment, sealed, carrier=owner_name()):
        if report.state is not State.DELIVERED and not report.taken_over:
            for result in results:
                if result.destination == report.destination:
                    told = f"window {report.window}: {report.error}; it is made good with the destination's next window"
                    result.error = result.error or told
    return results


async def _redeliver(
    deployment: Deployment, rejected: Mapping[tuple[int, int], list[RejectedEvent]]
) -> list[Redelivery]:
    now = deployment.settings.current()
    results: dict[str, Redelivery] = {}
    give_up_slow_hooks()
    threads = LeftBehindThreads(LEDGER_THREADS, "logstream ledger")
    keeper = LeaseKeeper(deployment.ledger, owner_name(), threads)
    writer = LedgerWriter(deployment.ledger, deployment.control_dsn, threads)
    try:
        async with AsyncExitStack() as stack:
            destinations = Destinations(deployment.new_connections(), stack)
            for lane in deployment.ledger.lanes(rejected):
                result = results.setdefault(lane.destination, Redelivery(lane.destination))
                if lane.destination not in now.settings.destinations:
                    result.error = "the settings no longer have it"
                elif not (taken := await keeper.take([lane.key], delivered=True)):
                    result.error = (
                        f"window {lane.window} is not complete yet, or another run works on it; try again later"
                    )
                else:
                    lane = taken[0]  # noqa: PLW2901 - as it now stands
                    try:
                        opened = await destinations.get(lane.destination, now.settings)
                        require_same_place(opened, deployment, lane)
                        again = Redeliverer(
                            writer, opened, deployment.store(now), now.settings, deployment.policy, deployment.ledger
                        )
                        letters = await asyncio.to_thread(_still, deployment, lane, rejected[lane.key])
                        await again.run(lane, letters, result)
                    except Exception as error:  # it is this destination's alone, foreseen or not
                        result.error = reason_of(error, f"sending to {lane.destination} again")
                    finally:
                        await keeper.release([lane])
    finally:
        await keeper.close()
        await writer.close()
        threads.shutdown()
    return sorted(results.values(), key=lambda result: result.destination)


def _still(deployment: Deployment, lane: Lane, rejected: Sequence[RejectedEvent]) -> list[RejectedEvent]:
    """Those of some dead letters that still are, now that the lane is ours: others may have sent or discarded some, or exported
    the window again."""
    wanted = {row.event_id for row in rejected}
    found = deployment.ledger.rejected([lane.delivery_id])
    return [row for row in found if row.lane == lane.lane and row.event_id in wanted]


def require_same_place(destination: Destination[Options], deployment: Deployment, lane: Lane) -> None:
    """Raise `InputError` where objects of a delivery would be put elsewhere than its manifest tells: it has one prefix.

    Nor are requests of a service among objects: in one list of names either would be taken for the other.
    """
    then = deployment.settings.get(lane.snapshot_id).settings
    if not isinstance(destination, ObjectDestination):
        if not keeps_objects(then, lane.destination):
            return
    else:
        before = make_destination(lane.destination, then.destinations[lane.destination], deployment.connections)
        if isinstance(before, ObjectDestination) and before.location(before.prefix) == destination.location(
            destination.prefix
        ):
            return
    raise InputError(
        f"window {lane.window} was delivered to another place than {lane.destination} is now: export that window again "
        "(its dead letters, too, go to the new place then)"
    )


class Redeliverer:
    """Sends the rejected events of one lane. The caller has the lane's lease."""

    def __init__(
        self, writer: LedgerWriter, destination: Destination[Options], store: PostgresStore, settings: Settings,
        policy: RetryPolicy, ledger: Ledger,
    ) -> None:  # fmt: skip
        self._writer, self._destination, self._store = writer, destination, store
        self._settings, self._policy, self._ledger, self._news = settings, policy, ledger, RetryNews()

    async def run(self, lane: Lane, rejected: Sequence[RejectedEvent], result: Redelivery) -> None:
        """Render with the settings in force, send, and write down what arrived."""
        found = self._store.events(sorted(row.event_id for row in rejected))
        events = found.events
        # rows without an id cannot be asked for: they stay what they were
        bad = len(found.bad) + sum(is_nameless(row.event_id) for row in rejected)
        result.gone += len(rejected) - len(events) - bad
        workspaces = {event.workspace_id for event in events}
        streamings = streamings_of(self._settings, workspaces)
        named = self._ledger.workspaces_of([lane], self._store.workspaces)
        renderer = EventRenderer(
            streamings,
            dict.fromkeys(workspaces, lane.now_ns or clock.time_ns()),
            lambda: named,
        )
        chunk = renderer.render([event for event in events if renderer.knows(event)])
        result.rejected_again += len(events) - len(chunk.events) + bad
        if chunk.bad:
            # a person mends them by the reason that holds now
            refused = [
                (EventRef(bad.event.id, bad.event.workspace_id, bad.event.kind), bad.reason) for bad in chunk.bad
            ]
            await self._writer.recount(lane, News([Rejection(event, reason) for event, reason in refused]))
        external = {w.id: w.external_id for w in named}
        lanes, contents = self._destination.options.lanes, contents_of(streamings)
        name = LaneRef(lane.destination, lane.window, lane.lane, lanes, external, contents, masks_of(streamings))
        known = {event.id: event for event in chunk.events}
        try:
            for parcel in await asyncio.to_thread(self._parcels, lane, name, chunk):
                await self._send(lane, parcel, known, result)
        except LaneFailed as error:
            result.error = str(error)
        result.deliveries.add(lane.delivery_id)

    def _parcels(self, lane: Lane, name: LaneRef, chunk: Chunk) -> list[Parcel]:
        """The parcels, under names that no other events of the delivery have. Blocks."""
        names = set[str]()
        while True:
            used = used_among(self._ledger, self._destination, lane, names)
            packer = self._destination.packer(replace(name, used=used), lane.part)
            parcels = [*packer.pack(chunk.events, chunk.messages), *packer.finish()]
            found = {part.name for parcel in parcels for part in parcel.parts}
            if found <= names:
                return parcels
            names |= found

    async def _send(self, lane: Lane, parcel: Parcel, known: dict[int, Event], result: Redelivery) -> None:
        announced = []
        if self._destination.replaces and parcel.parts:  # whatever becomes of this, the object is known then
            announced.append(await self._writer.announce(lane, parcel.parts))
        sent = await send(self._destination, parcel, self._policy, news=self._news)
        again = {event.id for event, _ in sent.rejected}
        arrived = [known[number] for number in _ids(parcel, known) if number not in again]
        tally = tally_of(arrived)
        lane.delivered.update(tally)
        lane.rejected = Tally(lane.rejected - tally)
        lane.sizes.update(parcel.sizes if not again else sizes_of(arrived, [len(event.payload) for event in arrived]))
        lane.bytes += sent.bytes
        lane.requests += sent.requests
        lane.pass_number(parcel)
        rejected = [Rejection(event, reason, parcel.name) for event, reason in sent.rejected]
        await self._writer.recount(lane, News(rejected, sent.parts, [event.id for event in arrived], announced))
        result.delivered += len(arrived)
        result.rejected_again += len(again)
        for event in arrived:
            known.pop(event.id)


def _ids(parcel: Parcel, known: dict[int, Event]) -> list[int]:
    """The events of a parcel: named, or the first of those still to come by its counts."""
    if parcel.events:
        return [event.id for event in parcel.events]
    return list(known)[: parcel.tally.total()]
