"""Message templates: JSON with placeholders, compiled once into constant pieces and slots.

Placeholders: those of `placeholders`, each also in double braces, and JSONPaths, `{{{$.json.path}}}`.

Where a placeholder stands decides what it becomes, so that the result is always valid JSON:

- as a value, it is JSON: the event as it is, its text as a quoted string, a time as a quoted string, an epoch as a number;
- inside a string, it is that string's text: escaped, and without quotes of its own (`"{{{now}}}"` and `{{{now}}}` give the
  same);
- in a key, it is refused.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from logstream.errors import TemplateError
from logstream.jsonpath.compiled import PathError, compile_path
from logstream.jsontext import as_string
from logstream.rendering.placeholders import EVENT, WORKSPACE, Extract
from logstream.rendering.schemas import SCHEMAS
from logstream.rendering.view import EventView
from logstream.settings.explaining import did_you_mean

MAX_TEMPLATE_BYTES = 100_000
MAX_TEMPLATE_DEPTH = 100
MAX_PLACEHOLDERS = 500


def _now(now_ns: int) -> str:
    moment = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{now_ns // 1_000_000 % 1_000:03d}+00:00"


def _now_utc(now_ns: int) -> str:
    return f"{now_ns // 1_000_000}.{now_ns // 100 % 10_000:04d}"


def _now_utc_micro(now_ns: int) -> str:
    return str(now_ns // 1_000)


TIMES: dict[str, tuple[Callable[[int], str], bool]] = {
    "now": (_now, True),
    "now_utc": (_now_utc, False),
    "now_utc_micro": (_now_utc_micro, False),
    "now_utc_nano": (str, False),
}
"""Placeholder to (its text from nanoseconds since 1970, whether that text needs quotes as a value)."""

NAMES = (*EVENT, *WORKSPACE, *TIMES)

NAMING_WORKSPACE = frozenset({*WORKSPACE, *SCHEMAS})
"""The placeholders that want to know the workspace's name and external id."""

_AS_VALUE = re.compile(r"\{\{\{([^{}\n]+)\}\}\}|\{\{([^{}\n]+)\}\}")
_IN_STRING = re.compile(r'\{\{\{([^{}\n"]+)\}\}\}|\{\{([^{}\n"]+)\}\}')


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a template that the event fills: what with, and whether inside a string."""

    name: str
    in_string: bool
    extract: Extract

    def fill(self, event: EventView) -> bytes:
        """The bytes for this slot. Raises `TooMuchWork` for a path that looks at too much of the event."""
        value = self.extract(event)
        if not self.in_string:
            return value
        # a string's text goes into a string as it is, other JSON as its text
        return value[1:-1] if value[:1] == b'"' else as_string(value)[1:-1]


@dataclass(frozen=True, slots=True)
class Clock:
    """A place that the lane's instant fills."""

    name: str
    quoted: bool

    def fill(self, now_ns: int) -> bytes:
        """The bytes for this place."""
        text = TIMES[self.name][0](now_ns)
        return (f'"{text}"' if self.quoted else text).encode()


Piece = bytes | Slot | Clock


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template: `pieces` in order. `bind` fixes the instant."""

    source: str
    pieces: tuple[Piece, ...]

    def bind(self, now_ns: int) -> tuple[bytes | Slot, ...]:
        """The pieces with the clocks filled and neighbouring constants joined."""
        bound: list[bytes | Slot] = []
        for piece in self.pieces:
            filled = piece.fill(now_ns) if isinstance(piece, Clock) else piece
            if isinstance(filled, bytes) and bound and isinstance(bound[-1], bytes):
                bound[-1] += filled
            else:
                bound.append(filled)
        return tuple(bound)

    @property
    def paths(self) -> list[str]:
        """The JSONPaths in it, each once, in their order."""
        names = [piece.name for piece in self.pieces if isinstance(piece, Slot) and piece.name.startswith("$")]
        return list(dict.fromkeys(names))

    @property
    def uses_now(self) -> bool:
        """Whether exporting again gives other bytes."""
        return any(isinstance(piece, Clock) for piece in self.pieces)


DEFAULT = Template("{{{log_message}}}", (Slot("log_message", False, EVENT["log_message"]),))
"""The default message: the event itself."""


def compile_template(source: str) -> Template:
    """Compile a template.

    Raises `TemplateError` with the line and column of the first mistake: an unknown placeholder, one in a key, JSON that
    does not hold, a JSONPath that is not allowed, no placeholder for the event at all, more than a limit allows.
    """
    if len(source.encode("utf-8", "surrogatepass")) > MAX_TEMPLATE_BYTES:
        raise TemplateError(f"the template is larger than {MAX_TEMPLATE_BYTES:,} bytes", 1, 1)
    if any("\ud800" <= character <= "\udfff" for character in source):
        raise TemplateError("the template holds a lone surrogate", 1, 1)
    found: list[_Place] = []
    for place in _placeholders(source):
        if len(found) == MAX_PLACEHOLDERS:
            reason = f"more than {MAX_PLACEHOLDERS} placeholders; {{{{{{log_message}}}}}} has all of the event"
            raise TemplateError(reason, *_position(source, place.start))
        found.append(place)
    _check_json(source, found)
    if not any(isinstance(place.piece, Slot) and place.piece.name not in WORKSPACE for place in found):
        raise TemplateError(
            "there is no placeholder for the event; put {{{log_message}}} where it shall stand",
            *_position(source, max(len(source.rstrip()) - 1, 0)),
        )
    pieces: list[Piece] = []
    end, inside = 0, False
    for place in found:
        pieces += [_on_one_line(source[end : place.start], inside), place.piece]
        end, inside = place.stop, place.in_string
    pieces.append(_on_one_line(source[end:], inside))
    return Template(source, tuple(piece for piece in pieces if piece != b""))


@dataclass(frozen=True, slots=True)
class _Place:
    """A placeholder in a template: `source[start:stop]`."""

    start: int
    stop: int
    in_string: bool
    piece: Slot | Clock


def _placeholders(source: str) -> Iterator[_Place]:
    index, in_string = 0, False
    while index < len(source):
        if in_string and source[index] == "\\":
            index += 2
            continue
        if source[index] == '"':
            in_string = not in_string
        elif source.startswith("{{", index):
            match = (_IN_STRING if in_string else _AS_VALUE).match(source, index)
            if match is not None:
                yield _Place(match.start(), match.end(), in_string, _piece(source, match, in_string))
                index = match.end()
                continue
            if not in_string:
                raise TemplateError("a placeholder that is not closed", *_position(source, index))
        index += 1


def _piece(source: str, match: re.Match[str], in_string: bool) -> Slot | Clock:
    name = (match.group(1) or match.group(2)).strip()
    if name in TIMES:
        return Clock(name, quoted=TIMES[name][1] and not in_string)
    known = EVENT.get(name) or WORKSPACE.get(name)
    if known is not None:
        return Slot(name, in_string, known)
    if name.startswith("$"):
        try:
            path = compile_path(name)
        except PathError as error:
            index = match.start() if error.offset is None else source.index(name, match.start()) + error.offset
            raise TemplateError(f"JSONPath {name}: {error}", *_position(source, index)) from None
        return Slot(name, in_string, lambda event: event.value(path))
    hint = did_you_mean(name, NAMES) or f"; known: {', '.join(NAMES)}, or a JSONPath that begins with $"
    raise TemplateError(f"unknown placeholder {name!r}{hint}", *_position(source, match.start()))


def _check_json(source: str, found: list[_Place]) -> None:
    """Check the template as JSON with every placeholder replaced by a stand-in of its own length, so positions hold."""
    probe = list(source)
    for place in found:
        length = place.stop - place.start
        probe[place.start : place.stop] = "x" * length if place.in_string else f'"{"x" * (length - 2)}"'
    text = "".join(probe)
    try:
        json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise TemplateError(f"not JSON: {error.msg}", error.lineno, error.colno) from None
    except RecursionError:
        raise TemplateError("nested too deeply", 1, 1) from None
    except ValueError as error:
        raise TemplateError(f"not JSON: {error}", 1, 1) from None
    if max(_depths(text)) > MAX_TEMPLATE_DEPTH:
        raise TemplateError(f"nested deeper than {MAX_TEMPLATE_DEPTH} levels", 1, 1)
    # the text is JSON, so a string before a colon, found from the left outside other strings, is a key
    keys = [string.span() for string in re.finditer(r'"(?:[^"\\]|\\.)*"(\s*:)?', text) if string.group(1)]
    starts = [start for start, _ in keys]
    for place in found:
        before = bisect_right(starts, place.start) - 1
        if before >= 0 and place.stop <= keys[before][1]:
            raise TemplateError(
                f"the placeholder {place.piece.name} stands in a key; keys cannot be filled in",
                *_position(source, place.start),
            )


def _depths(text: str) -> Iterator[int]:
    depth = 0
    yield depth
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', text):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token.group(), 0)
        yield depth


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")


def _on_one_line(text: str, inside: bool) -> bytes:
    """A constant piece without line breaks and tabs between tokens; `inside`: it begins inside a string."""
    kept: list[str] = []
    index = 0
    while index < len(text):
        character = text[index]
        if inside and character == "\\":
            kept.append(text[index : index + 2])
            index += 2
            continue
        if character == '"':
            inside = not inside
        if inside or character not in "\r\n\t":
            kept.append(character)
        index += 1
    return "".join(kept).encode()


def _position(source: str, index: int) -> tuple[int, int]:
    return source.count("\n", 0, index) + 1, index - source.rfind("\n", 0, index)
