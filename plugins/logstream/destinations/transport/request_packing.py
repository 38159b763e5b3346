"""How a lane's messages become requests: as full as the receiver's limits allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from logstream.destinations.base import Limits, Options
from logstream.destinations.parcel import EventRef, LaneRef, Packer, Parcel, broken_parcel, refused_parcel
from logstream.destinations.transport.idempotency import KeyPrefixes
from logstream.events import Event
from logstream.messages import Messages

REQUEST_BYTES = 1_000_000
"""A request of a destination that names no limit at all: a request is held in memory until it is full."""


class RequestMaker(Protocol):
    """What is asked of a destination to fill its requests."""

    @property
    def type(self) -> str:
        """Its type."""

    @property
    def title(self) -> str:
        """Its name for people."""

    @property
    def options(self) -> Options:
        """Its options, which shape its requests."""

    @property
    def limits(self) -> Limits:
        """What its receiver takes."""

    @property
    def envelope(self) -> int:
        """Bytes around all entries of a request."""

    def entry(self, event: Event, message: bytes) -> bytes:
        """What stands in a request for one event."""

    def parcel(self, prefix: str, events: list[EventRef], messages: list[bytes], like: Parcel | Event) -> Parcel:
        """A request with these entries."""


def options_too_large(destination: RequestMaker) -> str | None:
    """Why a destination's options leave too little room for its events; `None` where they do not.

    They may take half of a request, and half of what one event may take.
    """
    own = len(destination.entry(Event(0, 0, "job", 0, 0, b"{}"), b"{}"))
    for room, taken in ((destination.limits.bytes, own + destination.envelope), (destination.limits.event_bytes, own)):
        if room is not None and taken > room // 2:
            return (
                f"they take {taken:,} bytes of a request beside each event; {destination.title} takes at most {room:,}, and "
                "at least half of that is for the events: make their texts shorter"
            )
    return None


class RequestPacker(Packer):
    """Fills requests up to the limits, in order."""

    def __init__(self, destination: RequestMaker, lane: LaneRef) -> None:
        self._destination = destination
        self._limits = limits = destination.limits
        most = REQUEST_BYTES if limits.bytes is None and limits.events is None else limits.bytes
        self._room = None if most is None else most - destination.envelope
        # the most that one event may take; where each is a request of its own, the receiver knows better
        sizes = [size for size in (self._room, limits.event_bytes) if size is not None]
        self._alone = min(sizes) if sizes and limits.events != 1 else None
        self._prefixes = KeyPrefixes(destination.type, destination.options, lane)
        self._events: list[Event] = []
        self._messages: list[bytes] = []
        self._size = 0

    def pack(self, events: Sequence[Event], messages: Messages) -> Iterator[Parcel]:
        """Add messages; return the requests that are full: by these and by nothing else, so not by where a page ends."""
        for event, rendered in zip(events, messages, strict=True):
            try:
                message = self._destination.entry(event, rendered)
            except Exception as error:
                if self._events:
                    yield from self._end()
                yield broken_parcel(self._alone_key(event), event, error)
                continue
            # two bytes for what stands between messages and around them
            size = len(message) + 2
            problem = self._too_large(size, len(rendered))
            if problem:
                if self._events:
                    yield from self._end()
                yield self._refused(event, problem)
                continue
            if self._events and self._room is not None and self._size + size > self._room:
                yield from self._end()
            self._events.append(event)
            self._messages.append(message)
            self._size += size
            if len(self._events) == self._limits.events:
                yield from self._end()

    def _too_large(self, size: int, message_size: int) -> str | None:
        """Why an event of so many bytes cannot be in any request."""
        most = self._limits.message_bytes
        if most is not None and message_size > most:
            return f"its message has {message_size:,} bytes; {self._destination.title} takes at most {most:,}"
        if self._alone is not None and size > self._alone:
            return f"it takes {size:,} bytes of a request; {self._destination.title} takes at most {self._alone:,}"
        return None

    def _refused(self, event: Event, reason: str) -> Parcel:
        return refused_parcel(self._alone_key(event), event, reason)

    def _alone_key(self, event: Event) -> str:
        """The name of a request that is never sent."""
        return f"{self._prefixes.of([event])}-{event.id}"

    def _end(self) -> Iterator[Parcel]:
        """The request, or, where its body cannot be made, smaller ones: without the event that it cannot be made of."""
        events, messages = self._events, self._messages
        self._events, self._messages, self._size = [], [], 0
        yield from self._made(events, messages)

    def _made(self, events: list[Event], messages: list[bytes]) -> Iterator[Parcel]:
        references = [EventRef(event.id, event.workspace_id, event.kind) for event in events]
        try:
            parcel = self._destination.parcel(self._prefixes.of(events), references, messages, events[-1])
        except Exception as error:
            if len(events) == 1:
                yield broken_parcel(self._alone_key(events[0]), events[0], error)
                return
            middle = len(events) // 2
            yield from self._made(events[:middle], messages[:middle])
            yield from self._made(events[middle:], messages[middle:])
        else:
            yield parcel

    def finish(self) -> Iterator[Parcel]:
        """The last request, if anything is in it."""
        if self._events:
            yield from self._end()
