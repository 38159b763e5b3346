"""What people do to the streaming itself: who, when, from where. These acts are audit events like those that are streamed.

Nothing of a connection but its id and the names of its fields is kept, and nothing that a receiver has answered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, exists, func, insert, select, update

from logstream.control.tables import audit_events
from logstream.database import database_errors


class Act(StrEnum):
    """What a person may do."""

    SETTINGS_CHANGED = "settings_changed"
    DESTINATION_TESTED = "destination_tested"
    DESTINATION_HELD = "destination_held"
    DESTINATION_RESUMED = "destination_resumed"
    REDELIVERY_STARTED = "redelivery_started"
    REDELIVERY_ENDED = "redelivery_ended"
    BACKFILL_STARTED = "backfill_started"
    BACKFILL_ENDED = "backfill_ended"
    LOSSES_ACKNOWLEDGED = "losses_acknowledged"
    DEAD_LETTERS_DISCARDED = "dead_letters_discarded"
    OWED_WRITTEN_OFF = "owed_written_off"
    CONNECTION_CREATED = "connection_created"
    CONNECTION_CHANGED = "connection_changed"

    @property
    def words(self) -> str:
        """The same for people."""
        return str(self).replace("_", " ").capitalize()


COMMAND = "command line"
"""From where what a command does comes."""

RUN = "a run in Airflow"
"""From where what a run has made of it comes."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and from where: an address of the network, or the command line."""

    name: str
    source: str = COMMAND


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One act. `detail` is plain data without secrets; `id` and `happened_at` are the database's."""

    act: Act
    actor: Actor
    subject: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0
    happened_at: datetime | None = None


def record(connection: Connection, event: AuditEvent, *, stream: bool) -> None:
    """Keep an act, in the transaction that does it. `stream` says whether it becomes an event of the log store."""
    values = {
        "act": str(event.act), "actor": event.actor.name, "source": event.actor.source, "subject": event.subject,
        "detail": dict(event.detail), "to_stream": stream,
    }  # fmt: skip
    connection.execute(insert(audit_events).values(values))


class AuditTrail:
    """The acts that are kept, and those that are still to be streamed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, event: AuditEvent, *, stream: bool) -> None:
        """Keep an act that is done elsewhere."""
        with database_errors("keeping an audit event"), self._engine.begin() as connection:
            record(connection, event, stream=stream)

    def newest(self, *, before: int | None = None, subject: str = "", limit: int = 50) -> list[AuditEvent]:
        """The newest acts first; those before an id, and those on one subject, if asked."""
        query = select(audit_events).order_by(audit_events.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(audit_events.c.id < before)
        if subject:
            query = query.where(audit_events.c.subject == subject)
        with database_errors("reading the audit events"), self._engine.connect() as connection:
            return [_event(row) for row in connection.execute(query)]

    def open_backfills(self) -> list[AuditEvent]:
        """The beginnings of backfills of the last 30 days whose ends are not kept yet, the oldest first."""
        query = (
            select(audit_events)
            .where(audit_events.c.act == Act.BACKFILL_STARTED, _has_no_end())
            .where(audit_events.c.happened_at > func.clock_timestamp() - timedelta(days=30))
            .order_by(audit_events.c.id)
        )
        with database_errors("reading the audit events"), self._engine.connect() as connection:
            return [_event(row) for row in connection.execute(query)]

    def end_backfill(self, begun: AuditEvent, ended: AuditEvent, *, stream: bool) -> bool:
        """Keep how a backfill ended; return whether its end was not kept before."""
        query = select(audit_events.c.id).where(audit_events.c.id == begun.id)
        with database_errors("keeping an audit event"), self._engine.begin() as connection:
            connection.execute(
                query.with_for_update()
            )  # of two that look at once the second sees what the first has kept
            first = connection.scalar(query.where(_has_no_end())) is not None
            if first:
                record(connection, ended, stream=stream)
        return first

    def take(self, connection: Connection, limit: int) -> list[AuditEvent]:
        """The oldest that are to be streamed, locked until the transaction ends; those that another has taken are left out."""
        query = (
            select(audit_events)
            .where(audit_events.c.to_stream, audit_events.c.streamed_at.is_(None))
            .order_by(audit_events.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return [_event(row) for row in connection.execute(query)]

    def note_streamed(self, connection: Connection, ids: Collection[int]) -> None:
        """Note that they are in the log store."""
        connection.execute(
            update(audit_events).where(audit_events.c.id.in_(ids)).values(streamed_at=func.clock_timestamp())
        )


def _has_no_end() -> ColumnElement[bool]:
    """Of the beginning of a backfill."""
    ended = audit_events.alias()
    return ~exists().where(
        ended.c.act == Act.BACKFILL_ENDED,
        ended.c.id > audit_events.c.id,
        ended.c.detail["backfill"].as_string() == audit_events.c.detail["backfill"].as_string(),
    )


def _event(row: Any) -> AuditEvent:
    return AuditEvent(
        Act(row.act), Actor(row.actor, row.source), row.subject, row.detail, row.id, row.happened_at
    )  # fmt: skip
