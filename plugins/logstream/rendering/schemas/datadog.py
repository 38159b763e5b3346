"""An entry of Datadog's log intake with its standard attributes (docs.datadoghq.com, "Default Standard Attributes")."""

from __future__ import annotations

import re

from logstream.jsontext import as_string
from logstream.rendering.schemas.base import Described, filled, written
from logstream.shapes.facts import Level

_STATUS: dict[Level, str] = {"debug": "debug", "info": "info", "warn": "warn", "error": "error", "fatal": "critical"}


def as_datadog(event: Described) -> bytes:
    """The event as a log entry; the whole of it is `message`, as text, which Datadog reads as JSON."""
    facts = event.facts
    actor = facts.actor
    tags = filled({"workspace_id": event.workspace_id, "workspace_external_id": event.external_id, "kind": facts.kind})
    members = {
        "ddsource": "workato",
        "ddtags": ",".join(f"{name}:{_tag(value)}" for name, value in tags.items()),
        "service": "workato",
        "timestamp": event.happened_us // 1_000,
        "status": _STATUS[facts.level],
        "evt": {"name": facts.type, "category": facts.subject, "outcome": facts.outcome, "id": str(event.event_id)},
        "usr": {"id": actor.id, "name": actor.name, "email": actor.email} if actor else None,
        "network": {"client": {"ip": facts.ip}},
        "http": {
            "method": facts.method,
            "status_code": facts.status_code,
            "useragent": facts.user_agent,
            "url_details": {"path": facts.path},
        },
        "error": {"kind": facts.error_type, "message": facts.error_message},
        "duration": facts.duration_ms * 1_000_000 if facts.duration_ms is not None else None,
        "workspace": {"id": event.workspace_id, "external_id": event.external_id, "name": event.customer_name},
    }
    return written(members, "message", as_string(event.payload))


def _tag(value: str) -> str:
    """A tag's value: a comma would begin another tag, and white space is none of Datadog's."""
    return re.sub(r"[,\s]", "_", value)
