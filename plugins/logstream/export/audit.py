"""What people do to the streaming itself becomes events of the admin workspace, where the settings say so."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from logstream.control.audit import Act, AuditEvent, AuditTrail
from logstream.database import database_errors
from logstream.errors import NotThere
from logstream.export.deployment import Deployment
from logstream.settings.changes import changes
from logstream.settings.models import Settings
from logstream.store.writing import write_user_activity

AT_ONCE = 500
"""Acts that are written in one transaction."""

MOST_CHANGES = 100
"""Fields that one event of changed settings names."""


def stream_audit_events(deployment: Deployment) -> int:
    """Write the acts that are to be streamed into the log store, each once, the oldest first; return how many were written.

    A process that dies between the two databases leaves them to the next one, which finds in the log store what is there.
    Raises `DatabaseError` or `InputError` with the remedy where the log store does not take them.
    """
    trail, written = AuditTrail(deployment.engine), 0
    log_store = deployment.settings.current().settings.log_store
    while True:
        with database_errors("streaming audit events"), deployment.engine.begin() as connection:
            taken = trail.take(connection, AT_ONCE)
            if not taken:
                return written
            moments = [event.happened_at for event in taken if event.happened_at]
            events = [(at, payload_of(event, deployment)) for event, at in zip(taken, moments, strict=True)]
            # clocks of two servers: none was written an hour before it happened
            written += write_user_activity(deployment.store_dsn, log_store, events, min(moments) - timedelta(hours=1))
            trail.note_streamed(connection, [event.id for event in taken])


def payload_of(event: AuditEvent, deployment: Deployment) -> Mapping[str, Any]:
    """An act in the shape of the platform's user activity, without the workspace."""
    detail: dict[str, Any] = dict(event.detail)
    if event.act is Act.SETTINGS_CHANGED:
        detail |= _changed(int(detail["version"]), deployment)
    kind = (
        "Connection" if event.act in (Act.CONNECTION_CREATED, Act.CONNECTION_CHANGED) else "Log streaming destination"
    )
    resource = (
        {"type": kind, "name": event.subject} if event.subject else {"type": "Log streaming settings", "name": None}
    )
    return {
        "id": f"logstream-audit-{event.id}",
        "event": f"log_streaming_{event.act}",
        "timestamp": f"{event.happened_at:%Y-%m-%d %H:%M:%S} UTC" if event.happened_at else None,
        "user": {"id": None, "name": event.actor.name},
        "resource": {**resource, "id": None},
        "details": {"activity": detail, "request": {"ip_address": event.actor.source}},
    }


def _changed(version: int, deployment: Deployment) -> dict[str, Any]:
    """The fields that a version changed, by their paths in `settings.yaml`."""
    try:
        after = deployment.settings.get(version).settings
        earlier = next(iter(deployment.settings.versions(before=version, limit=1)), None)
        before = deployment.settings.get(earlier.id).settings if earlier else Settings()
    except NotThere:  # pruned
        return {}
    paths = [change.path for change in changes(before, after)]
    more = {"more": len(paths) - MOST_CHANGES} if len(paths) > MOST_CHANGES else {}
    return {"changed": paths[:MOST_CHANGES], **more}
