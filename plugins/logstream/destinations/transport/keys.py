"""Object keys: where an event's file, or a lane's batch, is put. The platform's rules, made safe.

Ids and names come from customers: everything but letters, digits, `.`, `_` and `-` is written as `=XX` (its UTF-8 bytes in
hex), so a part can hold no separator, no control character and no `..`, and two different ids never give the same part.
"""

from __future__ import annotations

import hashlib
import re
import string
from datetime import datetime, timedelta
from functools import lru_cache

from logstream.destinations.parcel import LaneRef
from logstream.destinations.transport.patterns import DIGIT, DIGITS, INTEGER, SAFE, OneOf, Piece, Signs
from logstream.events import EPOCH, MASKED, Event, Kind
from logstream.shapes import parse_time, read_head, type_of
from logstream.window import Window, formatted

MAX_PART = 120
MAX_NAME = 180
"""File systems take names of 255 bytes, with a suffix and an id to tell equal ones; keys of object stores take 1,024."""

_SAFE = re.compile(rf"[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{MAX_PART - 1}}}", re.ASCII)
_UNSAFE = re.compile(rb"[^A-Za-z0-9._-]")


def safe(text: str) -> str:
    """One part of a key from a customer's text. Injective; never empty, `.` or `..`; at most `MAX_PART` long."""
    if _SAFE.fullmatch(text) and ".." not in text:
        return text  # nearly all are
    raw = text.encode("utf-8", "surrogatepass")
    part = _UNSAFE.sub(lambda match: b"=%02X" % match.group()[0], raw).decode("ascii")
    part = part.replace("..", "=2E=2E")
    if part.startswith("."):
        part = "=2E" + part[1:]
    return _short(part, MAX_PART) or "="


def _short(part: str, length: int) -> str:
    """A part of at most `length`, its end replaced by a digest of all of it."""
    if len(part) <= length:
        return part
    return part[: length - 33] + "=" + hashlib.sha256(part.encode()).hexdigest()[:32]


def event_key(event: Event) -> str:
    """The key of one event's file.

    Jobs (platform's documentation): `{workspace}/jobs/{recipe}/{YYYYMMDD}/{job}/{workspace}-{recipe}-{job}-
    {YYYYMMDDHHMMSS}-{status}.json`, dates of completion in UTC. Others (assumed): `{workspace}/{kind}/{YYYYMMDD}/{event}/
    {workspace}-{event}-{YYYYMMDDHHMMSS}-{type}.json`, `event` being the log store's id.

    A masked field gives `masked`. Of a job whose id is masked, the log store's id is in its place: jobs of one second would
    replace each other.
    """
    head = read_head(event.payload)
    workspace = str(event.workspace_id)
    if event.kind == Kind.JOB:
        own_id = str(event.id)
        day, second = _stamps(head.completed_at, event.occurred_us)
        recipe, job = _part(head.recipe_id, "unknown"), own_id if head.id == MASKED else _part(head.id, own_id)
        status = _part(type_of(event.kind, head), "unknown")
        name = _short(f"{workspace}-{recipe}-{job}-{second}-{status}", MAX_NAME)
        return f"{workspace}/jobs/{recipe}/{day}/{job}/{name}.json"
    day, second = _stamps_of(event.occurred_us // 1_000_000)
    type_ = _part(type_of(event.kind, head), "event")
    name = _short(f"{workspace}-{event.id}-{second}-{type_}", MAX_NAME)
    return f"{workspace}/{safe(event.kind)}/{day}/{event.id}/{name}.json"


def batch_key(lane: LaneRef, part: int) -> str:
    """The key of one batch object, without its suffix.

    It names the destination, so that two destinations may share a bucket and a prefix without writing over each other.
    """
    folder = window_folder(lane.destination, lane.window)
    return f"{folder}/lane-{lane.lane:02d}-of-{lane.lanes:02d}-part-{part:05d}"


def window_folder(destination: str, window: Window) -> str:
    """The folder of the batches of one window and destination."""
    return f"{safe(destination)}/{formatted(window.start, '%Y/%m/%d')}/{window.slug}"


def event_patterns() -> list[list[Piece]]:
    """What `event_key` gives, with or without an id behind its name, in pieces (`transport/patterns.py`)."""
    kinds = OneOf(tuple(safe(kind) for kind in Kind if kind is not Kind.JOB))
    name: list[Piece] = [INTEGER, "-", SAFE, ".json"]
    return [
        [INTEGER, "/jobs/", SAFE, "/", *[DIGIT] * 8, "/", SAFE, "/", *name],
        [INTEGER, "/", kinds, "/", *[DIGIT] * 8, "/", INTEGER, "/", *name],
    ]


TIME: list[str | Signs | OneOf] = [*[DIGIT] * 8, "T", DIGIT, Signs(string.digits, string.digits + "."), "Z"]
"""One side of a window's slug."""
NUMBER: list[str | Signs | OneOf] = [DIGIT, DIGITS]
LANE: list[str | Signs | OneOf] = [*NUMBER, "-of-", *NUMBER]
PART: list[str | Signs | OneOf] = [DIGIT, DIGIT, DIGIT, DIGIT, DIGITS]


def batch_pattern(destination: str) -> list[Piece]:
    """What `batch_key` gives, in pieces."""
    day: list[Piece] = [DIGIT, DIGIT, DIGIT, DIGIT, "/", DIGIT, DIGIT, "/", DIGIT, DIGIT]
    return [safe(destination), "/", *day, "/", *TIME, "_", *TIME, "/lane-", *LANE, "-part-", *PART]


MANIFESTS = "_manifests"
"""The folder of manifests, below a destination's prefix."""


def manifest_pattern(destination: str) -> list[Piece]:
    """The keys of a destination's manifests, listings and signatures (`proof/manifests.py`), in pieces."""
    return [f"{MANIFESTS}/{safe(destination)}/", *[DIGIT] * 7, DIGITS, Signs(".-", SAFE.more)]


def check_key(destination: str) -> str:
    """The key of the object that a check writes and removes."""
    return f"_logstream_check/{hashlib.sha256(destination.encode()).hexdigest()[:16]}"


def _part(value: object, default: str) -> str:
    if isinstance(value, str) and value:
        return safe(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return default


def _stamps(value: object, fallback_us: int) -> tuple[str, str]:
    """A time as `YYYYMMDD` and `YYYYMMDDHHMMSS`, in UTC: that of a text, else microseconds since `EPOCH`."""
    if isinstance(value, str):
        plain = _PLAIN_TIME.fullmatch(value)
        if plain:  # nearly all are; the digits are where they must be already
            day = "".join(plain.group(1, 2, 3))
            return day, day + "".join(plain.group(4, 5, 6))
        moment = parse_time(value)
        if moment is not None:
            return _formatted(moment)
    return _stamps_of(fallback_us // 1_000_000)


_PLAIN_TIME = re.compile(
    # no day after the 28th: whether there is one is the calendar's to say
    r"(?!0000)(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.\d{1,6})?(?:Z|\+00:00)",
    re.ASCII,
)


@lru_cache(maxsize=4096)
def _stamps_of(seconds: int) -> tuple[str, str]:
    try:
        return _formatted(EPOCH + timedelta(seconds=seconds))
    except OverflowError:  # PostgreSQL's infinity
        return _formatted(EPOCH)


def _formatted(moment: datetime) -> tuple[str, str]:
    return formatted(moment, "%Y%m%d"), formatted(moment, "%Y%m%d%H%M%S")
