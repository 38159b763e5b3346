"""What arrives, for each kind of event, each template and each type of destination that it fits.

It is valid for its schema, wrapped once, names its customer, and has the event's own time: each of these, of each of these.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from logstream.destinations import destination_types
from logstream.destinations.parcel import LaneRef
from logstream.destinations.registry import make_destination
from logstream.destinations.transport.compression import Compression
from logstream.destinations.transport.layouts import PlatformLayout
from logstream.destinations.transport.object_packing import EventPacker
from logstream.errors import ConnectionNotFound
from logstream.events import Event, Kind
from logstream.messages import Messages
from logstream.rendering import Renderer, compile_template
from logstream.rendering.fit import misfits
from logstream.rendering.preview import SAMPLE_WORKSPACE, as_stored
from logstream.settings.message_files import shipped_templates
from logstream.settings.models import DestinationSettings
from logstream.settings.resolution import Workspace
from logstream.shapes import parse_time, unix_us
from logstream.shapes.samples import sample_text
from logstream.window import Window

from .hostile import hostile_events
from .schemas import WANTED, Sent

OPTIONS: dict[str, dict[str, Any]] = {
    "elasticsearch": {"index": "logs-audit-default"},
    "azure_monitor": {"endpoint": "https://x.ingest.monitor.azure.com", "rule_id": "dcr-1", "stream": "Custom-A_CL"},
}
OBJECTS = {"file", "s3", "azure_blob", "gcs"}
"""Types that put a message as it is into an object."""

FITTING = [
    (template, destination)
    for template, source in shipped_templates().items()
    for destination in sorted(destination_types())
    if not misfits(source, list(Kind), destination, {})
]


class NoConnections:
    """No destination is opened here."""

    def __getattr__(self, name: str) -> Any:
        raise ConnectionNotFound(name)


LANE = LaneRef("lake", Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)), 0, 1)


def body_of(destination: str, event: Event, message: bytes) -> bytes:
    """The request's body, or the object, that one event makes."""
    if destination in OBJECTS:
        packer = EventPacker("", Compression.NONE, LANE, PlatformLayout())
        (parcel,) = [*packer.pack([event], Messages([message])), *packer.finish()]
        ((_, body),) = parcel.objects  # type: ignore[attr-defined]
        return bytes(body)
    options = {"type": destination, "connection": "c", **OPTIONS.get(destination, {})}
    made: Any = make_destination("d", DestinationSettings.model_validate(options), NoConnections())  # type: ignore[arg-type]
    return bytes(made.encode([made.entry(event, message)]))


def unwrapped(destination: str, body: bytes) -> tuple[Any, str, Any]:
    """What the template made of it, and where the type itself tells the time, with that time; an empty place if nowhere."""
    if destination == "elasticsearch":
        _, document = map(json.loads, body.splitlines())
        return document, "@timestamp", document["@timestamp"]
    arrived = json.loads(body)
    if destination == "splunk_hec":
        assert arrived.keys() <= {"time", "host", "source", "sourcetype", "index", "fields", "event"}
        return arrived["event"], "time", arrived["time"]
    if destination == "grafana_loki":
        ((stream,),) = (arrived["streams"],)
        ((moment, line),) = stream["values"]
        assert all(isinstance(value, str) and value for value in stream["stream"].values())
        return json.loads(line), "values.0.0", int(moment)
    if destination == "new_relic":
        ((entry,),) = ([log for block in arrived for log in block["logs"]],)
        return json.loads(entry["message"]), "timestamp", entry["timestamp"]
    if destination == "datadog":
        (entry,) = arrived
        own = "evt" in entry  # the template made the entry
        return entry if own else json.loads(entry["message"]), "timestamp", entry["timestamp"]
    if destination == "azure_monitor":
        (document,) = arrived
        return document, "TimeGenerated", document["TimeGenerated"]
    return arrived, "", None


ADDED = {"elasticsearch": "@timestamp", "azure_monitor": "TimeGenerated"}
"""What a type adds to a document that has it not."""

IN_MESSAGE = {
    "ocsf": "time", "elastic_ecs": "@timestamp", "splunk": "time", "datadog": "timestamp", "plain": "occurred_at",
    "sumo_logic": "timestamp", "grafana_loki": "occurred_at", "http_splunk_hec": "time",
    "http_grafana_loki": "streams.0.values.0.0", "http_new_relic": "0.logs.0.timestamp",
}  # fmt: skip
"""Where a template's messages have the event's time, which `WANTED` checks."""

CUSTOMER = {
    "ocsf": "metadata.tenant_uid", "elastic_ecs": "organization.id", "splunk": "workspace_id", "datadog": "workspace.id",
    "plain": "workspace.id", "sumo_logic": "workspace.id", "grafana_loki": "workspace_id",
    "http_splunk_hec": "fields.workspace_id", "http_grafana_loki": "streams.0.stream.workspace_id",
    "http_new_relic": "0.common.attributes.workspace_id",
}  # fmt: skip
"""Where they name the customer."""


def at(message: Any, path: str) -> Any:
    for name in path.split("."):
        message = message[int(name)] if isinstance(message, list) else message[name]
    return message


def told(place: str, moment: Any) -> int:
    """A time as a receiver is told it, in microseconds since 1970."""
    if isinstance(moment, str):
        seconds = datetime.fromisoformat(moment)
        assert seconds.tzinfo is not None
        return round(seconds.timestamp() * 1_000_000)
    return {"time": lambda: round(moment * 1_000_000), "timestamp": lambda: moment * 1_000}.get(
        place, lambda: moment // 1_000
    )()


def check(template: str, destination: str, event: Event, workspace: Workspace, message: bytes) -> str:
    """Raise `AssertionError` if what arrives is not right; return where the receiver finds the event's time."""
    sent = Sent(unix_us(event), event.payload)
    inner, place, moment = unwrapped(destination, body_of(destination, event, message))
    made = json.loads(message)
    added = ADDED.get(destination)
    if added is not None and added not in made:
        inner = {name: value for name, value in inner.items() if name != added}
    assert inner == made, "once wrapped, and nothing changed"
    WANTED[template](inner, sent)
    assert str(at(inner, CUSTOMER[template])) == str(workspace.id)
    if place:
        assert told(place, moment) // 1_000 == sent.unix_ms, (place, moment)
    return place or IN_MESSAGE[template]


def attack(kind: Kind, count: int, seed: int) -> int:
    """Hostile events of a kind through every template to every type that it fits; return how many arrivals were checked."""
    checked = 0
    for template, source in shipped_templates().items():
        renderer = Renderer(compile_template(source), drop_lines=bool(seed % 2), now_ns=0)
        for event, workspace in hostile_events(kind, count, seed):
            message = renderer.render(event, workspace)
            assert not {*b"\r\n"} & set(message), "one line"
            shown = event if kind != Kind.JOB or not seed % 2 else event._replace(payload=without_its_lines(event))
            for fitting, destination in FITTING:
                if fitting == template:
                    try:
                        check(template, destination, shown, workspace, message)
                    except Exception as error:
                        raise AssertionError(f"{template} to {destination}: {event}") from error
                    checked += 1
        assert renderer.fallbacks == 0, renderer.fallback_reason
    return checked


def without_its_lines(event: Event) -> bytes:
    """A job as it is sent without its lines."""
    return Renderer(None, drop_lines=True, now_ns=0).render(event)


def places(kind: Kind, template: str, destination: str) -> tuple[str, str]:
    """Where a receiver finds the time and the customer of the sample of a kind, once all of it has been checked."""
    payload = sample_text(kind).encode()
    event = as_stored(kind, payload)
    renderer = Renderer(compile_template(shipped_templates()[template]), drop_lines=False, now_ns=0)
    message = renderer.render(event, SAMPLE_WORKSPACE)
    return check(template, destination, event, SAMPLE_WORKSPACE, message), CUSTOMER[template]


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(("template", "destination"), FITTING)
def test_a_sample_arrives_valid_from_its_customer_and_at_its_time(template: str, destination: str, kind: Kind) -> None:
    assert all(places(kind, template, destination))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", list(Kind))
def test_hostile_events_arrive_valid_from_their_customer_and_at_their_time(kind: Kind, seed: int) -> None:
    assert attack(kind, 60, seed) == 60 * len(FITTING)


ENTRIES: dict[str, Any] = {
    "splunk_hec": lambda body: [json.loads(line) for line in body.splitlines()],
    "elasticsearch": lambda body: [json.loads(line) for line in body.splitlines()][1::2],
    "sumo_logic": lambda body: [json.loads(line) for line in body.splitlines()],
    "grafana_loki": lambda body: [value for stream in json.loads(body)["streams"] for value in stream["values"]],
    "new_relic": lambda body: json.loads(body)[0]["logs"],
    "datadog": json.loads,
    "azure_monitor": json.loads,
}


@pytest.mark.parametrize("destination", sorted(ENTRIES))
def test_no_event_takes_another_with_it(destination: str) -> None:
    """Many hostile events in one request are as many entries: none breaks out of its own."""
    options = {"type": destination, "connection": "c", **OPTIONS.get(destination, {})}
    made: Any = make_destination("d", DestinationSettings.model_validate(options), NoConnections())  # type: ignore[arg-type]
    for template in [template for template, fitting in FITTING if fitting == destination]:
        renderer = Renderer(compile_template(shipped_templates()[template]), drop_lines=False, now_ns=0)
        events = [pair for kind in Kind for pair in hostile_events(kind, 100, 5)]
        entries = [made.entry(event, renderer.render(event, workspace)) for event, workspace in events]
        arrived = ENTRIES[destination](bytes(made.encode(entries)))
        assert len(arrived) == len(events)
        if destination == "grafana_loki":
            streams = json.loads(bytes(made.encode(entries)))["streams"]
            moments = [[int(moment) for moment, _ in stream["values"]] for stream in streams]
            assert moments == [sorted(times) for times in moments]


@pytest.mark.parametrize(("destination", "name"), [("elasticsearch", "@timestamp"), ("azure_monitor", "TimeGenerated")])
@pytest.mark.parametrize(
    ("own", "kept"),
    [('"2026-01-02T03:04:05Z"', True), ('"garbage"', False), ("null", False), ("true", False), ('""', False),
     ("1e999", False), ('"0001-01-01T00:00:00Z"', False), ("{}", False)],
)  # fmt: skip
@pytest.mark.parametrize("escaped", [False, True])
def test_a_messages_own_time_is_guarded_however_it_is_spelt(
    destination: str, name: str, own: str, kept: bool, escaped: bool
) -> None:
    written = f"\\u{ord(name[0]):04x}{name[1:]}" if escaped else name
    event = Event(1, 1, "job", 1_000_000, 2_000_000, b"{}")
    body = body_of(destination, event, f'{{"a": 1, "{written}": {own}}}'.encode()).splitlines()[-1]
    pairs = json.loads(body if destination == "elasticsearch" else body[1:-1], object_pairs_hook=list)
    told = dict(pairs)[name]
    assert len(pairs) == 2, "no name twice"
    assert parse_time(told) == (parse_time(json.loads(own)) if kept else datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC))
