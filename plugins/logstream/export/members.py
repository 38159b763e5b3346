"""One small delivery, and its parcels: made whole, or left to a pipeline."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from logstream.destinations.objects import ObjectDestination
from logstream.destinations.parcel import LaneRef, Parcel, Part, Tally, UsedNames
from logstream.events import Event
from logstream.export.contents import contents_of, masks_of
from logstream.export.select import Demultiplexer, EventRenderer
from logstream.ledger.records import Lane
from logstream.settings.models import Streaming
from logstream.settings.resolution import Workspace

log = logging.getLogger("logstream")


@dataclass(slots=True)
class Member:
    """One small delivery. `parcels` are those of its lanes, by number; a lane that is not there is left to a pipeline."""

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

    def is_exceeded_by(self, events: Sequence[Event]) -> bool:
        """Whether events are more than it is planned to have. Where a pack's are too many, so are those of one in it."""
        planned = sum(lane.planned.total() for lane in self.lanes)
        return len(events) > planned or sum(len(event[5]) for event in events) > 2 * self.size

    @property
    def packed(self) -> int:
        """Bytes of its parcels."""
        return sum(parcel.size for parcels in self.parcels.values() for parcel in parcels)

    def ready(self) -> list[tuple[Lane, list[Parcel]]]:
        """Its lanes that are not left to a pipeline, with what is to be put of each."""
        return [(lane, self.parcels[lane.lane]) for lane in self.lanes if lane.lane in self.parcels]


class _NamesWanted(Exception):
    """Names of workspaces are wanted, which are not there."""


def make_parcels(
    member: Member, events: Mapping[int, list[Event]], streamings: Mapping[int, Streaming],
    workspaces: Sequence[Workspace] | None,
) -> bool:  # fmt: skip
    """Package the events of a delivery, which are given by its id; false if names of `workspaces` are wanted and not given.

    Lanes of which not all that was planned can be sent get no parcels, nor do those whose destination's code breaks: their
    pipeline meets the same, and says so.
    """

    def known() -> Sequence[Workspace]:
        if workspaces is None:
            raise _NamesWanted
        return workspaces

    try:
        member.parcels, member.remarks = _parcels(member, events[member.delivery_id], streamings, known)
    except _NamesWanted:
        return False
    except Exception as error:
        name, secrets = member.destination.name, member.destination.secrets
        log.debug("events for %s cannot be packaged\n%s", name, secrets.traceback(error))
    return True


def _parcels(
    member: Member,
    events: list[Event],
    streamings: Mapping[int, Streaming],
    workspaces: Callable[[], Iterable[Workspace]],
) -> tuple[dict[int, list[Parcel]], str | None]:
    """The parcels of a delivery's lanes, by number, and what a person should know of them."""
    lane_of = {number: lane for lane in member.lanes for number in lane.workspace_ids}
    known = {number: streamings[number] for number in lane_of if number in streamings}
    renderer = EventRenderer(known, {number: lane.now_ns or 0 for number, lane in lane_of.items()}, workspaces)
    external_ids = {w.id: w.external_id for w in workspaces()} if member.destination.needs_external_ids else {}
    contents, masks = contents_of(known), masks_of(known)
    lanes = {lane.lane: lane for lane in member.lanes}
    divided = Demultiplexer({number: lane.lane for number, lane in lane_of.items()}).divide(events)
    found: dict[int, list[Parcel]] = {}
    for number, some, _ in divided:
        chunk = renderer.render(some)
        lane, options = lanes[number], member.destination.options
        name = LaneRef(lane.destination, lane.window, number, options.lanes, external_ids, contents, masks, member.used)
        packer = member.destination.packer(name, lane.part)
        parcels = [*packer.pack(chunk.events, chunk.messages), *packer.finish()]
        counted = sum((parcel.tally for parcel in parcels), Tally())
        if not chunk.bad and not any(parcel.refused for parcel in parcels) and counted == lane.planned:
            found[number] = parcels
    return found, renderer.fallbacks


def parts_of(parcels: Iterable[Parcel]) -> list[Part]:
    """What a manifest says of parcels."""
    return [part for parcel in parcels for part in parcel.parts]


def delivered(lane: Lane, parcels: Sequence[Parcel]) -> Lane:
    """A lane of which all parcels have arrived, as it is then. The lane itself stays as it was, for a pipeline to begin it."""
    done = replace(lane, delivered=Tally(), rejected=Tally(), sizes=Counter())
    for parcel in parcels:
        done.count(parcel, parcel.size, parcel.requests)
    return done
