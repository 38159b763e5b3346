"""What is streamed: kinds of events, and the selections of them that a setting makes.

Kinds and selections follow the platform's Admin console ("Audit log streaming": job status only, full job details,
user activity, API platform logs, log events filtered by type and level) and, for Genie conversations, its Automation HQ.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

MAX_JOB_BYTES = 40_000_000
"""A job larger than this (40 MB) is streamed without its step data (platform's documentation)."""

OVERSIZE_LINES = "Log lines exceed size limit"
"""What the platform puts in place of the `lines` of a job over `MAX_JOB_BYTES`."""

MASKED = "masked"
"""What stands in place of a field that does not leave."""


class Kind(StrEnum):
    """The kind of an event, as the log store's `kind` column has it."""

    JOB = "job"
    USER_ACTIVITY = "user_activity"
    API_PLATFORM = "api_platform"
    LOG_SERVICE = "log_service"
    GENIE = "genie"


class EventType(StrEnum):
    """What an administrator may tick under "events to stream"."""

    JOB_STATUS = "job_status"
    JOB_DETAILS = "job_details"
    USER_ACTIVITY = "user_activity"
    API_PLATFORM = "api_platform"
    LOG_SERVICE = "log_service"
    GENIE = "genie"


UNKNOWN_KIND = "unknown"
"""What rows of the log store are counted as whose kind is none of `Kind`. They are no events, and are rejected."""

NO_WORKSPACE = -(2**63)
"""Stands for the workspace of rows of the log store that name none. They are no events, and are rejected."""

KIND_OF: dict[EventType, Kind] = {
    EventType.JOB_STATUS: Kind.JOB,
    EventType.JOB_DETAILS: Kind.JOB,
    EventType.USER_ACTIVITY: Kind.USER_ACTIVITY,
    EventType.API_PLATFORM: Kind.API_PLATFORM,
    EventType.LOG_SERVICE: Kind.LOG_SERVICE,
    EventType.GENIE: Kind.GENIE,
}


EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""Where events' times count from: PostgreSQL's own epoch, so that what it sends is used as it is."""

EPOCH_UNIX_US = int((EPOCH - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000
"""`EPOCH` in microseconds since 1970."""


class Event(NamedTuple):
    """One event as it is read. Times are microseconds since `EPOCH`; `payload` is JSON as it was written."""

    id: int
    workspace_id: int
    kind: str
    occurred_us: int
    recorded_us: int
    payload: bytes


class Cursor(NamedTuple):
    """A place in a window's order: that of `(recorded_at, id)`."""

    recorded_us: int
    id: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events of a workspace a setting streams.

    `log_types` and `log_levels` narrow log events only; empty means all. They are compared in lower case, numbers and
    booleans as JSON writes them, and an event that lacks the field is not selected by a filter on it.
    """

    events: frozenset[EventType]
    log_types: frozenset[str] = frozenset()
    log_levels: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, events: Collection[str], log_types: Collection[str] = (), log_levels: Collection[str] = ()
    ) -> Selection:
        """Make a selection from the words of a setting."""
        return cls(
            frozenset(EventType(event) for event in events),
            frozenset(word.lower() for word in log_types),
            frozenset(word.lower() for word in log_levels),
        )

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of which any event may be selected."""
        return frozenset(KIND_OF[event].value for event in self.events)

    @property
    def filters_logs(self) -> bool:
        """Whether log events must be looked into to be selected."""
        return EventType.LOG_SERVICE in self.events and bool(self.log_types or self.log_levels)

    @property
    def drops_lines(self) -> bool:
        """Whether a job's `lines` are left out: with job status alone, not with job details."""
        return EventType.JOB_DETAILS not in self.events

    def matches(self, kind: str, log_type: str | None = None, log_level: str | None = None) -> bool:
        """Tell whether an event is streamed. The one place where that is decided."""
        if kind not in self.kinds:
            return False
        if kind != Kind.LOG_SERVICE:
            return True
        return _allows(self.log_types, log_type) and _allows(self.log_levels, log_level)

    def takes_bad(self, kind: str) -> bool:
        """Tell whether a row that is no event, of a kind or of `UNKNOWN_KIND`, is to be rejected by its deliveries.

        No filter looks into such rows: what cannot be read is not to be passed over in silence.
        """
        return kind == UNKNOWN_KIND or kind in self.kinds


def _allows(wanted: frozenset[str], value: str | None) -> bool:
    return not wanted or (value is not None and value.lower() in wanted)
