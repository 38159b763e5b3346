"""The fields at the top of an event, and its times."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from logstream.errors import BadEvent
from logstream.events import EPOCH_UNIX_US, Event, Kind
from logstream.jsontext import loads

LOG_TYPE_FIELD = "log_type"
LOG_LEVEL_FIELD = "level"
"""The fields by which log events are filtered, also in SQL (assumed)."""

LOG_LEVELS = ("debug", "info", "warn", "error")
LOG_TYPES = ("recipe", "connector")
"""The levels and types of log events that the platform is assumed to write; it may write others."""

FUTURE = timedelta(days=1)
"""An event that says it happened so long after it was recorded has a wrong clock."""


class Head(msgspec.Struct):
    """The fields at the top of an event that say what it is, whatever its kind and shape."""

    id: object = None
    recipe_id: object = None
    completed_at: object = None
    timestamp: object = None
    status: object = None
    is_error: object = None
    event: object = None
    event_type: object = None
    log_type: object = None
    level: object = None
    method: object = None


_head = msgspec.json.Decoder(Head)


def read_head(payload: bytes) -> Head:
    """Read what stands at the top of an event; all `None` where it is no JSON object."""
    try:
        return _head.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        document = loads(payload)
    except BadEvent:
        return Head()
    if not isinstance(document, dict):
        return Head()
    return Head(**{name: document.get(name) for name in Head.__struct_fields__})


def type_of(kind: str, head: Head) -> object:
    """What happened, as the event says it: a job's status, a user activity's name, a request's method, a log's type."""
    if kind == Kind.JOB:
        if head.status is None and isinstance(head.is_error, bool):
            return "failed" if head.is_error else "succeeded"
        return head.status
    if kind == Kind.API_PLATFORM:
        return head.method
    if kind == Kind.LOG_SERVICE:
        return head.log_type
    return head.event if head.event is not None else head.event_type


def log_word(value: str | None) -> str | None:
    """The word that a JSON value is: a text is itself; a number or boolean is as it is written; the rest is none.

    So `"level": 30` is selected by `log_levels: ["30"]`. Letters' case is for the comparison to ignore.
    """
    if value is None:
        return None
    text = value.strip()
    if text.startswith('"'):
        return str(json.loads(text, strict=False))  # takes lone surrogates
    return None if text[:1] in "{[n" else text


class _LogFields(msgspec.Struct):
    log_type: msgspec.Raw = msgspec.Raw(b"null")
    level: msgspec.Raw = msgspec.Raw(b"null")


_log_fields = msgspec.json.Decoder(_LogFields)


def log_fields(payload: bytes) -> tuple[str | None, str | None]:
    """The type and the level of a log event, as words (`log_word`); `None` where they are missing or no word.

    Where an object has a key twice, the last one counts, as everywhere.
    """
    try:
        log_type, level = _raw_log_fields(payload)
        return log_word(log_type), log_word(level)
    except ValueError:  # no JSON, or no UTF-8
        return None, None


def _raw_log_fields(payload: bytes) -> tuple[str | None, str | None]:
    try:
        fields = _log_fields.decode(payload)
    except msgspec.ValidationError:  # no object
        return None, None
    except (msgspec.MsgspecError, RecursionError):  # JSON all the same: a lone surrogate, or nested very deeply
        found = _top_level(payload)
        return found.get(LOG_TYPE_FIELD), found.get(LOG_LEVEL_FIELD)
    return bytes(fields.log_type).decode(), bytes(fields.level).decode()


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def _top_level(payload: bytes) -> dict[str, str]:
    """The members of a JSON object whose values are no objects or arrays, as they are written."""
    depth, key, after_colon = 0, "", False
    found: dict[str, str] = {}
    for token in _TOKEN.finditer(payload):
        text = token.group()
        if text in (b"{", b"["):
            if depth == 0 and text == b"[":
                return {}
            if depth == 1:
                found.pop(key, None)
                after_colon = False
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and text == b":":
            after_colon = True
        elif depth == 1 and text != b",":
            if after_colon:
                found[key] = text.decode()
                after_colon = False
            else:
                key = json.loads(text, strict=False)
    return found


def kind_of(document: Mapping[str, Any]) -> Kind | None:
    """The kind of an event that comes without one, told by its fields; `None` if none of them fits."""
    if document.keys() & {"recipe_id", "job_id"} and document.keys() & {"status", "is_error", "completed_at"}:
        return Kind.JOB
    if document.keys() & {LOG_TYPE_FIELD, LOG_LEVEL_FIELD} and "message" in document:
        return Kind.LOG_SERVICE
    if "method" in document and document.keys() & {"path", "status_code"}:
        return Kind.API_PLATFORM
    if "conversation_id" in document:
        return Kind.GENIE
    return Kind.USER_ACTIVITY if document.keys() & {"event", "event_type"} else None


def parse_time(value: object) -> datetime | None:
    """A time of an event: ISO 8601, or as streamed (`2019-09-13 17:24:16 UTC`); one without an offset is UTC."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.removesuffix(" UTC").removesuffix(" GMT"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def said_time(kind: str, head: Head) -> datetime | None:
    """When an event says it happened: a job when it was completed."""
    return parse_time(head.completed_at if kind == Kind.JOB else head.timestamp)


def time_of(event: Event) -> int:
    """When an event happened, in microseconds since `EPOCH`, as receivers are told.

    It is the log store's `occurred_at`, or `recorded_at` where that is before 1970 or more than `FUTURE` after it was
    recorded: receivers drop or refuse such events, or file them under a date that no search covers. It is never before 1970, also
    of an event that was recorded by a clock that stood there.
    """
    if _OLDEST <= event[3] <= event[4] + _FUTURE_US:
        return event[3]
    return max(event[4], _OLDEST)


def is_time(value: object) -> bool:
    """Whether a message's own time is one that receivers read: a text as `parse_time` takes it, not before 1970."""
    moment = parse_time(value)
    return moment is not None and moment.year >= 1970


def is_time_or_milliseconds(value: object) -> bool:
    """The same, or milliseconds since 1970 within the years that a text can tell."""
    if isinstance(value, int) and not isinstance(value, bool):
        return 0 <= value < _LAST_MS
    return is_time(value)


_LAST_MS = 253_402_300_800_000


def unix_us(event: Event) -> int:
    """`time_of`, in microseconds since 1970."""
    return time_of(event) + EPOCH_UNIX_US


_OLDEST = -EPOCH_UNIX_US
_FUTURE_US = int(FUTURE.total_seconds()) * 1_000_000
