"""Masks: fields of an event that its owner does not want to leave. Their values become `"masked"`, whatever they were.

A path of plain names is spliced into the bytes; anything else is jsonpath-ng over the parsed event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import orjson
from jsonpath_ng.ext import parse

from logstream.jsontext import dumps, loads
from logstream.rendering.jsonpath import plain_names

MASKED = "masked"

_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Masks:
    """The masks of one setting, compiled."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._masks = [_plain(names, path) if (names := plain_names(path)) else _parsing(path) for path in paths]

    def apply(self, payload: bytes) -> bytes:
        """The event with its fields masked; one that holds none of them keeps its bytes. Raises `BadEvent` for no JSON."""
        for mask in self._masks:
            payload = mask(payload)
        return payload


def _parsing(path: str) -> Callable[[bytes], bytes]:
    expression = parse(path)

    def mask(payload: bytes) -> bytes:
        event: Any = loads(payload)
        if not expression.find(event):
            return payload
        expression.update(event, MASKED)
        return dumps(event)

    return mask


def _plain(names: Sequence[str], path: str) -> Callable[[bytes], bytes]:
    parsing = _parsing(path)
    sign = b'"%s"' % names[-1].encode()

    def mask(payload: bytes) -> bytes:
        # a name may be written with escapes; else a field cannot be there if its name is not
        if sign not in payload and b"\\u" not in payload:
            return payload
        try:
            return _splice(payload, names)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return parsing(payload)  # JSON that msgspec refuses

    return mask


def _splice(value: bytes, names: Sequence[str]) -> bytes:
    if value[:1] != b"{" and not value.lstrip().startswith(b"{"):
        return value  # no object, so nothing of this name
    members: dict[str, Any] = _raw_object.decode(value)
    old = members.get(names[0])
    if old is None:
        return value
    # put together anew even where nothing changes: of a key that stands there twice, only the masked one shall stay
    members[names[0]] = _splice(bytes(old), names[1:]) if len(names) > 1 else orjson.dumps(MASKED)
    return b"{" + b",".join([orjson.dumps(key) + b":" + bytes(item) for key, item in members.items()]) + b"}"
