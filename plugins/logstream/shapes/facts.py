"""What an event says, in words that are the same for every kind and shape: who, what, on what, from where, how it ended.

The source of each field is in the package's docstring. Values are texts, numbers or `None`, whatever the event holds in
their place, so that what is made of them fits a vendor's schema.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from logstream.events import Kind
from logstream.shapes.heads import Head, parse_time, type_of

Outcome = Literal["success", "failure", "unknown"]
Level = Literal["debug", "info", "warn", "error", "fatal"]
Subject = Literal["session", "account", "application", "entity", "job", "request", "log", "conversation"]
Verb = Literal["create", "read", "update", "delete", "start", "stop", "login", "logout", "other"]


@dataclass(frozen=True, slots=True)
class Party:
    """A person: a customer, or a member of a customer's team."""

    id: str | None = None
    external_id: str | None = None
    name: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Thing:
    """What something was done to: a recipe, a connection, an endpoint."""

    type: str
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of one event. `duration_ms` is of jobs and requests, `level` of log events and of how it ended."""

    kind: str
    type: str
    subject: Subject
    verb: Verb
    outcome: Outcome
    level: Level
    customer: Party
    actor: Party | None
    thing: Thing | None
    own_id: str | None = None
    message: str | None = None
    error_message: str | None = None
    error_type: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    method: str | None = None
    path: str | None = None
    status_code: int | None = None
    duration_ms: int | None = None


def facts_of(kind: str, document: Any) -> Facts:
    """What an event says. `document` is its parsed JSON, of any shape."""
    event: Mapping[str, Any] = document if isinstance(document, dict) else {}
    head = Head(**{name: event.get(name) for name in Head.__struct_fields__})
    read = {
        Kind.JOB: _job,
        Kind.USER_ACTIVITY: _activity,
        Kind.API_PLATFORM: _request,
        Kind.LOG_SERVICE: _log,
        Kind.GENIE: _conversation,
    }.get(kind, _other)  # type: ignore[call-overload]
    return read(kind, text(type_of(kind, head)) or "event", event)  # type: ignore[no-any-return]


def _job(kind: str, said: str, event: Mapping[str, Any]) -> Facts:
    context = _context(event)
    failed = said == "failed"
    error = _mapping(_parsed(event.get("error")))
    whole = text(event.get("error")) if not error else None
    began, ended = parse_time(event.get("started_at")), parse_time(event.get("completed_at"))
    duration = (ended - began).total_seconds() * 1_000 if began and ended else -1
    recipe = text(event.get("recipe_id")) or text(context.get("recipe_id"))
    return Facts(
        kind, said, "job", "other", "failure" if failed else "success" if said == "succeeded" else "unknown",
        "error" if failed else "info", _customer(context), None,
        Thing("recipe", recipe, text(context.get("recipe_name"))),
        own_id=text(event.get("id")), message=text(event.get("title")),
        error_message=text(error.get("message")) or whole, error_type=text(event.get("error_type")),
        duration_ms=int(duration) if duration >= 0 else None,
    )  # fmt: skip


def _activity(kind: str, said: str, event: Mapping[str, Any]) -> Facts:
    words = said.lower().replace(".", "_")
    team = _mapping(event.get("team")) or _mapping(event.get("workspace"))
    resource = _mapping(event.get("resource"))
    request = _mapping(_mapping(event.get("details")).get("request"))
    failed = "fail" in words
    name = text(resource.get("type"))
    return Facts(
        kind, said, _subject(words), _verb(words), "failure" if failed else "success", "warn" if failed else "info",
        _party(team), _party(_mapping(event.get("user"))) if event.get("user") else None,
        Thing(name or "resource", text(resource.get("id")), text(resource.get("name"))) if resource else None,
        own_id=text(event.get("id")), message=text(_mapping(event.get("details")).get("activity")),
        ip=_ip(request.get("ip_address")), user_agent=text(request.get("user_agent")),
    )  # fmt: skip


def _request(kind: str, said: str, event: Mapping[str, Any]) -> Facts:
    status = _integer(event.get("status_code"), 100, 599)
    failed = status is not None and status >= 400
    client, endpoint = _mapping(event.get("client")), _mapping(event.get("endpoint"))
    verbs: dict[str, Verb] = {"GET": "read", "HEAD": "read", "POST": "create", "PUT": "update", "PATCH": "update"}
    verb = "delete" if said.upper() == "DELETE" else verbs.get(said.upper(), "other")
    return Facts(
        kind, said, "request", verb, "unknown" if status is None else "failure" if failed else "success",
        "error" if status is not None and status >= 500 else "warn" if failed else "info",
        _customer(_context(event)), _party(client) if client else None,
        Thing("endpoint", text(endpoint.get("id")), text(endpoint.get("name"))) if endpoint else None,
        own_id=text(event.get("id")), ip=_ip(event.get("ip_address") or event.get("ip")),
        user_agent=text(event.get("user_agent")), method=text(event.get("method")), path=text(event.get("path")),
        status_code=status, duration_ms=_integer(event.get("latency_ms"), 0, 10**12),
    )  # fmt: skip


def _log(kind: str, said: str, event: Mapping[str, Any]) -> Facts:
    context = _context(event)
    levels: dict[str, Level] = {"debug": "debug", "warn": "warn", "warning": "warn", "error": "error", "fatal": "fatal"}
    level = levels.get((text(event.get("level")) or "").lower(), "info")
    recipe = text(event.get("recipe_id")) or text(context.get("recipe_id"))
    return Facts(
        kind, said, "log", "other", "unknown", level, _customer(context), None,
        Thing("recipe", recipe, text(context.get("recipe_name"))) if recipe else None,
        own_id=text(event.get("id")), message=text(event.get("message")),
        error_message=text(event.get("message")) if level in {"error", "fatal"} else None,
    )  # fmt: skip


def _conversation(kind: str, said: str, event: Mapping[str, Any]) -> Facts:
    genie, message = _mapping(event.get("genie")), _mapping(event.get("message"))
    return Facts(
        kind, said, "conversation", "other", "unknown", "info", _party(_mapping(event.get("team"))),
        _party(_mapping(event.get("user"))) if event.get("user") else None,
        Thing("genie", text(genie.get("id")), text(genie.get("name"))) if genie else None,
        own_id=text(event.get("conversation_id")), message=text(message.get("text")) or text(event.get("message")),
    )  # fmt: skip


def _other(kind: str, said: str, event: Mapping[str, Any]) -> Facts:
    return Facts(kind, said, "log", "other", "unknown", "info", _customer(_context(event)), None, None)


def _context(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """A job's context: at the top, or where older jobs have it."""
    older = _mapping(_mapping(_mapping(event.get("report")).get("workato")).get("job_context"))
    return _mapping(event.get("context")) or older


def _customer(context: Mapping[str, Any]) -> Party:
    names = ("user_id", "user_external_id", "user_name", "user_email")
    return Party(*(text(context.get(name)) for name in names))


def _party(member: Mapping[str, Any]) -> Party:
    return Party(*(text(member.get(name)) for name in ("id", "external_id", "name", "email")))


def _subject(words: str) -> Subject:
    if "login" in words or "logout" in words:
        return "session"
    if words.startswith(("user", "team", "member", "collaborator", "role", "group", "invitation")):
        return "account"
    if (
        words.startswith(("recipe", "flow", "package")) and _verb(words) in {"start", "stop"}
    ) or words == "package_imported":
        return "application"
    return "entity"


def _verb(words: str) -> Verb:
    last = words.rpartition("_")[2]
    for verb, endings in _ENDINGS.items():
        if last in endings:
            return verb
    return "login" if "login" in words else "logout" if "logout" in words else "other"


_ENDINGS: dict[Verb, tuple[str, ...]] = {
    "create": ("created", "added", "imported", "invited", "cloned"),
    "read": ("exported", "viewed", "downloaded", "read"),
    "update": ("updated", "changed", "renamed", "moved", "rotated", "connected", "disconnected", "edited", "accepted"),
    "delete": ("deleted", "removed", "revoked"),
    "start": ("started", "activated", "enabled", "resumed"),
    "stop": ("stopped", "deactivated", "disabled", "suspended"),
}


def text(value: object) -> str | None:
    """A text, or a number as text; `None` for anything else and for the empty text."""
    if isinstance(value, str):
        # a surrogate that stands alone is no text to any receiver
        return value.encode("utf-8", "replace").decode("utf-8") or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(getattr(value, "text", value))
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _parsed(value: object) -> object:
    """What a text that holds JSON holds: a failed job's `error` is one."""
    if not isinstance(value, str) or not value.startswith("{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _integer(value: object, least: int, most: int) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and least <= value <= most else None  # type: ignore[return-value, operator]


def _ip(value: object) -> str | None:
    """An address without its zone (`%eth0`), which no receiver's type for addresses takes."""
    try:
        return str(ipaddress.ip_address(value)).partition("%")[0] if isinstance(value, str) else None
    except ValueError:
        return None
