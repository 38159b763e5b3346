"""How a lane's messages become objects: one for each event, or batches."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress

from logstream.destinations.parcel import (
    Bundle,
    LaneRef,
    Packer,
    Parcel,
    Part,
    Tally,
    add_sizes,
    broken_parcel,
    cursor_of,
    id_lines,
    sha256,
    sizes_of,
    tally_of,
)
from logstream.destinations.transport.compression import SUFFIX, Compression, Stream, compress
from logstream.destinations.transport.layouts import Layout
from logstream.events import Event
from logstream.messages import Messages

OBJECT_BYTES = 32 * 1024 * 1024
"""A batch object is cut when it holds this much before compression, unless the option `object_mb` says otherwise."""

LINES_AT_ONCE = 128
BUNDLE_OBJECTS = 32
BUNDLE_BYTES = 4 * 1024 * 1024


def batch_name(prefix: str, layout: Layout, suffix: str, lane: LaneRef, part: int, ids: str) -> tuple[str, int]:
    """The name of a batch and its number: the first from `part` on that no other events have."""
    while lane.used.for_others(name := f"{prefix}{layout.batch_key(lane, part)}{suffix}", ids):
        part += 1
    return name, part


class EventPacker(Packer):
    """One object for each event, many of them a parcel.

    Two rows of a window that the platform's rule gives one name (the same job, finished in the same second with the same
    status, recorded twice) must both be kept: the later gets the log store's id into its name.
    """

    needs_all_before = True

    def __init__(self, prefix: str, compression: Compression, lane: LaneRef, layout: Layout, threads: int = 1) -> None:
        self._prefix, self._compression, self._lane, self._layout = prefix, compression, lane, layout
        self._threads = threads
        self._suffix = SUFFIX[compression]
        self._used: set[bytes] = set()
        self._begin()

    def remember(self, events: Sequence[Event]) -> None:
        """Take note of events delivered by an earlier attempt, so that names come out as they would have."""
        for event in events:
            with suppress(Exception):  # it has no name, and was rejected
                self._name(event)

    def pack(self, events: Sequence[Event], messages: Messages) -> Iterator[Parcel]:
        """Bundles of objects, cut when they are full."""
        for event, message in zip(events, messages, strict=True):
            try:
                key = self._name(event)
            except Exception as error:
                # what is in the order before it comes before it
                if self._objects:
                    yield self._bundle(0, len(self._objects))
                    self._begin()
                yield broken_parcel(f"{self._prefix}{event.id}", event, error)
                continue
            self._events.append(event)
            self._lengths.append(len(message))
            body = compress(message, self._compression)
            self._objects.append((key, body))
            self._parts.append(Part(key, len(body), sha256(body), 1, str(event[0])))
            self._size += len(message)
            if len(self._objects) >= BUNDLE_OBJECTS or self._size >= BUNDLE_BYTES:
                yield self._bundle(0, len(self._objects))
                self._begin()

    def _begin(self) -> None:
        self._events: list[Event] = []
        self._lengths: list[int] = []
        self._objects: list[tuple[str, bytes]] = []
        self._parts: list[Part] = []
        self._size = 0

    def _bundle(self, start: int, stop: int) -> Bundle:
        events = self._events[start:stop]
        objects = self._objects[start:stop]
        sizes = sizes_of(events, self._lengths[start:stop])
        parts = self._parts[start:stop]
        return Bundle(objects[0][0], b"", cursor_of(events[-1]), tally_of(events), sizes, parts, objects=objects)

    def finish(self) -> Iterator[Parcel]:
        """What is left, divided so that all threads have some: a small lane shall not wait for one thread."""
        each = max(1, -(-len(self._objects) // self._threads))
        for start in range(0, len(self._objects), each):
            yield self._bundle(start, start + each)

    def _name(self, event: Event) -> str:
        name = self._layout.event_key(event, self._lane)
        key = f"{self._prefix}{name}{self._suffix}"
        mark = hashlib.blake2b(name.encode(), digest_size=8).digest()
        if mark in self._used or self._lane.used.for_others(key, str(event.id)):
            key = f"{self._prefix}{name.removesuffix('.json')}-{event.id}.json{self._suffix}"
        self._used.add(mark)
        return key


class BatchPacker(Packer):
    """NDJSON objects, cut after the event with which they reach `object_bytes`, compressed as they grow."""

    def __init__(
        self, prefix: str, compression: Compression, lane: LaneRef, part: int,
        layout: Layout, object_bytes: int | None = None,
    ) -> None:  # fmt: skip
        self._prefix, self._compression, self._lane, self._part, self._layout = prefix, compression, lane, part, layout
        self._object_bytes = object_bytes or OBJECT_BYTES
        self._begin()

    @property
    def held(self) -> int:
        """See `Packer.held`."""
        return self._stream.held if self._stream is not None else 0

    def _begin(self) -> None:
        self._stream: Stream | None = None
        self._size = 0
        self._tally: Tally = Tally()
        self._sizes: Counter[int] = Counter()
        self._ids = hashlib.sha256()
        self._first: Event | None = None
        self._last: Event | None = None

    def pack(self, events: Sequence[Event], messages: Messages) -> Iterator[Parcel]:
        """Add messages; return the objects that are full."""
        start, lengths = 0, messages.sizes
        while start < len(events):
            stop = self._cut(lengths, start)
            self._add(events[start:stop], messages[start:stop], lengths[start:stop])
            if self._size >= self._object_bytes:
                yield self._end()
            start = stop

    def _cut(self, lengths: list[int], start: int) -> int:
        """Where the object is full: the index after its last message, or the end."""
        room = self._object_bytes - self._size
        if sum(lengths[start:]) + len(lengths) - start < room:
            return len(lengths)
        size = 0
        for index in range(start, len(lengths)):
            size += lengths[index] + 1
            if size >= room:
                return index + 1
        return len(lengths)

    def _add(self, events: Sequence[Event], messages: Messages, lengths: list[int]) -> None:
        if self._stream is None:
            self._stream = Stream(self._compression)
        for start in range(0, len(messages), LINES_AT_ONCE):
            # small enough to stay in the processor's cache from being joined to being compressed
            block = messages[start : start + LINES_AT_ONCE].lines()
            self._stream.write(block)
            self._size += len(block)
        ids, workspaces, kinds, *_ = zip(*events, strict=True)
        self._tally.update(zip(workspaces, kinds, strict=True))
        add_sizes(self._sizes, workspaces, lengths)
        self._ids.update(id_lines(ids))
        self._first = self._first or events[0]
        self._last = events[-1]

    def _end(self) -> Parcel:
        assert self._stream is not None and self._first is not None and self._last is not None  # noqa: S101 - added before
        body = self._stream.finish()
        ids = str(self._first.id) if self._tally.total() == 1 else self._ids.hexdigest()
        suffix = f".ndjson{SUFFIX[self._compression]}"
        name, number = batch_name(self._prefix, self._layout, suffix, self._lane, self._part, ids)
        part = Part(name, len(body), sha256(body), self._tally.total(), ids)
        parcel = Parcel(name, body, cursor_of(self._last), self._tally, self._sizes, [part], number=number)
        self._part = number + 1
        self._begin()
        return parcel

    def finish(self) -> Iterator[Parcel]:
        """The last object, if anything is in it."""
        if self._last is not None:
            yield self._end()
