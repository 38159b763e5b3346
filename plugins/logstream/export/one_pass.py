"""One pass over a window for many deliveries: each packages its own events as they come."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence

from logstream.destinations.transport.compression import BLOCK
from logstream.events import Cursor, Selection
from logstream.export.members import Likely, Member, Packaging
from logstream.export.pipeline import CHUNK_BYTES, CHUNK_EVENTS, SPARE
from logstream.settings.models import Streaming
from logstream.store.base import EventStore, Filter

log = logging.getLogger("logstream")

TAKEN_BYTES = 12 * 1024 * 1024
"""How much is read before it is packaged: a page has few events of each delivery, and to package few costs as much as many."""

EVENT_BYTES = 300
"""What an event takes beside its payload while it waits: a tuple, its numbers, the payload's own head."""

PACKED_BYTES = 72 * 1024 * 1024
LEAST_PACKED = 16 * 1024 * 1024
"""How much is held of what is packaged: twice what was expected, within these bounds. Who would hold more is left to a pipeline:
a template may make a hundred times the events, and what is random is not compressed."""


class OnePass:
    """Reads the events of some deliveries of one window, chunk after chunk, while there is `more`. Of one thread at a time.

    `streamings` are the settings of their workspaces, `likely` is what they are expected to hold. A delivery with rows that are
    no events is left to its pipeline, and so is one whose code breaks; what they have is read no further.
    """

    def __init__(
        self, store: EventStore, packaging: Sequence[Packaging], streamings: Mapping[int, Streaming], likely: Likely
    ) -> None:
        self._store, self._all, self._streamings = store, list(packaging), streamings
        self._likely = likely
        expected = sum(one.member.expected(likely) for one in packaging)
        self._room = min(PACKED_BYTES, max(LEAST_PACKED, 2 * expected))
        self._of = {number: one for one in packaging for lane in one.member.lanes for number in lane.workspace_ids}
        lanes = [lane for one in packaging for lane in one.member.lanes]
        size = sum(lane.planned_bytes for lane in lanes) / (sum(lane.planned.total() for lane in lanes) or 1)
        self._ask_for(size)
        self._position: Cursor | None = None
        self._taken = self._reading = 0
        self._filters: list[Filter] = []
        self.more = bool(self._all)

    def _ask_for(self, size: float) -> None:
        """Ask for as many events of a size as are likely to fill a chunk, and hardly more."""
        self._most = max(1, min(CHUNK_EVENTS, int(SPARE * CHUNK_BYTES / max(size, 1))))

    def read(self) -> None:
        """Read a chunk. Blocks."""
        self._look_who_reads()
        if not self._filters:
            self.more = False
            return
        take = {number: one.take for number, one in self._of.items()}
        window = self._all[0].member.lanes[0].window
        rows = size = 0
        for page in self._store.read(
            window, self._filters, self._position, max_events=self._most, max_bytes=CHUNK_BYTES
        ):
            for event in page.events:
                take[event[1]](event)
            for event, _ in page.bad:
                self._of[event.workspace_id].leave()
            rows += len(page.events) + len(page.bad)
            size += page.bytes
            self._taken += page.bytes + EVENT_BYTES * len(page.events)
            self._position = page.last or self._position
            self.more = page.more
        if rows:
            self._ask_for(size / rows)
        if self._taken >= TAKEN_BYTES:
            self._package()
            self._look_who_fits()

    def _look_who_reads(self) -> None:
        """Ask for the events of those that are not left to pipelines."""
        reading = sum(not one.left for one in self._all)
        if reading == self._reading:
            return
        self._reading = reading
        selections: dict[Selection, list[int]] = defaultdict(list)
        for number, one in self._of.items():
            if not one.left and number in self._streamings:
                selections[self._streamings[number].selection].append(number)
        self._filters = [Filter.of(selection, sorted(numbers)) for selection, numbers in selections.items()]

    def _package(self) -> None:
        self._taken, held = 0, self.held
        for one in self._all:
            held -= one.held
            try:
                one.package(self._room - held)
            except Exception as error:
                note_broken(one.member, error)
                one.leave()
            held += one.held

    def _look_who_fits(self) -> None:
        """Leave the largest to pipelines where events are so much larger than planned that not all will fit."""
        reading = [one for one in self._all if not one.left]
        planned = sum(one.member.size * one.done for one in reading)
        growth = sum(one.bytes for one in reading) / planned if planned else 0
        likely = self._likely.or_more(Likely(growth, 0))
        expected = {id(one): one.member.expected(likely) for one in reading}
        total = sum(expected.values())
        for one in sorted(reading, key=lambda one: expected[id(one)], reverse=True):
            if total <= self._room:
                return
            total -= expected[id(one)]
            one.leave()

    @property
    def held(self) -> int:
        """About how many bytes are held of what is packaged."""
        return sum(one.held for one in self._all)

    def finish(self) -> None:
        """Give each delivery its parcels. Blocks."""
        self._package()
        for one in self._all:
            try:
                one.finish()
            except Exception as error:
                note_broken(one.member, error)

    @property
    def likely(self) -> Likely:
        """What others are likely to hold, by what these have held."""
        read = [one for one in self._all if not one.left]
        compressed = [one for one in read if one.member.is_compressed and one.bytes > BLOCK]
        return Likely(
            sum(one.bytes for one in read) / (sum(one.member.size for one in read) or 1),
            sum(one.member.packed for one in compressed) / (sum(one.bytes for one in compressed) or 1),
        )


def note_broken(member: Member, error: Exception) -> None:
    """Note that events of a delivery cannot be packaged: its pipeline meets the same, and says so."""
    name, secrets = member.destination.name, member.destination.secrets
    log.debug("events for %s cannot be packaged\n%s", name, secrets.traceback(error))
