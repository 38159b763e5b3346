"""What the schemas are made from, and how their objects are written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from logstream.settings.resolution import Workspace
from logstream.shapes import Facts

PRODUCT = "Workato"
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Described:
    """One event: what it says, what the log store says of it, and its bytes. Times are microseconds since 1970."""

    facts: Facts
    payload: bytes
    event_id: int
    workspace: Workspace
    happened_us: int
    recorded_us: int

    @property
    def workspace_id(self) -> str:
        """The workspace's id as text, as schemas want ids."""
        return str(self.workspace.id)

    @property
    def external_id(self) -> str | None:
        """The partner's id of the customer: the log store's, else the one in the event."""
        return self.workspace.external_id or self.facts.customer.external_id

    @property
    def customer_name(self) -> str | None:
        """The customer's name: the log store's, else the one in the event."""
        return self.workspace.name or self.facts.customer.name

    @property
    def summary(self) -> str:
        """One line for people."""
        facts = self.facts
        if facts.message:
            return facts.message
        thing = f": {facts.thing.type} {facts.thing.name or facts.thing.id or ''}".rstrip() if facts.thing else ""
        return f"{facts.kind} {facts.type}{thing}"


def iso(unix_us: int) -> str:
    """Microseconds since 1970 as ISO 8601 with milliseconds and offset."""
    return (_UNIX + timedelta(microseconds=unix_us)).isoformat(timespec="milliseconds")


def filled(members: dict[str, Any]) -> dict[str, Any]:
    """The members that have a value, all the way down: a field that is not known is left out, not null."""
    found = {}
    for name, value in members.items():
        kept = filled(value) if isinstance(value, dict) else value
        if kept is not None and kept not in ({}, []):
            found[name] = kept
    return found


def written(members: dict[str, Any], whole: str, payload: bytes) -> bytes:
    """The object as JSON, with the whole event, in its own bytes, as its member `whole`."""
    return orjson.dumps(filled(members))[:-1] + b"," + orjson.dumps(whole) + b":" + payload + b"}"
