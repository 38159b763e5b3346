"""A text as it is and with its escapes undone: percent, JSON, HTML and `\\x`, several deep."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

_ESCAPES = re.compile(
    r"(?P<percent>(?:%[0-9a-f]{2})+)|(?P<hex>(?:\\x[0-9a-f]{2})+)|(?P<pair>\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})"
    r"|(?P<unit>\\u[0-9a-f]{4})|(?P<html>&(?:#x[0-9a-f]{1,6}|#[0-9]{1,7}|[a-z]{2,8});)|(?P<slash>\\[\"'\\/bfnrt])",
    re.IGNORECASE,
)
_SLASHED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_DEPTH = 4


class Reading(NamedTuple):
    """A text with its escapes undone so often: its characters, and where each stands in the text as it was."""

    characters: str
    spans: list[tuple[int, int]]


def readings(text: str) -> Iterator[Reading]:
    """A text as it is, and with its escapes undone, once and again."""
    read = Reading(text, [(place, place + 1) for place in range(len(text))])
    for _ in range(_DEPTH):
        yield read
        undone = _undone(read)
        if undone is None:
            return
        read = undone


def _undone(read: Reading) -> Reading | None:
    characters: list[str] = []
    spans: list[tuple[int, int]] = []
    end = 0
    for found in _ESCAPES.finditer(read.characters):
        characters.append(read.characters[end : found.start()])
        spans += read.spans[end : found.start()]
        end = found.end()
        place = found.start()
        for character, length in _meaning(found):
            characters.append(character)
            spans += [(read.spans[place][0], read.spans[place + length - 1][1])] * len(character)
            place += length
    if end == 0:
        return None
    characters.append(read.characters[end:])
    spans += read.spans[end:]
    return Reading("".join(characters), spans)


def _meaning(found: re.Match[str]) -> Iterator[tuple[str, int]]:
    """The characters that an escape stands for, each with how many characters of the escape are its."""
    text = found.group()
    match found.lastgroup:
        case "percent" | "hex":
            width = 3 if found.lastgroup == "percent" else 4
            data = bytes(int(text[place + width - 2 : place + width], 16) for place in range(0, len(text), width))
            try:
                for character in data.decode():
                    yield character, width * len(character.encode())
            except UnicodeDecodeError:
                for byte in data:
                    yield chr(byte), width
        case "pair":
            high, low = int(text[2:6], 16), int(text[8:12], 16)
            yield chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)), len(text)
        case "unit":
            yield chr(int(text[2:], 16)), len(text)
        case "html":
            yield html.unescape(text), len(text)
        case _:
            yield _SLASHED.get(text[1].lower(), text[1]), len(text)


def folded(text: str) -> str:
    """A text in small letters, as long as it was."""
    if text.isascii():
        return text.lower()
    return "".join(small if len(small := character.lower()) == 1 else character for character in text)
