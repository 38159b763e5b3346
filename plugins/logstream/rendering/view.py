"""One event while a message is made of it: taken apart once, however many placeholders look into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from logstream.jsontext import dumps, loads
from logstream.rendering.jsonpath import Path
from logstream.rendering.search import Work, find

_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class EventView:
    """An event's JSON, and what has been read of it so far."""

    __slots__ = ("_document", "_members", "_work", "payload")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self._members: dict[tuple[str, ...], Mapping[str, Any] | None] = {}
        self._document: Any = self  # nothing parsed so far: any JSON value may be in its place later
        self._work = Work(len(payload))

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
        if self._document is self:
            self._document = loads(self.payload)
        found = [holder[key] for holder, key in find(path, self._document, self._work)]
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
