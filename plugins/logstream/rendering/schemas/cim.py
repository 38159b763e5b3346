"""Splunk's Common Information Model: the fields of its data models Authentication, Change and Web, flat, as Splunk searches them.

Logins have the fields of Authentication, other activity those of Change, API requests those of Web. Jobs, log messages and
conversations have no data model: they have the fields that all models share. Splunk puts events into a model by tags, which
an add-on gives by `sourcetype` and these fields.
"""

from __future__ import annotations

from typing import Any

from logstream.rendering.schemas.base import Described, written
from logstream.shapes import Facts
from logstream.shapes.facts import Verb

_ACTIONS: dict[Verb, str] = {
    "create": "created", "read": "read", "update": "modified", "delete": "deleted", "start": "updated", "stop": "stopped",
    "other": "modified", "login": "modified", "logout": "modified",
}  # fmt: skip
"""Verb to `action` of the data model Change."""

_HTTP_STATUS = frozenset(
    {100, 101, 102, 226, 422, 423, 424, 426, 428, 429, 431, 510, 511}.union(
        range(200, 209), range(300, 309), range(400, 418), range(500, 509)
    )
)
_HTTP_METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"})
"""What the data model Web prescribes for `status` and `http_method`; others are in `event` alone."""


def as_cim(event: Described) -> bytes:
    """The event with CIM's fields; the whole of it is `event`."""
    facts = event.facts
    actor = facts.actor
    members = {
        "time": f"{event.happened_us // 1_000_000}.{event.happened_us % 1_000_000:06d}",
        "kind": facts.kind,
        "signature": facts.type,
        "signature_id": f"{facts.kind}:{facts.type}",
        "id": f"{event.workspace_id}-{event.event_id}",
        "vendor_product": "Workato",
        "app": "workato",
        "dest": "workato",
        "user": (actor.email or actor.name or actor.id) if actor else None,
        "user_id": actor.id if actor else None,
        "user_agent": facts.user_agent,
        "src": facts.ip,
        "severity": facts.level,
        "reason": facts.error_message,
        "vendor_account": event.workspace_id,
        "workspace_id": event.workspace_id,
        "workspace_external_id": event.external_id,
        "workspace_name": event.customer_name,
        **_of_model(facts),
    }
    return written(members, "event", event.payload)


def model_of(facts: Facts) -> str | None:
    """The data model of an event: Authentication, Change, Web, or none."""
    if facts.subject == "session":
        return "Authentication"
    if facts.subject in {"account", "application", "entity"}:
        return "Change"
    return "Web" if facts.subject == "request" else None


def _of_model(facts: Facts) -> dict[str, Any]:
    thing, model = facts.thing, model_of(facts)
    if model == "Authentication":
        return {"action": facts.outcome if facts.outcome != "unknown" else "pending"}
    if model == "Change":
        return {
            "action": _ACTIONS[facts.verb],
            "status": facts.outcome if facts.outcome != "unknown" else None,
            "change_type": "AAA" if facts.subject == "account" else "application",
            "command": facts.type,
            "object": (thing.name or thing.id) if thing else None,
            "object_id": thing.id if thing else None,
            "object_category": thing.type if thing else None,
        }
    if model == "Web":
        method = (facts.method or "").upper()
        return {
            "action": _web_action(facts),
            "status": str(facts.status_code) if facts.status_code in _HTTP_STATUS else None,
            "http_method": method if method in _HTTP_METHODS else None,
            "http_user_agent": facts.user_agent,
            "uri_path": facts.path,
            "url": facts.path,
            "response_time": facts.duration_ms,
        }
    return {"status": facts.outcome if facts.outcome != "unknown" else None, "duration": facts.duration_ms}


def _web_action(facts: Facts) -> str | None:
    if facts.outcome == "success":
        return "allowed"
    return "blocked" if facts.status_code in {401, 403} else None
