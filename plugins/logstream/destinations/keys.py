"""Object keys: where an event's file, or a lane's batch, is put. The platform's rules, made safe.

Ids and names come from customers: everything but letters, digits, `.`, `_` and `-` is written as `=XX` (its UTF-8 bytes in
hex), so a part can hold no separator, no control character and no `..`, and two different ids never give the same part.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec

from logstream.destinations.parcel import LaneRef
from logstream.errors import BadEvent
from logstream.events import EPOCH, Event, Kind
from logstream.jsontext import loads
from logstream.window import Window

MAX_PART = 120
MAX_NAME = 180
"""File systems take names of 255 bytes, with a suffix and an id to tell equal ones; keys of object stores take 1,024."""

_SAFE = re.compile(rf"[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{MAX_PART - 1}}}", re.ASCII)
_UNSAFE = re.compile(rb"[^A-Za-z0-9._-]")


class _Fields(msgspec.Struct):
    id: object = None
    recipe_id: object = None
    completed_at: object = None
    status: object = None
    event_type: object = None
    log_type: object = None
    method: object = None


_fields = msgspec.json.Decoder(_Fields)
_TYPE_FIELD: dict[str, str] = {
    Kind.USER_ACTIVITY: "event_type",
    Kind.LOG_SERVICE: "log_type",
    Kind.API_PLATFORM: "method",
}


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
    """
    fields = _read_fields(event.payload)
    workspace = str(event.workspace_id)
    if event.kind == Kind.JOB:
        day, second = _stamps(fields.completed_at, event.occurred_us)
        recipe, job = _part(fields.recipe_id, "unknown"), _part(fields.id, str(event.id))
        status = _part(fields.status, "unknown")
        name = _short(f"{workspace}-{recipe}-{job}-{second}-{status}", MAX_NAME)
        return f"{workspace}/jobs/{recipe}/{day}/{job}/{name}.json"
    day, second = _stamps_of(event.occurred_us // 1_000_000)
    field = _TYPE_FIELD.get(event.kind)
    type_ = _part(getattr(fields, field), "event") if field else "event"
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
    return f"{safe(destination)}/{window.start:%Y/%m/%d}/{window.slug}"


def _read_fields(payload: bytes) -> _Fields:
    try:
        return _fields.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        document = loads(payload)
    except BadEvent:
        return _Fields()
    if not isinstance(document, dict):
        return _Fields()
    return _Fields(**{name: document.get(name) for name in _Fields.__struct_fields__})


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
        try:
            moment = datetime.fromisoformat(value)
            return _formatted((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC))
        except (ValueError, OverflowError):
            pass
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
    return f"{moment:%Y%m%d}", f"{moment:%Y%m%d%H%M%S}"
