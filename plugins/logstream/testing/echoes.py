"""Receivers that echo what they were sent, in every way that one might, and the search for what they gave away."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote, quote_plus, unquote, unquote_plus

PIECE = 8
"""So many characters of a secret in a row give it away."""

_PUBLIC = frozenset({"host", "user-agent", "accept", "accept-encoding", "content-type", "content-length",
                     "content-encoding", "idempotency-key", "webhook-id", "webhook-timestamp"})  # fmt: skip


def _every(form: str) -> Callable[[str], str]:
    return lambda head: "".join(form.format(ord(character)) for character in head)


ECHOES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "in small letters": str.lower,
    "percent-encoded": lambda head: quote(head, safe=""),
    "percent-encoded for a form": quote_plus,
    "percent-encoded twice": lambda head: quote(quote(head, safe=""), safe=""),
    "every character percent-encoded": _every("%{:02x}"),
    "as JSON": lambda head: json.dumps({"request": head}),
    "as JSON in JSON": lambda head: json.dumps({"request": json.dumps({"head": head})}),
    "every character as JSON's \\u": lambda head: '{"request": "' + _every("\\u{:04x}")(head) + '"}',
    "as HTML": lambda head: f"<pre>{html.escape(head)}</pre>",
    "every character as HTML's reference": lambda head: f"<pre>{_every('&#{:d};')(head)}</pre>",
    "every character as HTML's reference in hex": lambda head: f"<pre>{_every('&#x{:X};')(head)}</pre>",
    "as a language's repr": lambda head: repr(head.encode()),
    "every character as \\x": _every("\\x{:02x}"),
    "in base64": lambda head: base64.b64encode(head.encode()).decode(),
    "in base64 for URLs": lambda head: base64.urlsafe_b64encode(head.encode()).decode().rstrip("="),
    "in hex": lambda head: head.encode().hex(),
    "in hex, byte by byte": lambda head: f"<Buffer {head.encode().hex(' ')}>",
    "in hex with colons": lambda head: head.encode().hex(":").upper(),
    "in hex, as a dump groups it": lambda head: head.encode().hex(" ", 2),
    "in hex, as a language's array": lambda head: ", ".join(f"0x{byte:02x}" for byte in head.encode()),
    "as a list of bytes": lambda head: json.dumps({"type": "Buffer", "data": list(head.encode())}),
    "as a list of bytes without spaces": lambda head: json.dumps(list(head.encode()), separators=(",", ":")),
    "backwards by lines": lambda head: "\n".join(reversed(head.splitlines())),
}
"""Ways in which a receiver may echo the head of a request."""


def cut_at_secrets(head: str, secrets: Iterable[str], room: int) -> Iterable[str]:
    """Echoes that end, or are cut where only `room` characters are shown, in the middle of a secret."""
    for secret in secrets:
        place = head.find(secret)
        if place >= 0:
            middle = place + len(secret) // 2
            yield head[:middle]
            yield head[middle:]
            for kept in (4, PIECE, len(secret) // 2):
                yield "x" * (room - kept) + secret + " and more"


def sent_secrets(heads: Iterable[Mapping[str, str]]) -> set[str]:
    """The header values that only sender and receiver should know."""
    return {
        value for head in heads for name, value in head.items()
        if name.lower() not in _PUBLIC and not name.lower().startswith("x-sumo-") and name.lower() != "x-scope-orgid"
    }  # fmt: skip


def given_away(text: str, secrets: Iterable[str]) -> list[str]:
    """The secrets of which a text shows a piece, to a reader who undoes every encoding of `ECHOES`."""
    shown = [reading.casefold() for reading in _readings(text)]
    return [
        secret for secret in secrets
        if any(piece in reading for piece in _pieces(secret.casefold()) for reading in shown)
    ]  # fmt: skip


def _pieces(secret: str) -> set[str]:
    return {secret[start : start + PIECE] for start in range(max(1, len(secret) - PIECE + 1))}


def _readings(text: str) -> set[str]:
    found, new = {text}, {text}
    for _ in range(3):
        new = {reading for known in new for decode in _DECODERS for reading in decode(known)} - found
        found |= new
    return found


def _unescaped(pattern: str) -> Callable[[str], Iterable[str]]:
    return lambda text: [re.sub(pattern, lambda found: chr(int(found.group(1), 16)), text)]


def _of_base64(text: str) -> Iterable[str]:
    for run in re.findall(r"[A-Za-z0-9+/_-]{12,}", text):
        for start in range(4):
            part = run[start:].translate(str.maketrans("-_", "+/"))
            yield base64.b64decode(part[: len(part) // 4 * 4]).decode("latin-1")


def _of_hex(text: str) -> Iterable[str]:
    for run in re.findall(r"[0-9A-Fa-f]{16,}", text):
        for start in range(2):
            part = run[start:]
            yield bytes.fromhex(part[: len(part) // 2 * 2]).decode("latin-1")


def _of_bytes(text: str) -> Iterable[str]:
    for run in re.findall(r"(?:(?:0[xX])?[0-9A-Fa-f]{2}[\s:,]{0,2}){8,}", text):
        yield bytes.fromhex(re.sub(r"0[xX]|[\s:,]", "", run)).decode("latin-1")
    for run in re.findall(r"(?:[0-9]{1,3},\s?){7,}[0-9]{1,3}", text):
        yield "".join(chr(int(number)) for number in run.split(","))


_DECODERS: tuple[Callable[[str], Iterable[str]], ...] = (
    lambda text: [unquote(text)],
    lambda text: [unquote_plus(text)],
    lambda text: [html.unescape(text)],
    lambda text: [re.sub(r"\\([\"'/\\])", r"\1", text)],
    _unescaped(r"\\u([0-9a-fA-F]{4})"),
    _unescaped(r"\\x([0-9a-fA-F]{2})"),
    _of_base64,
    _of_hex,
    _of_bytes,
)


def packed(answer: bytes) -> bytes:
    """An answer as a receiver sends it that packs whatever it says."""
    return gzip.compress(answer)
