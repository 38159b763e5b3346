"""JSON as text: what can be known and cut without parsing, and what parsing must not lose.

Payloads are spliced, not parsed; the few rules that need to look inside use msgspec (which keeps the bytes of what it does
not need) and, for the rare text that msgspec refuses although it is JSON (lone surrogates in escapes), the standard
library with numbers kept as they were written.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from logstream.errors import BadEvent

MAX_DEPTH = 512
"""Levels of nesting an event may have. Receivers' parsers give up between 512 and 1,024."""

SHALLOW_BYTES = 2 * MAX_DEPTH
"""JSON of no more bytes cannot be nested deeper: a level of arrays costs two."""

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NOT_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def not_shallow(payloads: Sequence[bytes], together: bytes) -> list[bytes]:
    """Those of some JSON texts that are large enough to be nested deeper than `MAX_DEPTH`; `together` has all of them in it.

    A level of objects costs at least five bytes, and one of arrays two: few arrays in all of them rule out most of them.
    """
    if len(together) <= SHALLOW_BYTES:
        return []
    most, at = 5 * MAX_DEPTH - 1, together.find(b"[")
    while at >= 0 and most > SHALLOW_BYTES:  # where a byte is rare, this is several times as fast as `count`
        most, at = most - 3, together.find(b"[", at + 1)
    return [payload for payload in payloads if len(payload) > max(SHALLOW_BYTES, most)]


def may_nest_deeply(payload: bytes) -> bool:
    """Whether JSON is large enough, and has enough brackets, to be nested deeper than `MAX_DEPTH`. Nearly free."""
    size = len(payload)
    if size <= SHALLOW_BYTES:
        return False
    arrays = payload.count(b"[")
    if size - 2 * arrays < 5 * (MAX_DEPTH - arrays):  # a level of objects costs at least five: {"":}
        return False
    return arrays + payload.count(b"{") > MAX_DEPTH


def refuse_deep_nesting(payload: bytes) -> None:
    """Raise `BadEvent` for JSON nested deeper than `MAX_DEPTH`. Linear, and nearly free for ordinary events."""
    if not may_nest_deeply(payload):
        return
    depth = deepest = 0
    for bracket in _STRINGS.sub(b"", payload).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"{[" else -1
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise BadEvent(f"its JSON is nested {deepest:,} levels deep; the limit is {MAX_DEPTH}")


def one_line(payload: bytes) -> bytes:
    """The same JSON without line breaks: valid JSON has them between tokens only, where a space does as well."""
    if b"\n" in payload or b"\r" in payload:
        return payload.translate(_LINE_BREAKS)
    return payload


def as_string(payload: bytes) -> bytes:
    """JSON text as a JSON string, quotes included."""
    return orjson.dumps(payload.decode("utf-8"))


def with_member(message: bytes, name: str, text: str, otherwise: str, is_good: Callable[[Any], bool]) -> bytes:
    """A JSON object with one more member, a text, at its front; one that has a good member of that name stays as it is.

    JSON that is no object becomes one, with that JSON's text as the member `otherwise`.
    """
    message = message.strip()
    member = b"{" + orjson.dumps(name) + b":" + orjson.dumps(text)
    if not message.startswith(b"{"):
        return member + b"," + orjson.dumps(otherwise) + b":" + as_string(message) + b"}"
    # an escape may spell the name, too: of ASCII, as names are
    if name.encode() in message or b"\\u00" in message:
        try:
            members = loads(message)
            if name in members:
                return message if is_good(members[name]) else dumps({**members, name: text})
        except BadEvent:
            pass  # no JSON: the receiver shall say so, of this event alone
    rest = message[1:].lstrip()
    return member + (b"" if rest == b"}" else b",") + rest


def without_lines(payload: bytes, replacement: bytes | None = None) -> bytes:
    """A job without its top-level `lines`, or with `replacement` (JSON) in their place; all else byte for byte."""
    if b'"lines"' not in payload and b"\\u" not in payload:
        return payload
    try:
        members: Mapping[str, Any] = _raw_object.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        document = loads(payload)
        if not isinstance(document, dict) or "lines" not in document:
            return payload
        if replacement is None:
            del document["lines"]
        else:
            document["lines"] = loads(replacement)
        return dumps(document)
    if "lines" not in members:
        return payload
    parts = []
    for key, value in members.items():
        if key != "lines":
            parts.append(orjson.dumps(key) + b":" + bytes(value))
        elif replacement is not None:
            parts.append(b'"lines":' + replacement)
    return b"{" + b",".join(parts) + b"}"


class Number(float):
    """A number that is written back as it was read: 1e400 and 0.10 survive."""

    text: str

    def __new__(cls, text: str) -> Number:
        """Keep the text beside the value (which may be infinite)."""
        number = super().__new__(cls, text)
        number.text = text
        return number


def _integer(text: str) -> int | Number:
    # int() refuses more than 4,300 digits, and forgets the sign of -0
    return int(text) if len(text) < 1_000 and text != "-0" else Number(text)


def loads(payload: bytes, *, repeated: list[str] | None = None) -> Any:
    """Parse any JSON that PostgreSQL's `json` takes, losing nothing but the first of equal keys.

    The names of keys that stand in one object twice are added to `repeated`. Raises `BadEvent` where it is no JSON.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs) and repeated is not None:
            repeated.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return members

    try:
        return json.loads(
            payload.decode("utf-8", "surrogatepass"),
            parse_float=Number,
            parse_int=_integer,
            parse_constant=_no_constant,
            object_pairs_hook=once if repeated is not None else None,
        )
    except (ValueError, RecursionError) as error:
        raise BadEvent(f"its payload is not JSON: {error}") from None


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def dumps(value: Any) -> bytes:
    """Write what `loads` read. Lone surrogates come out as the escapes they were."""
    parts: list[str] = []
    _write(value, parts)
    return "".join(parts).encode("ascii")


def indented(text: str) -> str:
    """JSON with a line for each value, for people to read. Any number stays as it is written."""
    parts: list[str] = []
    depth, before = 0, ""
    for piece in _TOKENS.findall(text):
        if piece in "}]":
            depth -= 1
            parts.append("" if before in "{[" and before else "\n" + "  " * depth)
        elif before and before in "{[,":
            parts.append("\n" + "  " * depth)
        parts.append(": " if piece == ":" else piece)
        depth += piece in "{["
        before = piece
    return "".join(parts)


_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def _write(value: Any, parts: list[str]) -> None:
    if isinstance(value, Number):
        parts.append(value.text)
    elif isinstance(value, Mapping):
        parts.append("{")
        for index, (key, item) in enumerate(value.items()):
            parts.append(("," if index else "") + json.dumps(str(key)) + ":")
            _write(item, parts)
        parts.append("}")
    elif isinstance(value, list | tuple):
        parts.append("[")
        for index, item in enumerate(value):
            if index:
                parts.append(",")
            _write(item, parts)
        parts.append("]")
    else:
        parts.append(json.dumps(value, allow_nan=False))
