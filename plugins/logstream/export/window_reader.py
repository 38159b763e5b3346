"""Read -> select -> render -> package: the steps of a window that are one thread's work, for one lane or for thousands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from logstream.destinations.parcel import Packer, Parcel, cursor_of
from logstream.errors import LogstreamError
from logstream.events import Cursor, Event
from logstream.export.outbox import Outbox
from logstream.export.select import Demultiplexer, EventRenderer
from logstream.ledger.records import Lane
from logstream.messages import Messages
from logstream.settings.models import Streaming
from logstream.settings.resolution import Workspace
from logstream.store.base import EventStore, Page
from logstream.window import Window

if TYPE_CHECKING:
    from logstream.batches import Events

MANY = 16
"""From so many lanes on, a statement's pages are divided together: what is done for a lane and page is worth some events."""


class LaneWork:
    """One lane while it is delivered: its packer, its outbox, and what stopped it."""

    def __init__(self, lane: Lane, packer: Packer, outbox: Outbox) -> None:
        self.lane, self.packer, self.outbox = lane, packer, outbox
        self.resume = self.began = lane.counted
        self.delivered_to = lane.position
        self.error: LogstreamError | None = None

    def skip(self, events: Events, messages: Messages) -> tuple[Events, Messages]:
        """What comes after what is counted; a packer that names by what went before is shown the rest."""
        if self.resume is None:
            return events, messages
        done = events.after(*self.resume)
        self.packer.remember(events[:done])
        if done < len(events):
            self.resume = None
        return events[done:], messages[done:]

    async def put(self, parcel: Parcel) -> None:
        """Send a parcel, unless an earlier attempt did: then it is counted."""
        if self.delivered_to is not None and parcel.last <= self.delivered_to:
            self.outbox.note(parcel)
        else:
            await self.outbox.put(parcel)


class Packed(NamedTuple):
    """What a lane gets of some events: its parcels, and the events that cannot be sent."""

    work: LaneWork
    parcels: list[Parcel]
    bad: list[tuple[Event, str]]


class WindowReader:
    """Reads a window for some lanes of one or many destinations, and packages what each of them gets.

    No two of these lanes have a workspace in common. `workspaces` gives theirs, if a template names them. Not for several
    threads at once.
    """

    def __init__(
        self, works: Sequence[LaneWork], store: EventStore, window: Window, streamings: Mapping[int, Streaming],
        workspaces: Callable[[], Iterable[Workspace]],
    ) -> None:  # fmt: skip
        self._works, self._store, self._window = works, store, window
        self._index = {workspace: index for index, work in enumerate(works) for workspace in work.lane.workspace_ids}
        instants = {workspace: works[index].lane.now_ns or 0 for workspace, index in self._index.items()}
        known = {workspace: streaming for workspace, streaming in streamings.items() if workspace in instants}
        self._renderer = EventRenderer(known, instants, workspaces)
        self._lanes = Demultiplexer(self._index)

    def remarks(self, works: Sequence[LaneWork]) -> str | None:
        """What a person should know of some lanes though they were delivered."""
        return self._renderer.fallbacks(workspace for work in works for workspace in work.lane.workspace_ids)

    def start(self) -> Cursor | None:
        """Where to begin: after the earliest checkpoint, unless names depend on all that came before."""
        resumes = [work.resume for work in self._works]
        naming = any(work.resume and work.packer.needs_all_before for work in self._works)
        known = [resume for resume in resumes if resume is not None]
        return min(known) if len(known) == len(resumes) and not naming else None

    def chunk(
        self, position: Cursor | None, max_events: int, max_bytes: int
    ) -> tuple[list[Packed], Cursor | None, bool]:
        """Read the events of one statement and package them.

        Returns what is to be sent, the place after it, and whether there is more.
        """
        packed: dict[int, Packed] = {}

        def of(index: int) -> Packed:
            return packed.setdefault(index, Packed(self._works[index], [], []))

        pages = self._store.read(
            self._window, self._renderer.filters, position, max_events=max_events, max_bytes=max_bytes
        )
        more = False
        for page in self._divided(pages):
            more = page.more
            rejected = list(page.bad)
            for chunk in self._renderer.render(self._lanes.in_order(self._renderer.select(page.events))):
                rejected += chunk.bad
                for index, events, messages in self._lanes.divide(chunk):
                    work, parcels, _ = of(index)
                    parcels.extend(work.packer.pack(*work.skip(events, messages)))
            # they enter the ledger in the window's order
            for event, reason in sorted(rejected, key=lambda row: cursor_of(row[0])):
                work, _, bad = of(self._index[event.workspace_id])
                if work.began is None or cursor_of(event) > work.began:
                    bad.append((event, reason))
            position = page.last or position
        return list(packed.values()), position, more

    def _divided(self, pages: Iterator[Page]) -> Iterator[_Some]:
        """Pages one by one, or, where many lanes share them, as one."""
        if len(self._works) < MANY:
            for page in pages:
                yield _Some(page.events, page.bad, page.last, page.more)
            return
        from logstream.batches import Events

        every = list(pages)
        found = [Events.of(page.events) for page in every if page.batch is not None]
        last = max((page.last for page in every if page.last is not None), default=None)
        bad = [row for page in every for row in page.bad]
        yield _Some(Events.joined(found) if found else (), bad, last, every[-1].more)


class _Some(NamedTuple):
    """Some pages' events and rows that are none, the place of the last, and whether there may be more."""

    events: Sequence[Event]
    bad: Sequence[tuple[Event, str]]
    last: Cursor | None
    more: bool
