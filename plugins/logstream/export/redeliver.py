"""Sending rejected events again, on demand, after somebody has mended what they were rejected for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from logstream.destinations.base import Destination, Options
from logstream.destinations.parcel import LaneRef, Parcel, Tally, sizes_of, tally_of
from logstream.events import Event
from logstream.export.select import EventRenderer
from logstream.export.send import LaneFailed, RetryPolicy, send
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import Lane, News, RejectedEvent, Rejection
from logstream.settings.models import Settings
from logstream.settings.resolution import streamings_of
from logstream.store.postgres import PostgresStore


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


class Redeliverer:
    """Sends the rejected events of one lane. The caller holds the lane's lock."""

    def __init__(
        self, ledger: Ledger, writer: LedgerWriter, destination: Destination[Options], store: PostgresStore,
        settings: Settings, policy: RetryPolicy,
    ) -> None:  # fmt: skip
        self._ledger, self._writer, self._destination, self._store = ledger, writer, destination, store
        self._settings, self._policy = settings, policy

    async def run(self, lane: Lane, rejected: Sequence[RejectedEvent], result: Redelivery) -> None:
        """Render with the settings in force, send, and write down what arrived."""
        events = self._store.events(sorted(row.event_id for row in rejected))
        result.gone += len(rejected) - len(events)
        workspaces = {event.workspace_id for event in events}
        renderer = EventRenderer(
            streamings_of(self._settings, workspaces), dict.fromkeys(workspaces, lane.now_ns or time.time_ns())
        )
        chunk = renderer.render([event for event in events if renderer.knows(event)])
        result.rejected_again += len(events) - len(chunk.events)
        external = {w.id: w.external_id for w in self._store.workspaces()}
        name = LaneRef(lane.destination, lane.window, lane.lane, self._destination.options.lanes, external)
        packer = self._destination.packer(name, lane.part)
        known = {event.id: event for event in chunk.events}
        try:
            for parcel in [*packer.pack(chunk.events, chunk.messages), *packer.finish()]:
                await self._send(lane, parcel, known, result)
        except LaneFailed as error:
            result.error = str(error)
        result.deliveries.add(lane.delivery_id)

    async def _send(self, lane: Lane, parcel: Parcel, known: dict[int, Event], result: Redelivery) -> None:
        sent = await send(self._destination, parcel, self._policy)
        again = {event.id for event, _ in sent.rejected}
        arrived = [known[number] for number in _ids(parcel, known) if number not in again]
        tally = tally_of(arrived)
        lane.delivered.update(tally)
        lane.rejected = Tally(lane.rejected - tally)
        lane.sizes.update(parcel.sizes if not again else sizes_of(arrived, [len(event.payload) for event in arrived]))
        lane.bytes += sent.bytes
        lane.requests += sent.requests
        lane.part += 1
        news = News([Rejection(event, reason, parcel.name) for event, reason in sent.rejected], sent.parts)
        await self._writer.finish(lane, news)
        self._ledger.redelivered(lane.delivery_id, [event.id for event in arrived])
        result.delivered += len(arrived)
        result.rejected_again += len(again)
        for event in arrived:
            known.pop(event.id)


def _ids(parcel: Parcel, known: dict[int, Event]) -> list[int]:
    """The events of a parcel: named, or the first of those still to come by its counts."""
    if parcel.events:
        return [event.id for event in parcel.events]
    return list(known)[: parcel.tally.total()]
