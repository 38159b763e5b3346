"""One of the deliveries that are made together, and its parcels: made whole, or left to a pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from logstream.destinations import object_options
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.parcel import LaneRef, Packer, Parcel, Part, Tally, UsedNames
from logstream.destinations.transport.compression import BLOCK, COMPRESSOR_BYTES, Compression
from logstream.events import Event
from logstream.export.contents import contents_of, masks_of
from logstream.export.select import Demultiplexer, EventRenderer
from logstream.ledger.records import Lane
from logstream.settings.models import Streaming
from logstream.settings.resolution import Workspace
from logstream.store.reading import PAGE_EVENTS

MOST_BYTES = 64 * 1024 * 1024
"""A delivery of more than this has a pipeline: what is put of that is counted on the way, so that no attempt begins all of it
anew."""

MOST_HELD = 32 * 1024 * 1024
"""The same of what is held of one until its parcels are put."""

MOST_UNBATCHED = 128 * 1024
"""The same of one whose objects are no batches: single ones are put one after another here, and rows for Parquet are large."""

OBJECT_BYTES = 1_200
"""What a single object takes beside its bytes: its name, twice, its digest, its place in a manifest (measured)."""

MOST_SENT = 2 * MOST_BYTES
"""A delivery of more than this has a pipeline after all: what is planned is what events take in the log store, which compresses
large ones."""

EXCESS_EVENTS = 1_000
EXCESS_BYTES = 1024 * 1024
"""So much more than several times what is planned may be read of a delivery and not be sent: see `Packaging`."""


class Likely(NamedTuple):
    """What deliveries are likely to hold, by those that were made before them."""

    growth: float = 1.0
    """Bytes of events for each that is planned."""
    share: float = 0.2
    """What compressing leaves of each of them."""

    def or_more(self, other: Likely) -> Likely:
        """The more of both."""
        return Likely(max(self.growth, other.growth), max(self.share, other.share))


@dataclass(slots=True)
class Member:
    """One delivery. `parcels` are those of its lanes, by number; a lane that is not there is left to a pipeline."""

    lanes: Sequence[Lane]
    destination: ObjectDestination[Any]
    parcels: dict[int, list[Parcel]] = field(default_factory=dict)
    announced: dict[int, list[int]] = field(default_factory=dict)
    remarks: str | None = None
    used: UsedNames = field(default_factory=UsedNames)
    """Names of objects that an attempt has put before."""

    @property
    def size(self) -> int:
        """Bytes of its events."""
        return sum(lane.planned_bytes for lane in self.lanes)

    @property
    def delivery_id(self) -> int:
        """The ledger's number of it."""
        return self.lanes[0].delivery_id

    def expected(self, likely: Likely) -> int:
        """About how many bytes are held of it until its parcels are put."""
        sizes = [int(lane.planned_bytes * likely.growth) for lane in self.lanes]  # each lane has objects of its own
        if not self._makes_batches:
            return sum(sizes) + OBJECT_BYTES * sum(lane.planned.total() for lane in self.lanes)
        if not self.is_compressed:
            return sum(sizes)
        begun = BLOCK + COMPRESSOR_BYTES[self.destination.options.compression]
        return sum(size if size <= BLOCK else begun + int(size * likely.share) for size in sizes)

    def fits(self, likely: Likely) -> bool:
        """Whether it may be made together with others."""
        if not self._makes_batches:
            return self.size <= MOST_UNBATCHED
        return self.size <= MOST_BYTES and self.expected(likely) <= MOST_HELD

    @property
    def packed(self) -> int:
        """Bytes of its parcels."""
        return sum(parcel.size for parcels in self.parcels.values() for parcel in parcels)

    @property
    def is_compressed(self) -> bool:
        """Whether what is packaged of it is held compressed."""
        return self._makes_batches and self.destination.options.compression is not Compression.NONE

    @property
    def _makes_batches(self) -> bool:
        return self.destination.options.packaging is object_options.Packaging.BATCH

    def ready(self) -> list[tuple[Lane, list[Parcel]]]:
        """Its lanes that are not left to a pipeline, with what is to be put of each."""
        return [(lane, self.parcels[lane.lane]) for lane in self.lanes if lane.lane in self.parcels]


class NamesWanted(Exception):
    """Names of workspaces are wanted, which were not given."""


class Packaging:
    """Packages the events of one delivery as they are read: they are taken, packaged, some at a time, and finished.

    A lane of which not all that was planned can be sent gets no parcels, nor does any of a delivery that is `left`: its pipeline
    meets the same, and says so. Raises `NamesWanted` if names of `workspaces` are wanted and not given.
    """

    def __init__(
        self, member: Member, streamings: Mapping[int, Streaming], workspaces: Sequence[Workspace] | None
    ) -> None:
        def known() -> Sequence[Workspace]:
            if workspaces is None:
                raise NamesWanted
            return workspaces

        self.member = member
        self.left = False
        """Whether it is left to a pipeline."""
        self.bytes = 0
        """Of the events that were packaged."""
        self._events = self._passed = self._passed_bytes = 0
        self._taken: list[Event] = []
        self.take = self._taken.append
        destination = member.destination
        lane_of = {number: lane for lane in member.lanes for number in lane.workspace_ids}
        own = {number: streamings[number] for number in lane_of if number in streamings}
        self._renderer = EventRenderer(own, {number: lane.now_ns or 0 for number, lane in lane_of.items()}, known)
        self._lanes = Demultiplexer({number: lane.lane for number, lane in lane_of.items()})
        external_ids = {w.id: w.external_id for w in known()} if destination.needs_external_ids else {}
        contents, masks, lanes = contents_of(own), masks_of(own), destination.options.lanes
        self._packers: dict[int, Packer] = {}
        self._parcels: dict[int, list[Parcel]] = {}
        for lane in member.lanes:
            name = LaneRef(lane.destination, lane.window, lane.lane, lanes, external_ids, contents, masks, member.used)
            self._packers[lane.lane] = destination.packer(name, lane.part)
            self._parcels[lane.lane] = []
        self._unsound: set[int] = set()

    def package(self, room: int) -> None:
        """Package what was taken. What would hold more than `room` bytes is left to a pipeline."""
        events = self._taken.copy()
        self._taken.clear()
        for start in range(0, len(events), PAGE_EVENTS):  # a template may make a hundred times the events
            if self.left:
                return
            some = events[start : start + PAGE_EVENTS]
            for number, own, _ in self._lanes.divide(some):
                chunk = self._renderer.render(own)
                size = sum(len(event[5]) for event in chunk.events)
                self._events += len(chunk.events)
                self.bytes += size
                if len(own) > len(chunk.events):
                    self._passed += len(own) - len(chunk.events)
                    self._passed_bytes += sum(len(event[5]) for event in own) - size
                if chunk.bad:
                    self._unsound.add(number)
                self._parcels[number] += self._packers[number].pack(chunk.events, chunk.messages)
            if self.held > room or self._is_exceeded:
                self.leave()

    @property
    def held(self) -> int:
        """About how many bytes it holds of what is packaged."""
        packed = sum(parcel.size for parcels in self._parcels.values() for parcel in parcels)
        return packed + sum(packer.held for packer in self._packers.values())

    @property
    def done(self) -> float:
        """How much of what is planned is packaged: 1 for all."""
        return self._events / (sum(lane.planned.total() for lane in self.member.lanes) or 1)

    @property
    def _is_exceeded(self) -> bool:
        """Whether more is sent than is planned, or far more is read and passed over, as where logs are narrowed to a few."""
        planned = sum(lane.planned.total() for lane in self.member.lanes)
        if self._events > planned or self.bytes > MOST_SENT:
            return True
        return self._passed > 4 * planned + EXCESS_EVENTS or self._passed_bytes > 2 * self.member.size + EXCESS_BYTES

    def leave(self) -> None:
        """Leave it to a pipeline; what is packaged is not needed."""
        self.left = True
        self._packers, self._parcels = {}, {}
        self._taken.clear()

    def finish(self) -> None:
        """Give the delivery the parcels of its lanes."""
        if self.left:
            return
        for lane in self.member.lanes:
            parcels = self._parcels[lane.lane] + list(self._packers.pop(lane.lane).finish())
            counted = sum((parcel.tally for parcel in parcels), Tally())
            sound = lane.lane not in self._unsound and not any(parcel.refused for parcel in parcels)
            if sound and counted == lane.planned:
                self.member.parcels[lane.lane] = parcels
        self.member.remarks = self._renderer.fallbacks


def parts_of(parcels: Iterable[Parcel]) -> list[Part]:
    """What a manifest says of parcels."""
    return [part for parcel in parcels for part in parcel.parts]


def delivered(lane: Lane, parcels: Sequence[Parcel]) -> Lane:
    """A lane of which all parcels have arrived, as it is then. The lane itself stays as it was, for a pipeline to begin it."""
    done = replace(lane, delivered=Tally(), rejected=Tally(), sizes=Counter())
    for parcel in parcels:
        done.count(parcel, parcel.size, parcel.requests)
    return done
