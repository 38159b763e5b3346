"""What may stand in a template beside JSONPaths: the platform's own placeholders, and ours for the event's envelope.

The platform's ("customize log message"): `log_message`, `log_message_str`, `now`, `now_utc`, `now_utc_micro`, `now_utc_nano`.
Ours: `event.*` and `workspace.*` are what the log store says of an event, so they have a value for every kind and shape; `ocsf`,
`ecs`, `cim` and `datadog` are the event in that schema.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from logstream.jsontext import as_string
from logstream.rendering.schemas import SCHEMAS, Described
from logstream.rendering.schemas.base import iso
from logstream.rendering.view import EventView

Extract = Callable[[EventView], bytes]
"""From an event to the JSON of a placeholder's value."""


def _seconds(view: EventView) -> bytes:
    return b"%d.%06d" % divmod(view.happened_us, 1_000_000)


def _json(read: Callable[[EventView], object]) -> Extract:
    return lambda view: orjson.dumps(read(view))


def _schema(write: Callable[[Described], bytes]) -> Extract:
    return lambda view: write(view.described)


EVENT: dict[str, Extract] = {
    "log_message": lambda view: view.payload,
    "log_message_str": lambda view: as_string(view.payload),
    "event.id": _json(lambda view: view.event.id),
    "event.kind": _json(lambda view: view.event.kind),
    "event.type": _json(lambda view: view.type),
    "event.occurred_at": _json(lambda view: iso(view.happened_us)),
    "event.occurred_at_s": _seconds,
    "event.occurred_at_ms": lambda view: b"%d" % (view.happened_us // 1_000),
    "event.occurred_at_us": lambda view: b"%d" % view.happened_us,
    "event.occurred_at_ns": lambda view: b"%d" % (view.happened_us * 1_000),
    "event.recorded_at": _json(lambda view: iso(view.recorded_us)),
    **{name: _schema(write) for name, write in SCHEMAS.items()},
}
"""Placeholders of the event."""

WORKSPACE: dict[str, Extract] = {
    "workspace.id": _json(lambda view: view.workspace.id),
    "workspace.external_id": _json(lambda view: view.workspace.external_id),
    "workspace.name": _json(lambda view: view.workspace.name),
}
"""Placeholders of the customer. A template that has no other says nothing of the event."""
