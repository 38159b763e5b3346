"""The log store's ids against what was delivered: does each object hold every event that it must, in its place?"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import itemgetter

from logstream.destinations.parcel import Part, sha256
from logstream.destinations.registry import destination_type, registered
from logstream.export.select import EventRenderer
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import Lane, State
from logstream.settings.models import Settings
from logstream.settings.repository import SettingsRepository
from logstream.settings.resolution import streamings_of
from logstream.store.postgres import PostgresStore
from logstream.units import counted

EVENTS_AT_A_TIME = 200_000
"""Events whose ids are read in one pass for several deliveries; one that has more is read by itself."""


class PlaceVerifier:
    """Compares the ids in the log store with the digests of ids of each object."""

    def __init__(
        self, ledger: Ledger, settings: SettingsRepository, store_dsn: str, written_off: Collection[int] = ()
    ) -> None:
        self._ledger, self._settings, self._store_dsn = ledger, settings, store_dsn
        self._written_off = written_off
        self._deliveries: Mapping[int, Sequence[Lane]] = {}
        self._order: list[int] = []
        self._places: dict[int, int] = {}
        self._found: dict[int, array[int]] = {}
        self._snapshots: dict[int, Settings] = {}

    def expect(self, deliveries: Sequence[Sequence[Lane]]) -> None:
        """Tell, before the first is verified, in which order deliveries will be, each as its lanes."""
        self._deliveries = {lanes[0].delivery_id: lanes for lanes in deliveries if self._are_told(lanes)}
        self._order, self._found = list(self._deliveries), {}
        self._places = {number: place for place, number in enumerate(self._order)}

    def _settings_of(self, snapshot_id: int) -> Settings:
        if snapshot_id not in self._snapshots:
            self._snapshots[snapshot_id] = self._settings.get(snapshot_id).settings
        return self._snapshots[snapshot_id]

    def _are_told(self, lanes: Sequence[Lane]) -> bool:
        """Whether it is known which ids a delivery's objects must hold."""
        first = lanes[0]
        if first.pruned or first.delivery_id in self._written_off:
            return False
        if any(lane.state is not State.DELIVERED for lane in lanes):
            return False
        stored = self._settings_of(first.snapshot_id).destinations.get(first.destination)
        # of a type that is not installed, `KnownObjects` tells that nothing is known
        return stored is not None and stored.type in registered() and destination_type(stored.type).replaces

    def verify(self, delivery_id: int, parts: Iterable[Part]) -> Iterator[str]:
        """Whether each object holds the ids that it must: every event's once, in its place.

        Told of destinations that keep objects only: an HTTP service may have had some of a request's events sent again. Of a
        delivery that was partly written off it is not known which events those are.
        """
        if delivery_id not in self._deliveries:
            return
        if delivery_id not in self._found:
            self._found = self._ids(self._together(delivery_id))
        ids = self._found.pop(delivery_id)
        place = 0
        for part in parts:
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

    def _together(self, delivery_id: int) -> list[Sequence[Lane]]:
        """The deliveries, from one on, whose events are read in one pass: neighbours of one window and one snapshot."""
        together: list[Sequence[Lane]] = []
        events = 0
        for number in self._order[self._places[delivery_id] :]:
            lanes = self._deliveries[number]
            events += sum(lane.planned.total() for lane in lanes)
            kin = not together or (lanes[0].window, lanes[0].snapshot_id) == (
                together[0][0].window, together[0][0].snapshot_id
            )  # fmt: skip
            if together and (not kin or events > EVENTS_AT_A_TIME):
                break
            together.append(lanes)
        return together

    def _ids(self, deliveries: Sequence[Sequence[Lane]]) -> dict[int, array[int]]:
        """The ids of the events that deliveries delivered, from what the store holds now: 8 bytes an event.

        Dead letters that were delivered later come last in their lane, parcel by parcel.
        """
        window, settings = deliveries[0][0].window, self._settings_of(deliveries[0][0].snapshot_id)
        keys: dict[int, list[tuple[int, int]]] = {}
        for lane in (lane for lanes in deliveries for lane in lanes):
            for workspace in lane.workspace_ids:
                keys.setdefault(workspace, []).append(lane.key)
        streamings = {
            workspace: streaming
            for workspace, streaming in streamings_of(settings, list(keys)).items()
            if streaming is not None
        }
        renderer = EventRenderer(streamings, dict.fromkeys(keys, 0))
        rejected, redelivered = self._dead_letters([lanes[0].delivery_id for lanes in deliveries])
        found: dict[tuple[int, int], array[int]] = {lane.key: array("q") for lanes in deliveries for lane in lanes}
        later: dict[tuple[int, int], list[tuple[datetime, int]]] = {key: [] for key in found}
        store = PostgresStore(self._store_dsn, settings.log_store)
        try:
            position, more = None, True
            while more:
                for page in store.read(
                    window, renderer.filters, position, max_events=10_000, max_bytes=16 * 1024 * 1024
                ):
                    for event in renderer.select(page.events):
                        for key in keys[event[1]]:
                            if (letter := (key[0], event[0])) in redelivered:
                                later[key].append((redelivered[letter], event[0]))
                            elif letter not in rejected:
                                found[key].append(event[0])
                    position = page.last or position
                    more = page.more
        finally:
            store.close()
        for key, letters in later.items():
            # the sort is stable: within a parcel they stay in the log store's order
            found[key].extend(event_id for _, event_id in sorted(letters, key=itemgetter(0)))
        return {
            lanes[0].delivery_id: sum((found[key] for key in sorted(lane.key for lane in lanes)), array("q"))
            for lanes in deliveries
        }

    def _dead_letters(
        self, delivery_ids: Sequence[int]
    ) -> tuple[set[tuple[int, int]], dict[tuple[int, int], datetime]]:
        """Events that deliveries have rejected, and when those were delivered that were later: by (delivery id, event id)."""
        some = self._ledger.with_dead_letters(delivery_ids)
        rejected = (
            {(row.delivery_id, row.event_id) for row in self._ledger.rejected(some, discarded=True)} if some else set()
        )
        redelivered = {
            (number, event_id): moment
            for number in some
            for event_id, moment in self._ledger.redelivered(number).items()
        }
        return rejected, redelivered
