"""All receivers of a world: buckets that speak S3, and log services that take requests.

They are strict where the real ones are (an object is there whole or not at all; a service takes a request whole, in part or
not at all) and hostile as the script says: down, slow, cut off before or after they have taken what was sent, answering
garbage, refusing, asking to wait. How a request reaches them is not theirs to know: over the wire (`wire`), or without one
(`memory`).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape

from pyarrow import parquet

FAULTS = ("down", "slow", "cut_before", "cut_after", "garbage", "busy", "denied")
STALL = "stalled"
"""A receiver that takes longer to answer than a lease lasts."""
POISON = "POISON"
NOT_SPLUNK = (b"<html>Welcome</html>", b'{"status": "ok"}')
"""What may stand at Splunk's address: a page of a proxy, or another service."""
SLOW_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answers. `cut`: it cuts the connection instead, and the sender learns nothing."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    seconds: float = 0.0


class Receiver:
    """What one destination has taken, and how it behaves."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.objects: dict[str, bytes] = {}
        self.forgotten: dict[str, bytes] = {}
        """Objects that it has lost, as they were."""
        self.taken: list[tuple[str, list[bytes]]] = []
        """Requests in the order in which they were taken: key, and the messages that were."""
        self.weather: deque[str] = deque()
        """What befalls the next requests."""
        self.always: str | None = None
        """What befalls every request."""
        self.stall: Callable[[], None] = lambda: None
        """Lets the time pass that a stalled receiver takes."""
        self.noted: Callable[[], None] = lambda: None
        """Is told of each request that it has taken."""
        self.changed_repetitions = 0
        self._bodies: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def forget(self, number: int) -> str | None:
        """Lose an object, if there is one, and say which."""
        keys = sorted(key for key in self.objects if "_manifests/" not in key)
        if not keys:
            return None
        key = keys[number % len(keys)]
        self.forgotten[key] = self.objects.pop(key)
        return key

    def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Take a request, as a log service does."""
        with self._lock:
            fault = self._fault()
            if (answer := _before_taking(fault)) is not None:
                return answer
            return (
                self._splunk(fault, headers, body)
                if self.name.startswith("splunk")
                else self._hook(fault, headers, body)
            )

    def put(self, key: str, body: bytes, *, only_new: bool = False) -> Answer:
        """Take an object, as S3 does."""
        with self._lock:
            fault = self._fault()
            if (answer := _before_taking(fault)) is not None:
                return answer
            if only_new and key in self.objects:
                return _error("PreconditionFailed", 412)
            self.objects[key] = body
            self.noted()
            return Answer(headers=_stamps(body), cut=fault == "cut_after", seconds=_seconds(fault))

    def get(self, key: str) -> Answer:
        """Give an object back."""
        body = self.objects.get(key)
        return _error("NoSuchKey", 404) if body is None else Answer(200, body, _stamps(body))

    def delete(self, key: str) -> Answer:
        """Remove an object."""
        self.objects.pop(key, None)
        return Answer(204)

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with a text."""
        return sorted(key for key in list(self.objects) if key.startswith(prefix))

    def listing(self, prefix: str) -> Answer:
        """The same as S3 says it."""
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-03-01T00:00:00.000Z</LastModified>"
            f'<ETag>"x"</ETag><Size>{len(self.objects[key])}</Size><StorageClass>STANDARD</StorageClass></Contents>'
            for key in self.keys(prefix)
        )
        return _xml(f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>")

    @property
    def is_unwell(self) -> bool:
        """Whether something befalls its next request."""
        return bool(self.weather or self.always)

    @property
    def stalls(self) -> bool:
        """Whether its next answer takes very long."""
        return bool(self.weather) and self.weather[0] == STALL

    def _fault(self) -> str | None:
        if self.stalls:
            self.stall()
        return self.weather.popleft() if self.weather else self.always

    def _note_body(self, key: str, body: bytes) -> None:
        """One key stands for one body, however often it comes."""
        self.changed_repetitions += self._bodies.setdefault(key, body) != body

    def _hook(self, fault: str | None, headers: Mapping[str, str], body: bytes) -> Answer:
        key = headers["Idempotency-Key"]
        self._note_body(key, body)
        text = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body  # a server may have unpacked it
        if POISON.encode() in text:
            return Answer(422, b"an event is not valid")
        self.taken.append((key, text.splitlines()))
        self.noted()
        return Answer(200, b"ok", cut=fault == "cut_after", seconds=_seconds(fault))

    def _splunk(self, fault: str | None, headers: Mapping[str, str], body: bytes) -> Answer:
        """As Splunk's HTTP event collector: events before the first bad one are taken, and its number is told."""
        if fault == "garbage":
            return Answer(200, NOT_SPLUNK[len(body) % 2])
        key = headers["Idempotency-Key"]
        self._note_body(key, body)
        lines = body.splitlines()
        bad = next((index for index, line in enumerate(lines) if POISON.encode() in line), None)
        taken = lines if bad is None else lines[:bad]
        if taken:
            self.taken.append((key, taken))
            self.noted()
        cut, seconds = fault == "cut_after", _seconds(fault)
        if bad is None:
            return Answer(200, b'{"text": "Success", "code": 0}', cut=cut, seconds=seconds)
        document = {"text": "Invalid data format", "code": 6, "invalid-event-number": bad}
        return Answer(400, json.dumps(document).encode(), cut=cut, seconds=seconds)


class Receivers:
    """The receivers of all worlds, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Receiver] = {}

    def new(self, world: str, name: str) -> Receiver:
        """A receiver, empty and in good weather."""
        return self._by_name.setdefault(f"{world}-{name}", Receiver(name))

    def find(self, name: str) -> Receiver | None:
        """The receiver of a world, `WORLD-NAME`."""
        return self._by_name.get(name)

    def forget(self, world: str) -> None:
        """A world is over."""
        for name in [name for name in self._by_name if name.startswith(f"{world}-")]:
            del self._by_name[name]


def _before_taking(fault: str | None) -> Answer | None:
    """What a fault answers before anything is taken; `None` if the request goes through."""
    match fault:
        case "down":
            return Answer(503, b"down")
        case "busy":
            return Answer(429, headers={"Retry-After": "0"})
        case "denied":
            return _error("AccessDenied", 403)
        case "cut_before":
            return Answer(cut=True)
    return None


def _seconds(fault: str | None) -> float:
    return SLOW_SECONDS if fault == "slow" else 0.0


def _error(code: str, status: int) -> Answer:
    return _xml(f"<Error><Code>{code}</Code></Error>", status)


def _xml(text: str, status: int = 200) -> Answer:
    return Answer(status, text.encode(), {"Content-Type": "application/xml"})


def _stamps(body: bytes) -> dict[str, str]:
    mark = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return {"ETag": f'"{mark}"', "Last-Modified": "Sun, 01 Mar 2026 00:00:00 GMT"}


def messages_of(receiver: Receiver) -> list[tuple[str, bytes]]:
    """What a receiver holds: (object or first request of that key, message). A repeated key counts once."""
    found = [(key, line) for key, body in receiver.objects.items() for line in messages_in(key, body)]
    once: dict[str, list[bytes]] = {}
    for key, lines in receiver.taken:
        once.setdefault(key, lines)
    return found + [(key, line) for key, lines in once.items() for line in lines]


def messages_in(key: str, body: bytes) -> list[bytes]:
    """The messages of an object; none of a manifest."""
    if "_manifests/" in key:
        return []
    if key.endswith(".parquet"):
        return [
            message.encode()
            for message in parquet.read_table(io.BytesIO(body), columns=["message"])["message"].to_pylist()
        ]
    text = gzip.decompress(body) if key.endswith(".gz") else body
    return text.splitlines() if ".ndjson" in key else [text]


def plain(message: bytes) -> Any:
    """A message as plain data; no number is rounded."""
    return json.loads(message, parse_float=Decimal)


def number_of(message: bytes) -> int:
    """The id of the row that a message is of: below a template's `event`, and below Splunk's."""
    found = plain(message)
    while "event" in found:
        found = found["event"]
    return int(found["id"][1:])
