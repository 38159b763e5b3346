"""The log store's ids against what was delivered: does each object hold every event that it must, in its place?"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from operator import itemgetter

from logstream.destinations.parcel import sha256
from logstream.destinations.registry import destination_type
from logstream.export.select import EventRenderer
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import Lane
from logstream.settings.models import Settings
from logstream.settings.repository import SettingsRepository
from logstream.settings.resolution import streamings_of
from logstream.store.postgres import PostgresStore
from logstream.units import counted


class PlaceVerifier:
    """Compares the ids in the log store with the digests of ids of each object."""

    def __init__(
        self, ledger: Ledger, settings: SettingsRepository, store_dsn: str, written_off: Collection[int] = ()
    ) -> None:
        self._ledger, self._settings, self._store_dsn = ledger, settings, store_dsn
        self._written_off = written_off

    def verify(self, delivery_id: int, lanes: Sequence[Lane]) -> Iterator[str]:
        """Whether each object holds the ids that it must: every event's once, in its place.

        Told of destinations that keep objects only: an HTTP service may have had some of a request's events sent again. Of a
        delivery that was partly written off it is not known which events those are.
        """
        settings = self._settings.get(lanes[0].snapshot_id).settings
        stored = settings.destinations.get(lanes[0].destination)
        if stored is None or not destination_type(stored.type).replaces or lanes[0].pruned:
            return
        if delivery_id in self._written_off:
            return
        ids = self._ids(lanes, settings)
        place = 0
        for _, part in self._ledger.parts([delivery_id]):
            some = ids[place : place + part.events]
            place += part.events
            digest = str(some[0]) if len(some) == 1 else sha256(b"".join([b"%d\n" % number for number in some]))
            if digest != part.ids:
                yield (
                    f"object {part.name} and what follows it do not hold the events that the log store has in their place"
                )
                return
        if place != len(ids):
            yield f"the log store has {counted(len(ids), 'event')} of this delivery, its objects hold {place:,}"

    def _ids(self, lanes: Sequence[Lane], settings: Settings) -> array[int]:
        """The ids of the events that the lanes delivered, from what the store holds now: 8 bytes an event.

        Dead letters that were delivered later come last in their lane, parcel by parcel.
        """
        workspaces = {workspace: lane.lane for lane in lanes for workspace in lane.workspace_ids}
        streamings = {
            workspace: streaming
            for workspace, streaming in streamings_of(settings, list(workspaces)).items()
            if streaming is not None
        }
        renderer = EventRenderer(streamings, dict.fromkeys(workspaces, 0))
        rejected = {row.event_id for row in self._ledger.rejected([lanes[0].delivery_id])}
        redelivered = self._ledger.redelivered(lanes[0].delivery_id)
        found: dict[int, array[int]] = {lane.lane: array("q") for lane in lanes}
        later: dict[int, list[tuple[datetime, int]]] = {lane.lane: [] for lane in lanes}
        store = PostgresStore(self._store_dsn, settings.log_store)
        try:
            position, more = None, True
            while more:
                for page in store.read(
                    lanes[0].window, renderer.filters, position, max_events=10_000, max_bytes=16 * 1024 * 1024
                ):
                    for event in renderer.select(page.events):
                        if event[0] in redelivered:
                            later[workspaces[event[1]]].append((redelivered[event[0]], event[0]))
                        elif event[0] not in rejected:
                            found[workspaces[event[1]]].append(event[0])
                    position = page.last or position
                    more = page.more
        finally:
            store.close()
        for number, letters in later.items():
            # the sort is stable: within a parcel they stay in the log store's order
            found[number].extend(event_id for _, event_id in sorted(letters, key=itemgetter(0)))
        return sum((found[number] for number in sorted(found)), array("q"))
