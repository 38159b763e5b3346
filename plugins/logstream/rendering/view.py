"""One event while a message is made of it: taken apart once, however many placeholders look into it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec

from logstream.events import EPOCH_UNIX_US, Event
from logstream.jsonpath.compiled import Path
from logstream.jsonpath.search import Work, find
from logstream.jsontext import dumps, loads
from logstream.rendering.schemas.base import Described
from logstream.settings.resolution import Workspace
from logstream.shapes import facts_of, read_head, type_of, unix_us
from logstream.shapes.facts import text

_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class EventView:
    """An event, its workspace, its JSON as it is sent (masked), and what has been read of it so far."""

    def __init__(self, event: Event, workspace: Workspace, payload: bytes) -> None:
        self.event, self.workspace, self.payload = event, workspace, payload
        self._members: dict[tuple[str, ...], Mapping[str, Any] | None] = {}
        self._work = Work(len(payload))

    @property
    def happened_us(self) -> int:
        """When it happened, in microseconds since 1970, as receivers are told."""
        return unix_us(self.event)

    @property
    def recorded_us(self) -> int:
        """When it was recorded, in microseconds since 1970."""
        return self.event[4] + EPOCH_UNIX_US

    @cached_property
    def type(self) -> str:
        """What happened, as the event says it; `event` where it does not."""
        return text(type_of(self.event[2], read_head(self.payload))) or "event"

    @cached_property
    def document(self) -> Any:
        """The parsed JSON. Raises `BadEvent` for an event that is none."""
        return loads(self.payload)

    @cached_property
    def described(self) -> Described:
        """What the schemas are made from."""
        try:
            document = msgspec.json.decode(self.payload)
        except _UNREADABLE:
            document = self.document
        facts = facts_of(self.event[2], document)
        return Described(facts, self.payload, self.event[0], self.workspace, self.happened_us, self.recorded_us)

    def value(self, path: Path) -> bytes:
        """The JSON of what a path finds: nothing gives `null`, one match the value, several an array.

        Raises `BadEvent` for an event that is no JSON, `TooMuchWork` for a search that takes too long.
        """
        names = path.plain_names
        if names:
            members = self._object(names[:-1])
            if members is not None:
                # the value comes out as it was written
                return bytes(members.get(names[-1], b"null"))
        found = [holder[key] for holder, key in find(path, self.document, self._work)]
        if len(found) < 2:
            return self._written(found[0]) if found else b"null"
        return b"[" + b",".join(map(self._written, found)) + b"]"

    def _object(self, names: tuple[str, ...]) -> Mapping[str, Any] | None:
        """The members of the object at `names`, in their bytes; `None` where there is none, or msgspec reads none."""
        if names not in self._members:
            members = None
            within = self._object(names[:-1]) if names else None
            text = self.payload if not names else within.get(names[-1]) if within is not None else None
            if text is not None:
                try:
                    members = _raw_object.decode(text)
                except _UNREADABLE:
                    members = None
            self._members[names] = members
        return self._members[names]

    def _written(self, value: Any) -> bytes:
        text = dumps(value)
        self._work.spend(len(text) // 8)
        return text
