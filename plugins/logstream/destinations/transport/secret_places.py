"""Where secrets stand in a text: whole or in pieces, packed in base64 or hex, byte by byte, or known by their shape."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence

from logstream.destinations.transport.escapes import folded, readings

GRAM = 8
"""So many characters in a row of a secret are masked."""

SHORT = 6
"""A secret with fewer characters is masked as a word only."""

TAIL = 4
"""A text that ends with so many of a secret's first characters was cut there."""

_SIGNED = re.compile(
    r"(?:signature|credential|assertion|access_token|security-token|\bsig)[\"']?\s*[=:]\s*[\"']?([^\s\"'<>&,;)]{12,})"
    r"|\b(?:bearer|basic|sharedkey(?:lite)?)\s+([^\s\"'<>,;)]{16,})"
    r"|(\beyj[\w-]{8,}\.[\w.-]+)"
    r"|(\bya29\.[\w.-]+)"
    r"|([0-9a-f]{64})"
    r"|([a-z0-9+/_-]{43}=)"
)
"""Signatures and tokens that a library makes and does not show us (SigV4, SharedKey, SAS, OAuth), by their shapes."""

_PACKED = re.compile(r"[A-Za-z0-9+/_-]{16,}")
"""What may be base64 or hex."""

_BYTES_IN_HEX = re.compile(r"(?:(?:0x)?[0-9a-f]{2}[\s:,;-]{0,2}){8,}", re.IGNORECASE)
_BYTES_IN_DECIMAL = re.compile(r"(?:[0-9]{1,3}(?:\s{1,3}|\s?[,;]\s{0,2})){7,}[0-9]{1,3}")
"""What may be bytes, one by one: `<Buffer 54 4f 4b ...>`, `54:4f:4b`, `0x54, 0x4f`, groups of a dump, `[84, 79, 75, ...]`."""


class Secret:
    """One secret in all its forms, prepared when it is first looked for."""

    def __init__(self, value: str, *, whole: bool = False) -> None:
        self._value, self.whole = value, whole
        self._prepared: tuple[dict[int, frozenset[str]], frozenset[str], frozenset[str]] | None = None

    @property
    def prepared(self) -> tuple[dict[int, frozenset[str]], frozenset[str], frozenset[str]]:
        """Pieces by their length, words to be found alone, and beginnings."""
        if self._prepared is None:
            self._prepared = self._prepare()
        return self._prepared

    def _prepare(self) -> tuple[dict[int, frozenset[str]], frozenset[str], frozenset[str]]:
        plain = set(map(folded, _plain_forms(self._value)))
        words = frozenset(form for form in plain if len(form) < SHORT)
        forms = plain - words
        if not words:
            forms |= set(map(folded, _packed_forms(self._value)))
        pieces: dict[int, set[str]] = {}
        for form in forms:
            length = len(form) if self.whole else min(GRAM, len(form))
            of_length = pieces.setdefault(length, set())
            of_length.update(form[start : start + length] for start in range(len(form) - length + 1))
        beginnings = frozenset() if self.whole else frozenset(form[: GRAM - 1] for form in forms)
        return {length: frozenset(found) for length, found in pieces.items()}, words, beginnings


def _plain_forms(value: str) -> Iterator[str]:
    """A secret as it is, and as it is written without escapes."""
    yield value
    yield value.replace(" ", "+")
    yield from (read.characters for read in readings(value))


def _packed_forms(value: str) -> Iterator[str]:
    """A secret in hex, and what base64 of any text that holds it must hold."""
    data = value.encode("utf-8", "surrogatepass")
    yield data.hex()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")
        # characters that hold bits of what stands before and behind are left out
        first, last = -(-offset * 8 // 6), (offset + len(data)) * 8 // 6
        core = encoded[first:last]
        if len(core) >= SHORT:
            yield core
            yield core.translate(str.maketrans("+/", "-_"))


def places(text: str, secrets: Sequence[Secret]) -> Iterator[tuple[int, int]]:
    """Where secrets, or pieces of them, stand, packed in base64 or hex too."""
    yield from _plain_places(folded(text), secrets)
    for run in _PACKED.finditer(text):
        if any(True for inner in _unpacked(run.group()) for _ in _plain_places(folded(inner), secrets)):
            yield run.span()
    for span, inner in _bytes_in(text):
        if any(True for _ in _plain_places(folded(inner), secrets)):
            yield span


def _bytes_in(text: str) -> Iterator[tuple[tuple[int, int], str]]:
    """Runs of bytes that are told one by one: where each stands, and what it says."""
    for run in _BYTES_IN_HEX.finditer(text):
        digits = re.sub(r"0x|[\s:,;-]", "", run.group(), flags=re.IGNORECASE)
        yield run.span(), bytes.fromhex(digits).decode("latin-1")
    for run in _BYTES_IN_DECIMAL.finditer(text):
        numbers = [int(number) for number in re.findall("[0-9]+", run.group())]
        yield run.span(), "".join(map(chr, numbers))


def _unpacked(run: str) -> Iterator[str]:
    """What a run of characters may be in base64, wherever it was cut, and in hex."""
    standard = run.translate(str.maketrans("-_", "+/"))
    for start in range(4):
        part = standard[start:]
        yield base64.b64decode(part[: len(part) // 4 * 4]).decode("latin-1")
    for start in range(2):
        part = run[start:]
        try:
            yield bytes.fromhex(part[: len(part) // 2 * 2]).decode("latin-1")
        except ValueError:
            return


def _plain_places(characters: str, secrets: Iterable[Secret]) -> Iterator[tuple[int, int]]:
    pieces_of_text: dict[int, set[str]] = {}
    for secret in secrets:
        pieces, words, beginnings = secret.prepared
        for length, wanted in pieces.items():
            if length not in pieces_of_text:
                last = len(characters) - length + 1
                pieces_of_text[length] = {characters[start : start + length] for start in range(last)}
            for piece in wanted & pieces_of_text[length]:
                yield from _all(characters, piece)
        for word in words:
            for start, stop in _all(characters, word):
                around = characters[start - 1 : start] + characters[stop : stop + 1]
                if not any(map(str.isalnum, around)):
                    yield start, stop
        for beginning in beginnings:
            for length in range(len(beginning), TAIL - 1, -1):
                if characters.endswith(beginning[:length]):
                    yield len(characters) - length, len(characters)
                    break
    for found in _SIGNED.finditer(characters):
        yield found.span(found.lastindex or 0)


def _all(characters: str, piece: str) -> Iterator[tuple[int, int]]:
    start = characters.find(piece)
    while start >= 0:
        yield start, start + len(piece)
        start = characters.find(piece, start + 1)
