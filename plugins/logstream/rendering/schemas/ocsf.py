"""OCSF 1.5.0 (schema.ocsf.io): the class is chosen by what happened.

Logins are Authentication (3002), changes to members and roles Account Change (3001), to recipes, connections and folders Entity
Management (3004); recipes that start or stop, imported packages and jobs are Application Lifecycle (6002), API requests API
Activity (6003), log messages of level error Application Error (6008); what no class fits is a Base Event (0).
"""

from __future__ import annotations

import re
from typing import Any

from logstream.rendering.schemas.base import PRODUCT, Described, written
from logstream.shapes import Facts, Party, Thing
from logstream.shapes.facts import Subject, Verb

VERSION = "1.5.0"

_CLASSES: dict[int, tuple[str, int, str]] = {
    0: ("Base Event", 0, "Uncategorized"),
    3001: ("Account Change", 3, "Identity & Access Management"),
    3002: ("Authentication", 3, "Identity & Access Management"),
    3004: ("Entity Management", 3, "Identity & Access Management"),
    6002: ("Application Lifecycle", 6, "Application Activity"),
    6003: ("API Activity", 6, "Application Activity"),
    6008: ("Application Error", 6, "Application Activity"),
}
"""Class to its name, its category and that one's name."""

_OF_SUBJECT: dict[Subject, int] = {
    "session": 3002, "account": 3001, "entity": 3004, "application": 6002, "job": 6002, "request": 6003,
    "log": 0, "conversation": 0,
}  # fmt: skip

_ACTIVITIES: dict[int, dict[Verb, tuple[int, str]]] = {
    3002: {"login": (1, "Logon"), "logout": (2, "Logoff")},
    3001: {"create": (1, "Create"), "delete": (6, "Delete"), "start": (2, "Enable"), "stop": (5, "Disable")},
    3004: {
        "create": (1, "Create"), "read": (2, "Read"), "update": (3, "Update"), "delete": (4, "Delete"),
        "start": (8, "Enable"), "stop": (9, "Disable"),
    },
    6002: {"create": (1, "Install"), "start": (3, "Start"), "stop": (4, "Stop")},
    6003: {"create": (1, "Create"), "read": (2, "Read"), "update": (3, "Update"), "delete": (4, "Delete")},
    6008: {"other": (1, "General Error")},
}  # fmt: skip
"""Class and verb to `activity_id` and its name; anything else is 99, Other, and named as the event names it."""

_SEVERITY = {
    "debug": (1, "Informational"), "info": (1, "Informational"), "warn": (2, "Low"), "error": (3, "Medium"),
    "fatal": (6, "Fatal"),
}  # fmt: skip
_EMAIL = re.compile(r"[a-zA-Z0-9!#$%&'*+-/=?^_`{|}~.]+@[a-zA-Z0-9-]+\.[a-zA-Z0-9-.]+")
"""OCSF's type `email_t`. What is no address of that form is the user's `name` alone."""

_STATUS = {"success": (1, "Success"), "failure": (2, "Failure"), "unknown": (0, "Unknown")}


def as_ocsf(event: Described) -> bytes:
    """The event as an OCSF event; the whole of it is `unmapped`."""
    facts = event.facts
    class_uid = class_of(facts)
    class_name, category, category_name = _CLASSES[class_uid]
    activity, activity_name = _ACTIVITIES.get(class_uid, {}).get(facts.verb, (99, facts.type))
    severity, severity_name = _SEVERITY[facts.level]
    status, status_name = _STATUS[facts.outcome]
    members = {
        "metadata": _metadata(event),
        "category_uid": category,
        "category_name": category_name,
        "class_uid": class_uid,
        "class_name": class_name,
        "activity_id": activity,
        "activity_name": activity_name,
        "type_uid": class_uid * 100 + activity,
        "type_name": f"{class_name}: {activity_name}",
        "severity_id": severity,
        "severity": severity_name,
        "time": event.happened_us // 1_000,
        "message": event.summary,
        "status_id": status,
        "status": status_name,
        "status_code": str(facts.status_code) if facts.status_code is not None else facts.error_type,
        "status_detail": facts.error_message,
        "duration": facts.duration_ms,
        **_of_class(class_uid, event),
    }
    payload = event.payload if event.payload.lstrip().startswith(b"{") else b'{"event":' + event.payload + b"}"
    return written(members, "unmapped", payload)


def class_of(facts: Facts) -> int:
    """The `class_uid` of an event."""
    if facts.subject == "log" and facts.level in {"error", "fatal"}:
        return 6008
    return _OF_SUBJECT[facts.subject]


def _metadata(event: Described) -> dict[str, Any]:
    labels = [f"workspace_external_id:{event.external_id}"] if event.external_id else []
    return {
        "version": VERSION,
        "product": {"name": PRODUCT, "vendor_name": PRODUCT},
        "uid": f"{event.workspace_id}-{event.event_id}",
        "tenant_uid": event.workspace_id,
        "log_name": event.facts.kind,
        "event_code": event.facts.type,
        "logged_time": event.recorded_us // 1_000,
        "labels": labels,
    }


def _of_class(class_uid: int, event: Described) -> dict[str, Any]:
    """What a class has beside that which all have."""
    facts = event.facts
    actor = {"user": _user(facts.actor, event)} if facts.actor else {"app_name": PRODUCT}
    source = {"ip": facts.ip} if facts.ip else {"name": "unknown"}
    agent = {"user_agent": facts.user_agent}
    if class_uid == 3002:
        user = _user(facts.actor or _of_thing(facts.thing), event)
        return {
            "user": user,
            "service": {"name": PRODUCT},
            "src_endpoint": source,
            "actor": actor,
            "http_request": agent,
        }
    if class_uid == 3001:
        return {
            "user": _user(_of_thing(facts.thing), event),
            "actor": actor,
            "src_endpoint": source,
            "http_request": agent,
        }
    if class_uid == 3004:
        thing = facts.thing or Thing("resource")
        entity = {"type": thing.type, "uid": thing.id, "name": thing.name or thing.id or thing.type}
        return {"entity": entity, "actor": actor, "src_endpoint": source, "http_request": agent}
    if class_uid == 6002:
        thing = facts.thing or Thing("application")
        name = thing.name or thing.id or thing.type
        return {"app": {"name": name, "uid": thing.id, "vendor_name": PRODUCT, "feature": {"name": thing.type}}}
    if class_uid == 6003:
        thing = facts.thing or Thing("endpoint")
        response = {"code": facts.status_code, "latency": facts.duration_ms} if facts.status_code is not None else None
        return {
            "api": {"operation": facts.method or facts.type},
            "actor": actor,
            "src_endpoint": source,
            "http_request": {"http_method": _method(facts.method), "url": {"path": facts.path}, **agent},
            "http_response": response,
            "resources": [{"type": thing.type, "name": thing.name or thing.type, "uid": thing.id or "unknown"}],
        }
    return {}


def _method(method: str | None) -> str | None:
    # the values of OCSF 1.5.0: PATCH is none of them, and stays in `api.operation`
    known = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE"}
    return method.upper() if method and method.upper() in known else None


def _of_thing(thing: Thing | None) -> Party:
    return Party(thing.id, None, thing.name) if thing else Party()


def _user(party: Party, event: Described) -> dict[str, Any]:
    account = event.customer_name or event.workspace_id
    return {
        "uid": party.id or party.email or "unknown",
        "uid_alt": party.external_id,
        "name": party.email or party.name or party.id or "unknown",
        "full_name": party.name,
        "email_addr": party.email if party.email and _EMAIL.fullmatch(party.email) else None,
        "type_id": 1,
        "type": "User",
        "account": {"name": account, "uid": event.workspace_id, "type_id": 99, "type": "Workato workspace"},
        "org": {"name": account, "uid": event.workspace_id},
    }
