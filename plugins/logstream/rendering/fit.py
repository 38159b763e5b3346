"""Whether a message template fits the type of its destination, so that nothing is wrapped twice.

A vendor's own destination type makes the vendor's request: Splunk's `{"event": ...}`, Loki's `{"streams": ...}`, New Relic's
blocks. A template that makes one itself is for a destination of type `http`. Files and object stores take whatever a template
makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from logstream.jsontext import loads
from logstream.rendering.preview import render_sample
from logstream.settings.models import DEFAULT_KIND, by_kind
from logstream.shapes.samples import sample_text

TAKE_ANYTHING = frozenset({"http", "file", "s3", "azure_blob", "gcs", "sumo_logic"})
"""Types that send a message as it is."""

OBJECTS_ONLY = {"elasticsearch": "`message`", "azure_monitor": "`RawData`"}
"""Types whose entries are JSON objects, and where other JSON goes."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A vendor's request, or entry of one. `kept`: the vendor's own destination type takes one that a template made."""

    type: str
    title: str
    kept: bool = False


_HEC = Envelope("splunk_hec", "Splunk's HTTP Event Collector")
_LOKI = Envelope("grafana_loki", "Grafana Loki")
_NEW_RELIC = Envelope("new_relic", "New Relic")
_DATADOG = Envelope("datadog", "Datadog", kept=True)

_HEC_FIELDS = frozenset({"time", "host", "source", "sourcetype", "index", "fields", "event"})


def envelope_of(message: Any) -> Envelope | None:
    """The vendor whose request, or entry, a message is; `None` for any other."""
    if isinstance(message, dict):
        if "event" in message and "sourcetype" in message and message.keys() <= _HEC_FIELDS:
            return _HEC
        if message.keys() == {"streams"} and isinstance(message["streams"], list):
            return _LOKI
        return _DATADOG if "ddsource" in message else None
    blocks = isinstance(message, list) and message and all(isinstance(block, dict) for block in message)
    return _NEW_RELIC if blocks and all("logs" in block for block in message) else None


def misfits(
    message: str | dict[str, str] | None, kinds: Iterable[str], destination_type: str, options: Mapping[str, Any]
) -> list[str]:
    """What does not fit between a setting's message, for the kinds it streams, and its destination, a sentence each."""
    found: dict[str, None] = {}
    templates = by_kind(message)
    for kind in sorted(kinds):
        template = templates.get(kind, templates.get(DEFAULT_KIND))
        if template is None:
            continue
        rendered = render_sample(template, kind, sample_text(kind).encode(), drop_lines=True)
        if rendered.message is not None:
            reason = _misfit(loads(rendered.message.encode()), destination_type, options)
            if reason is not None:
                found[reason] = None
    return list(found)


def _misfit(message: Any, destination_type: str, options: Mapping[str, Any]) -> str | None:
    envelope = envelope_of(message)
    if envelope is None:
        if destination_type in OBJECTS_ONLY and not isinstance(message, dict):
            where = OBJECTS_ONLY[destination_type]
            return f"the template makes no JSON object: {destination_type} would get it as text, in {where}"
        return None
    if destination_type == envelope.type:
        return None if envelope.kept else (
            f"the template makes a whole request of {envelope.title}, and a destination of type {destination_type} makes that "
            f"itself: events would be wrapped twice. Take a template that makes the event alone"
        )  # fmt: skip
    if destination_type not in TAKE_ANYTHING:
        return f"the template makes what {envelope.title} takes, and the destination is of type {destination_type}"
    packed = options.get("format", "single") if destination_type == "http" else "single"
    alone = not envelope.kept and not (envelope is _HEC and packed == "lines")
    if packed != "single" and alone:
        return f"the template makes a whole request of {envelope.title}, so `format: {packed}` puts several into one"
    return None
