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

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Reject, Retry, Split
from logstream.destinations.transport.escapes import readings
from logstream.destinations.transport.secret_places import GRAM, SHORT, Secret, places
from logstream.tracebacks import traceback_of

MASK = "***"

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


class Secrets:
    """What of its connection a destination has sent. Thread-safe. Its `repr` shows nothing."""

    def __init__(self) -> None:
        self._known: dict[str, Secret] = {}
        self._lent: OrderedDict[str, Secret] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, *values: object) -> None:
        """Values to be masked from now on. What is no text, or empty, is ignored."""
        with self._lock:
            for value in values:
                if isinstance(value, str) and value and (value not in self._known or self._known[value].whole):
                    self._known[value] = Secret(value)

    def add_whole(self, *values: str | None) -> None:
        """Values to be masked where they stand as a whole: paths and queries, whose pieces are ordinary words."""
        with self._lock:
            for value in values:
                if value and len(value) >= SHORT:
                    self._known.setdefault(value, Secret(value, whole=True))

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
                self._lent[value] = self._lent[value] if value in self._lent else Secret(value)
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
        for read in readings(text):
            for start, stop in places(read.characters, secrets):
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

    def traceback(self, error: BaseException) -> str:
        """Where an error came from, and what it says, for a log: masked, as what it says itself may quote a secret."""
        return traceback_of(error, partial(self.excerpt, most=LONGEST_REASON))

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


def _runs(covered: bytearray) -> Iterator[tuple[int, int, bool]]:
    start = 0
    while start < len(covered):
        stop = covered.find(1 - covered[start], start)
        stop = len(covered) if stop < 0 else stop
        yield start, stop, bool(covered[start])
        start = stop
