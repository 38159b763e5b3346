"""The secrets of a connection, and texts without them.

A receiver may echo what it was sent: in an error, in any encoding, or half of it. So nothing that a receiver, a client library or
an exception says leaves a destination before `Secrets.mask` has seen it (`Destination.deliver`, `.start`, `.run_check`).

Eight characters in a row of a secret are enough to be masked: of a secret that was cut, by the receiver or by us, what is left
is masked too. Texts are read as they are and with their escapes undone (percent, JSON, HTML, `\\x`), several deep, and letters
are compared whatever their case. Secrets are also looked for in base64, in hex and in the parts that other texts leave of
their base64.

Decided: a secret of fewer than six characters is masked only where it is a word of its own. Anywhere else it would be found in
every text; Airflow's own masker ignores such short ones altogether.
"""

from __future__ import annotations

import base64
import html
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Reject, Retry, Split

MASK = "***"
GRAM = 8
"""So many characters in a row of a secret are masked."""

SHORT = 6
"""A secret with fewer characters is masked as a word only."""

TAIL = 4
"""A text that ends with so many of a secret's first characters was cut there."""

TOKEN_PART = 16
"""A part of an address's path that is so long may be a token."""

LENT = 128
"""Values of single requests that are remembered: more than can be under way at once."""

READ_CHARACTERS = 4_096
"""More of a text is not looked at, and not shown."""

EXCERPT = 200
LONGEST_REASON = 600

HARMLESS_HEADERS = frozenset(
    {
        "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "date", "host",
        "idempotency-key", "user-agent", "webhook-id", "webhook-timestamp",
    }
)  # fmt: skip
"""Headers whose values are no secrets. All others' may be: a vendor of tomorrow may name its token as it likes."""

_SIGNED = re.compile(
    r"(?:signature|credential|assertion|access_token|security-token|\bsig)[\"']?\s*[=:]\s*[\"']?([^\s\"'<>&,;)]{12,})"
    r"|\b(?:bearer|basic|sharedkey(?:lite)?)\s+([^\s\"'<>,;)]{16,})"
    r"|(\beyj[\w-]{8,}\.[\w.-]+)"
    r"|(\bya29\.[\w.-]+)"
    r"|([0-9a-f]{64})"
    r"|([a-z0-9+/_-]{43}=)"
)
"""Signatures and tokens that a library makes and does not show us (SigV4, SharedKey, SAS, OAuth), by their shapes."""

_ESCAPES = re.compile(
    r"(?P<percent>(?:%[0-9a-f]{2})+)|(?P<hex>(?:\\x[0-9a-f]{2})+)|(?P<pair>\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})"
    r"|(?P<unit>\\u[0-9a-f]{4})|(?P<html>&(?:#x[0-9a-f]{1,6}|#[0-9]{1,7}|[a-z]{2,8});)|(?P<slash>\\[\"'\\/bfnrt])",
    re.IGNORECASE,
)
_PACKED = re.compile(r"[A-Za-z0-9+/_-]{16,}")
"""What may be base64 or hex."""

_SLASHED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_DEPTH = 4


class _Read(NamedTuple):
    """A text with its escapes undone so often: its characters, and where each stands in the text as it was."""

    characters: str
    spans: list[tuple[int, int]]


class _Secret:
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
        plain = set(map(_folded, _plain_forms(self._value)))
        words = frozenset(form for form in plain if len(form) < SHORT)
        forms = plain - words
        if not words:
            forms |= set(map(_folded, _packed_forms(self._value)))
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
    yield from (read.characters for read in _readings(value))


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


class Secrets:
    """What of its connection a destination has sent. Thread-safe. Its `repr` shows nothing."""

    def __init__(self) -> None:
        self._known: dict[str, _Secret] = {}
        self._lent: OrderedDict[str, _Secret] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, *values: object) -> None:
        """Values to be masked from now on. What is no text, or empty, is ignored."""
        with self._lock:
            for value in values:
                if isinstance(value, str) and value and (value not in self._known or self._known[value].whole):
                    self._known[value] = _Secret(value)

    def add_whole(self, *values: str | None) -> None:
        """Values to be masked where they stand as a whole: paths and queries, whose pieces are ordinary words."""
        with self._lock:
            for value in values:
                if value and len(value) >= SHORT:
                    self._known.setdefault(value, _Secret(value, whole=True))

    def add_url(self, url: str) -> None:
        """The parts of an address that may be secrets: user, password, path and query; the host is none."""
        parts = urlsplit(url)
        self.add(parts.password and unquote(parts.password), parts.password)
        self.add_whole(parts.path, parts.query, parts.username)
        for part in parts.path.split("/"):
            if len(part) >= TOKEN_PART:
                self.add(part)
            elif len(part) >= GRAM and any(map(str.isdigit, part)):
                self.add_whole(part)
        self.add_query(parts.query)

    def add_query(self, query: str) -> None:
        """The values of a query string."""
        self.add(*(value for _, value in parse_qsl(query) if len(value) >= SHORT))

    def add_sas(self, sas: str | None) -> None:
        """An Azure SAS: its signature is the secret; its times and rights are not."""
        for name, value in parse_qsl(sas or ""):
            if name == "sig":
                self.add(value)

    def add_headers(self, headers: Mapping[str, str], known: Iterable[str] = ()) -> None:
        """The values of headers. `known` are values that are no secrets, as the settings show them."""
        open_values = set(known)
        self.add(
            *(v for name, v in headers.items() if name.lower() not in HARMLESS_HEADERS and v not in open_values)
        )  # fmt: skip

    def lend(self, headers: Mapping[str, str]) -> None:
        """Header values of one request (signatures, tokens): remembered until so many others have come."""
        for name, value in headers.items():
            if name.lower() in HARMLESS_HEADERS or value in self._known:
                continue
            with self._lock:
                self._lent[value] = self._lent[value] if value in self._lent else _Secret(value)
                self._lent.move_to_end(value)
                if len(self._lent) > LENT:
                    self._lent.popitem(last=False)

    def noting(self, provider: Callable[[], Any]) -> Callable[[], Any]:
        """A provider of credentials (as obstore takes them), whose credentials are added as they are given."""

        def provide() -> Any:
            found = provider()
            self.add(*(value for value in found.values() if isinstance(value, str)))
            return found

        return provide

    def mask(self, text: str) -> str:
        """A text without secrets, and no longer than is worth reading."""
        text = text[:READ_CHARACTERS]
        with self._lock:
            secrets = [*self._known.values(), *self._lent.values()]
        covered = bytearray(len(text))
        for read in _readings(text):
            for start, stop in _places(read.characters, secrets):
                first, last = read.spans[start][0], read.spans[stop - 1][1]
                covered[first:last] = b"\1" * (last - first)
        if not any(covered):
            return text
        return "".join(
            MASK if hidden else text[start:stop] for start, stop, hidden in _runs(covered)
        )  # fmt: skip

    def excerpt(self, text: str | bytes, most: int = EXCERPT) -> str:
        """The beginning of a text for a message, on one line: masked first and cut then."""
        if isinstance(text, bytes):
            text = text[: 4 * READ_CHARACTERS].decode("utf-8", "replace")
        masked = self.mask(text)
        line = "".join(character if character.isprintable() else " " for character in masked)
        line = re.sub(r" +", " ", line).strip()
        return line if len(line) <= most else line[: most - 1].rstrip() + "…"

    def outcome(self, outcome: Outcome) -> Outcome:
        """An outcome whose reasons hold no secrets."""
        match outcome:
            case Delivered():
                return outcome
            case Reject(events):
                masked = {reason: self.excerpt(reason, LONGEST_REASON) for reason in set(events.values())}
                return replace(outcome, events={index: masked[reason] for index, reason in events.items()})
            case Retry(reason) | Split(reason) | GiveUp(reason):
                return replace(outcome, reason=self.excerpt(reason, LONGEST_REASON))


def _places(text: str, secrets: Sequence[_Secret]) -> Iterator[tuple[int, int]]:
    """Where secrets, or pieces of them, stand, packed in base64 or hex too."""
    yield from _plain_places(_folded(text), secrets)
    for run in _PACKED.finditer(text):
        if any(True for inner in _unpacked(run.group()) for _ in _plain_places(_folded(inner), secrets)):
            yield run.span()


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


def _folded(text: str) -> str:
    """A text in small letters, as long as it was."""
    if text.isascii():
        return text.lower()
    return "".join(small if len(small := character.lower()) == 1 else character for character in text)


def _plain_places(characters: str, secrets: Iterable[_Secret]) -> Iterator[tuple[int, int]]:
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


def _readings(text: str) -> Iterator[_Read]:
    """A text as it is, and with its escapes undone, once and again."""
    read = _Read(text, [(place, place + 1) for place in range(len(text))])
    for _ in range(_DEPTH):
        yield read
        undone = _undone(read)
        if undone is None:
            return
        read = undone


def _undone(read: _Read) -> _Read | None:
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
    return _Read("".join(characters), spans)


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


def _runs(covered: bytearray) -> Iterator[tuple[int, int, bool]]:
    start = 0
    while start < len(covered):
        stop = covered.find(1 - covered[start], start)
        stop = len(covered) if stop < 0 else stop
        yield start, stop, bool(covered[start])
        start = stop
