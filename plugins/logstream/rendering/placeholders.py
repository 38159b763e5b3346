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

MEANINGS = {
    "log_message": "The event as JSON, whole.",
    "log_message_str": "The event as a string that holds its JSON, as Grafana Loki wants it.",
    "event.id": "The event's id in the log store: the same however often it is sent.",
    "event.kind": "job, user_activity, api_platform, log_service or genie.",
    "event.type": "What happened, such as user_login or succeeded.",
    "event.occurred_at": "When it happened, ISO 8601.",
    "event.occurred_at_s": "When it happened, in seconds since 1970, with a fraction.",
    "event.occurred_at_ms": "When it happened, in milliseconds since 1970.",
    "event.occurred_at_us": "When it happened, in microseconds since 1970.",
    "event.occurred_at_ns": "When it happened, in nanoseconds since 1970.",
    "event.recorded_at": "When the log store got it, ISO 8601.",
    "ocsf": "The event in the Open Cybersecurity Schema Framework.",
    "ecs": "The event in the Elastic Common Schema.",
    "cim": "The event in Splunk's Common Information Model.",
    "datadog": "The event with Datadog's standard attributes.",
    "workspace.id": "The id of the customer's workspace.",
    "workspace.external_id": "The customer's id at your platform; null if there is none.",
    "workspace.name": "The customer's name.",
    "now": "When the message is made, ISO 8601. An export that is repeated makes other bytes.",
    "now_utc": "When the message is made, in milliseconds since 1970, with a fraction.",
    "now_utc_micro": "When the message is made, in microseconds since 1970.",
    "now_utc_nano": "When the message is made, in nanoseconds since 1970.",
}
"""What each placeholder becomes, in a sentence; a test holds that there is one for each."""
