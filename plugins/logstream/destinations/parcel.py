"""Parcels: what one request or one object carries. Packers cut a lane's messages into them, always in the same places."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import ClassVar, NamedTuple

from logstream.errors import BadEvent
from logstream.events import Cursor, Event
from logstream.messages import Messages
from logstream.tracebacks import words_of
from logstream.window import Window

Tally = Counter[tuple[int, str]]
"""Events by (workspace id, kind)."""

tally_key = itemgetter(1, 2)
"""An event's key in a `Tally`."""

_workspace_id = itemgetter(1)


class EventRef(NamedTuple):
    """An event's name."""

    id: int
    workspace_id: int
    kind: str


class Part(NamedTuple):
    """What a manifest says of one object or request.

    `sha256` is of its bytes as they are sent. `ids` is the log store's id of its one event, or of several the SHA-256 of their
    ids in order, in decimal, a line each (`ids_digest`).
    """

    name: str
    bytes: int
    sha256: str
    events: int
    ids: str


class UsedNames:
    """Names of objects that a delivery has put, or was about to put, with the events in them.

    An object is replaced by one of the very same events or by none: fewer, or others, could replace the only copy of what the log
    store has purged, whatever the settings were and whenever it was purged.
    """

    def __init__(self, parts: Iterable[Part] = (), *, forgotten: bool = False) -> None:
        self._forgotten = forgotten
        """Whether some are not known any more: any other name may be one."""
        self._ids: dict[str, set[str]] = {}
        for part in parts:
            self._ids.setdefault(part.name, set()).add(part.ids)

    def for_others(self, name: str, ids: str) -> bool:
        """Whether a name is, or may be, that of an object with other events than these (`Part.ids`)."""
        found = self._ids.get(name)  # asked for each event where each is an object: mostly nothing is there
        return self._forgotten if found is None else found != {ids}


@dataclass(frozen=True, slots=True)
class LaneRef:
    """The lane that is being packed; keys and idempotency keys are made of it."""

    destination: str
    window: Window
    lane: int
    lanes: int
    external_ids: Mapping[int, str | None] = field(default_factory=dict, compare=False)
    """Of workspaces, where the destination's keys want them (`needs_external_ids`)."""
    contents: Mapping[int, str] = field(default_factory=dict, compare=False)
    """Workspace id to a digest of the settings that shape its messages: idempotency keys name them."""
    masks: Mapping[int, Callable[[bytes], bytes]] = field(default_factory=dict, compare=False)
    """Workspace id to what masks the payload of its events, where any is masked."""
    used: UsedNames = field(default_factory=UsedNames, compare=False)
    """Names that are not for other events than they have: a packer that makes objects asks `used.for_others`."""

    def shown(self, event: Event) -> Event:
        """An event as it may be shown outside: what is masked in its message is in no name either."""
        mask = self.masks.get(event[1])
        return event if mask is None else event._replace(payload=mask(event[5]))


def sha256(data: bytes) -> str:
    """The digest in hex."""
    return hashlib.sha256(data).hexdigest()


def ids_digest(events: Sequence[Event] | Sequence[EventRef]) -> str:
    """`Part.ids`."""
    if len(events) == 1:
        return str(events[0][0])
    return sha256(id_lines([event[0] for event in events]))


def id_lines(ids: Sequence[int]) -> bytes:
    """Ids of events, a line each."""
    return b"%d\n" * len(ids) % tuple(ids)


@dataclass(slots=True)
class Parcel:
    """One request or object. `name` is its object key or idempotency key: the same whenever it is made again.

    `sizes` are the bytes of each workspace's messages. `parts` is what a manifest will say of it. `events` and `messages` are
    kept only where a receiver may refuse single events or want smaller requests. One that is `refused` is not sent: it says
    why its event cannot be.
    """

    name: str
    body: bytes
    last: Cursor
    tally: Tally
    sizes: Counter[int]
    parts: list[Part]
    events: list[EventRef] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    refused: str | None = None
    number: int | None = None
    """The number in its name, where it has one: the next has a higher one."""

    @property
    def size(self) -> int:
        """Bytes to send."""
        return len(self.body)

    @property
    def requests(self) -> int:
        """How many requests it takes."""
        return 1

    @property
    def pieces(self) -> int:
        """How many things in it a receiver may take or refuse for themselves."""
        return len(self.events)


@dataclass(slots=True)
class Bundle(Parcel):
    """Many small objects that are put one after another by one thread: what is done for each must be little."""

    objects: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all objects."""
        return sum(len(body) for _, body in self.objects)

    @property
    def requests(self) -> int:
        """One for each object."""
        return len(self.objects)

    @property
    def pieces(self) -> int:
        """The objects."""
        return len(self.objects)


class Packer(ABC):
    """Cuts messages into parcels. Where it cuts depends on the messages alone, not on how they come in."""

    needs_all_before: ClassVar[bool] = False
    """Whether what it makes of an event depends on all events of the lane before it, so that a resumed lane is read from its
    beginning and shown to `remember`."""

    @property
    def held(self) -> int:
        """About how many bytes it holds of parcels that are not full; 0 where that is never much."""
        return 0

    def remember(self, events: Sequence[Event]) -> None:  # noqa: B027 - most packers need to know nothing
        """Take note of events that an earlier attempt delivered."""

    @abstractmethod
    def pack(self, events: Sequence[Event], messages: Messages) -> Iterable[Parcel]:
        """Take the next messages of the lane, in order; return the parcels that are full."""

    @abstractmethod
    def finish(self) -> Iterable[Parcel]:
        """The last parcel, if there is one."""


def refused_parcel(name: str, event: Event, reason: str) -> Parcel:
    """A parcel that is not sent: its one event is rejected in its place in the order."""
    reference = EventRef(event.id, event.workspace_id, event.kind)
    tally, sizes = tally_of([reference]), sizes_of([reference], [0])
    return Parcel(name, b"", cursor_of(event), tally, sizes, [], [reference], [b""], refused=reason)


def broken_parcel(name: str, event: Event, error: Exception) -> Parcel:
    """The same for an event for which a destination's code raised."""
    return refused_parcel(name, event, why_broken(error))


def why_broken(error: Exception) -> str:
    """What is said of an event for which a destination's code raised: of that event alone, whatever the code."""
    text = str(error) if isinstance(error, BadEvent) else f"{type(error).__name__}: {words_of(error)}"
    return f"it cannot be made ready for sending ({text[:300]})"


def tally_of(events: Iterable[Event] | Iterable[EventRef]) -> Tally:
    """Count events by workspace and kind."""
    return Counter(map(tally_key, events))


def sizes_of(events: Iterable[Event] | Iterable[EventRef], lengths: Iterable[int]) -> Counter[int]:
    """Bytes of messages by workspace id."""
    sizes: Counter[int] = Counter()
    add_sizes(sizes, map(_workspace_id, events), lengths)
    return sizes


def add_sizes(sizes: Counter[int], workspaces: Iterable[int], lengths: Iterable[int]) -> None:
    """Add bytes of messages to those of their workspaces."""
    get = sizes.get
    for workspace, length in zip(workspaces, lengths, strict=True):
        sizes[workspace] = get(workspace, 0) + length


def cursor_of(event: Event) -> Cursor:
    """The place after an event."""
    return Cursor(event[4], event[0])
