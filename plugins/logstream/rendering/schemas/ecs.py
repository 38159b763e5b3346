"""The Elastic Common Schema 8.17: each event's own time, category, type, outcome, user and organization."""

from __future__ import annotations

from logstream.rendering.schemas.base import PRODUCT, Described, iso, written
from logstream.shapes import Facts
from logstream.shapes.facts import Subject, Verb

VERSION = "8.17.0"

_CATEGORY: dict[Subject, list[str]] = {
    "session": ["authentication"],
    "account": ["iam"],
    "application": ["configuration"],
    "entity": ["configuration"],
    "job": ["process"],
    "request": ["api"],
}
_TYPES: dict[Verb, str] = {
    "create": "creation", "read": "access", "update": "change", "delete": "deletion", "start": "change", "stop": "change",
    "login": "start", "logout": "end",
}  # fmt: skip
_ALLOWED = {
    "iam": {"creation", "change", "deletion"},
    "api": {"access", "change", "creation", "deletion"},
    "configuration": {"access", "change", "creation", "deletion"},
}


def as_ecs(event: Described) -> bytes:
    """The event as an ECS document; the whole of it is `workato`, a field of our own as ECS allows."""
    facts = event.facts
    actor = facts.actor
    members = {
        "@timestamp": iso(event.happened_us),
        "ecs": {"version": VERSION},
        "message": event.summary,
        "labels": {"workspace_id": event.workspace_id, "workspace_external_id": event.external_id},
        "event": {
            "kind": "event",
            "module": "workato",
            "dataset": f"workato.{facts.kind}",
            "provider": PRODUCT,
            "id": f"{event.workspace_id}-{event.event_id}",
            "code": facts.type,
            "action": f"{facts.kind}-{facts.type}".lower(),
            "category": _CATEGORY.get(facts.subject, []),
            "type": types_of(facts),
            "outcome": facts.outcome,
            "created": iso(event.recorded_us),
            "duration": facts.duration_ms * 1_000_000 if facts.duration_ms is not None else None,
            "reason": facts.error_message,
        },
        "organization": {"id": event.workspace_id, "name": event.customer_name},
        "user": {"id": actor.id, "email": actor.email, "full_name": actor.name, "name": actor.email or actor.name}
        if actor
        else None,
        "source": {"ip": facts.ip},
        "user_agent": {"original": facts.user_agent},
        "http": {"request": {"method": facts.method}, "response": {"status_code": facts.status_code}},
        "url": {"path": facts.path},
        "log": {"level": facts.level},
        "error": {"message": facts.error_message, "type": facts.error_type},
        "service": {"name": "workato", "type": "workato"},
    }
    return written(members, "workato", event.payload)


def types_of(facts: Facts) -> list[str]:
    """`event.type`: one that ECS allows with the event's category."""
    if facts.subject == "job":
        return ["end"]
    category = _CATEGORY.get(facts.subject, [""])[0]
    found = _TYPES.get(facts.verb, "info")
    if category in _ALLOWED and found not in _ALLOWED[category]:
        found = "info"
    return ["error"] if not category and facts.level in {"error", "fatal"} else [found]
