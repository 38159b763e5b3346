"""Masks: fields of an event that its owner does not want to leave. Their values become `"masked"`, whatever they were.

What matches is decided on the event as it came; then everything that matched is replaced. Masks of plain names are spliced
into the bytes; if any other is among them, the event is parsed. A key may be spelt in many ways (`"pass\\u0077ord"`,
`"a\\/b"`) and stand in an object twice: of an object that is written anew only the last of equal keys is left.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from logstream.errors import BadForSetting
from logstream.events import MASKED
from logstream.jsonpath.compiled import Path, PathError, compile_path, compile_widened
from logstream.jsonpath.search import TooMuchWork, Work, find
from logstream.jsontext import dumps, loads

_MASKED = orjson.dumps(MASKED)
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_WITHOUT_ESCAPES = re.compile(r"[A-Za-z0-9_ -]+\Z")

_Tree = dict[str, "_Tree | None"]
"""Names to mask: `{"user": {"email": None}}` for `$.user.email`."""


def check_mask(path: str) -> None:
    """Raise `ValueError` for a mask that cannot be used, with the reason and where there is one the position."""
    if not path.startswith("$."):
        raise ValueError("a JSONPath begins with $.")
    try:
        compile_path(path)
    except PathError as error:
        where = f" (position {error.offset + 1})" if error.offset is not None else ""
        raise ValueError(f"no JSONPath for a mask: {error}{where}") from None


class Masks:
    """The masks of one setting, compiled.

    `problem` says which stored mask is not allowed any more; then everything below its longest allowed beginning is
    masked: more than was asked for, never less.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths: list[Path] = []
        self.problem: str | None = None
        for text in paths:
            path, reason = compile_widened(text)
            self._paths.append(path)
            if reason is not None and self.problem is None:
                self.problem = f"the mask {text} cannot be used, so more is masked than it says: {reason}"
        names = [path.plain_names for path in self._paths]
        self._tree = _tree(names) if all(names) else None
        self._signs = _signs(names) if all(names) else ()

    def apply(self, payload: bytes) -> bytes:
        """The event with its fields masked; one that holds none of them keeps its bytes.

        Raises `BadEvent` for an event that is no JSON, `BadForSetting` for one in which looking for the fields takes too long.
        """
        if self._tree is None:
            return self._by_search(payload)
        if self._signs and b"\\u" not in payload and not any(sign in payload for sign in self._signs):
            return payload
        if payload[:1] != b"{":
            return self._by_search(payload)  # no object, or white space before it
        try:
            return _splice(payload, self._tree)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._by_search(payload)  # JSON that msgspec refuses

    def _by_search(self, payload: bytes) -> bytes:
        repeated: list[str] = []
        event = [loads(payload, repeated=repeated)]
        work = Work(len(payload))
        try:
            places = [place for path in self._paths for place in find(path, event[0], work)]
        except TooMuchWork as error:
            raise BadForSetting(f"its fields cannot be masked: {error}") from None
        if not places and not repeated:
            return payload
        for holder, key in places:
            holder[key] = MASKED
        if any(not path.steps for path in self._paths):
            return _MASKED
        return dumps(event[0])


def _tree(paths: Sequence[tuple[str, ...]]) -> _Tree:
    root: _Tree = {}
    for names in paths:
        branch = root
        for name in names[:-1]:
            inner = branch.setdefault(name, {})
            if inner is None:  # a shorter mask covers this one
                break
            branch = inner
        else:
            branch[names[-1]] = None
    return root


def _signs(paths: Sequence[tuple[str, ...]]) -> tuple[bytes, ...]:
    """What an event holds if it has a field to mask, unless it writes the name with `\\u`; empty if that cannot be told."""
    last = [names[-1] for names in paths]
    if not all(map(_WITHOUT_ESCAPES.match, last)):
        return ()
    return tuple(sorted({b'"%s"' % name.encode() for name in last}))


def _splice(value: bytes, wanted: _Tree) -> bytes:
    if value[:1] != b"{" and not value.lstrip().startswith(b"{"):
        return value  # no object, so nothing of these names
    members: dict[str, Any] = _raw_object.decode(value)
    there = [name for name in wanted if name in members]
    if not there:
        return value
    # put together anew even where nothing changes: of a key that stands there twice, only the masked one shall stay
    for name in there:
        inner = wanted[name]
        members[name] = _MASKED if inner is None else _splice(bytes(members[name]), inner)
    return b"{" + b",".join([orjson.dumps(key) + b":" + bytes(item) for key, item in members.items()]) + b"}"
