"""The templates that come with Logstream are right for every kind of event, by the receivers' own schemas.

OCSF by its published JSON schema and by py-ocsf-models, ECS by its published fields (`tests/data/ecs_8_17_0.json`), Splunk by the
fields of the Common Information Model (`tests/data/cim.json`), Datadog by its standard attributes.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from py_ocsf_models.events.base_event import BaseEvent
from py_ocsf_models.objects.api import API
from py_ocsf_models.objects.user import User

from logstream.events import EPOCH, Event, Kind
from logstream.rendering import Renderer, compile_template
from logstream.settings.message_files import shipped_templates
from logstream.settings.resolution import Workspace
from logstream.shapes.samples import sample_text
from logstream.testing.events import EventMaker

DATA = Path(__file__).parent / "data"
ECS = json.loads((DATA / "ecs_8_17_0.json").read_text())
CIM = json.loads((DATA / "cim.json").read_text())

OCCURRED = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
OCCURRED_MS = int(OCCURRED.timestamp() * 1_000)
NAMED = Workspace(40_417, "acme-1", "Acme, Corp", "customer")
NAMELESS = Workspace(40_418, None, None, "customer")


def stored(kind: str, payload: bytes, workspace: Workspace = NAMED) -> Event:
    occurred = (OCCURRED - EPOCH) // timedelta(microseconds=1)
    return Event(7, workspace.id, kind, occurred, occurred + 1_000_000, payload)


def message_of(template: str, event: Event, workspace: Workspace) -> Any:
    renderer = Renderer(compile_template(shipped_templates()[template]), drop_lines=False, now_ns=0)
    message = renderer.render(event, workspace)
    assert renderer.fallback_reason is None
    assert b"\n" not in message
    return json.loads(message)


FROM_API = {
    "id": 1, "timestamp": "2019-09-13T17:24:16Z", "event_type": "user.login", "resource": {}, "details": {},
    "workspace": {"id": 9, "name": "Acme", "email": None}, "user": {"id": 3, "name": "Zoë", "email": "zoe@example.com"},
}  # fmt: skip
SUMMARY = {"id": 100, "recipe_id": 5, "is_error": True, "completed_at": "2026-03-01T12:00:00Z", "error": "boom"}
ACTIVITIES = (
    "user_login", "user_logout", "user_login_failed", "recipe_created", "recipe_started", "recipe_stopped", "recipe_deleted",
    "package_exported", "package_imported", "folder_created", "folder_deleted", "team_invitation_created", "role_updated",
    "connection_created", "connection_connected", "member_removed", "user_suspended", "api_key.rotated", "something else",
)  # fmt: skip


def made(kind: str, count: int, workspace: Workspace) -> Iterator[bytes]:
    maker = EventMaker([workspace], seed=len(kind))
    for _ in range(count):
        yield json.dumps(maker.payload(kind, workspace, OCCURRED)).encode()


def examples(kind: str, count: int = 25) -> Iterator[tuple[Event, Workspace]]:
    """The sample, events as they are streamed, with and without names, and the other shapes."""
    payloads = [sample_text(kind).encode()]
    if kind == Kind.USER_ACTIVITY:
        payloads.append(json.dumps(FROM_API).encode())
        sample = json.loads(sample_text(kind))
        payloads += [json.dumps({**sample, "event": event}).encode() for event in ACTIVITIES]
        payloads += [json.dumps({"event": event, "details": {}, "user": None}).encode() for event in ACTIVITIES]
    if kind == Kind.JOB:
        payloads.append(json.dumps(SUMMARY).encode())
    payloads += [b"{}", b"[1]", b'{"id": "\\ud800", "status": "\\ud800", "event": "\\udfff"}']
    for workspace in (NAMED, NAMELESS):
        for payload in [*payloads, *made(kind, count, workspace)]:
            yield stored(kind, payload, workspace), workspace


# what each schema wants


@cache
def ocsf_validator(class_uid: int) -> Any:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.5.0"))
    return jsonschema_rs.validator_for(schema.get_class_schema(schema.lookup_class_name_from_uid(class_uid)))


def is_ocsf(message: Any) -> None:
    problems = [
        f"{list(error.instance_path)}: {error.message}"
        for error in ocsf_validator(message["class_uid"]).iter_errors(message)
    ]
    assert not problems
    BaseEvent.model_validate(message)
    for user in (message.get("user"), message.get("actor", {}).get("user")):
        if user is not None:
            User.model_validate(user)
    if "api" in message:
        API.model_validate(message["api"])
    assert message["type_uid"] == message["class_uid"] * 100 + message["activity_id"]
    assert message["time"] == OCCURRED_MS


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, f"{path}.{name}" if path else name)
    else:
        yield path, value


def is_ecs(message: Any) -> None:
    checks: dict[str, Callable[[Any], object]] = {
        "keyword": lambda value: isinstance(value, str) and value,
        "wildcard": lambda value: isinstance(value, str) and value,
        "match_only_text": lambda value: isinstance(value, str) and value,
        "date": lambda value: datetime.fromisoformat(value).tzinfo,
        "ip": ipaddress.ip_address,
        "long": lambda value: type(value) is int,
    }
    own = {name: value for name, value in message.items() if name not in {"workato", "labels"}}
    for path, value in leaves(own):
        kind = ECS["fields"][path]
        assert isinstance(value, list) == (path in ECS["arrays"]), path
        for item in value if isinstance(value, list) else [value]:
            assert checks[kind](item) not in (False, None), (path, item)
    assert all(isinstance(value, str) for value in message["labels"].values())
    event = message["event"]
    for name in ("kind", "outcome"):
        assert event[name] in ECS["allowed"][f"event.{name}"]
    assert set(event["type"]) <= ECS["allowed"]["event.type"].keys()
    for category in event.get("category", []):
        assert set(event["type"]) <= set(ECS["allowed"]["event.category"][category]), (category, event["type"])
    assert datetime.fromisoformat(message["@timestamp"]) == OCCURRED


def is_cim(message: Any, *, sparse: bool = False) -> None:
    name = {"user_activity": "Change", "api_platform": "Web"}.get(message["kind"])
    if name == "Change" and re.search("log(in|out)", message["signature"]):
        name = "Authentication"
    model = CIM["models"].get(name, {"fields": ["status", "duration"], "expected": {}, "needed": ["signature"]})
    assert message.keys() <= {*CIM["shared"], *model["fields"]}
    for field, expected in model["expected"].items():
        assert field not in message or message[field] in expected, field
    if not sparse and len(message["event"]) > 5:  # an event that says what these models are about
        assert set(model["needed"]) - message.keys() <= {"src"}  # the platform itself comes from nowhere
    assert float(message["time"]) * 1_000 == OCCURRED_MS


def is_datadog(message: Any) -> None:
    standard = {
        "ddsource", "ddtags", "service", "timestamp", "status", "evt", "usr", "network", "http", "error", "duration",
        "workspace", "message",
    }  # fmt: skip
    assert message.keys() <= standard
    assert isinstance(message["message"], str)
    assert message["timestamp"] == OCCURRED_MS
    assert message["status"] in {"debug", "info", "warn", "error", "critical"}
    assert message["evt"]["outcome"] in {"success", "failure", "unknown"}
    assert all(re.fullmatch(r"[a-z_]+:[^,\s]+", tag) for tag in message["ddtags"].split(","))
    if "http" in message and "status_code" in message["http"]:
        assert type(message["http"]["status_code"]) is int


def is_envelope(message: Any) -> None:
    assert datetime.fromisoformat(message["occurred_at"]) == OCCURRED


def is_sumo(message: Any) -> None:
    assert message["timestamp"] == OCCURRED_MS


def is_hec(message: Any) -> None:
    assert message.keys() <= {"time", "host", "source", "sourcetype", "index", "fields", "event"}
    assert message["time"] * 1_000 == OCCURRED_MS
    assert all(isinstance(value, str) for value in message["fields"].values())
    is_cim(message["event"])


def is_loki_push(message: Any) -> None:
    ((stream,),) = (message["streams"],)
    assert all(isinstance(value, str) for value in stream["stream"].values())
    ((moment, line),) = stream["values"]
    assert moment == str(OCCURRED_MS * 1_000_000)
    json.loads(line)


def is_new_relic_post(message: Any) -> None:
    (block,) = message
    (entry,) = block["logs"]
    assert entry["timestamp"] == OCCURRED_MS
    json.loads(entry["message"])


WANTED: dict[str, Callable[[Any], None]] = {
    "ocsf": is_ocsf,
    "elastic_ecs": is_ecs,
    "splunk": is_cim,
    "datadog": is_datadog,
    "plain": is_envelope,
    "sumo_logic": is_sumo,
    "grafana_loki": lambda message: None,
    "http_splunk_hec": is_hec,
    "http_grafana_loki": is_loki_push,
    "http_new_relic": is_new_relic_post,
}


def test_every_template_is_checked() -> None:
    assert set(WANTED) == set(shipped_templates())


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("template", sorted(WANTED))
def test_a_template_is_right_for_every_kind(template: str, kind: Kind) -> None:
    for event, workspace in examples(kind):
        message = message_of(template, event, workspace)
        WANTED[template](message)
        text = json.dumps(message)
        assert str(workspace.id) in text, "the customer can be told whatever the event holds"
        assert str(workspace.external_id) in text or workspace.external_id is None or template.startswith("http_")


@pytest.mark.parametrize("kind", list(Kind))
def test_thousands_of_events_are_valid_ocsf(kind: Kind) -> None:
    classes: Counter[int] = Counter()
    renderer = Renderer(compile_template(shipped_templates()["ocsf"]), drop_lines=False, now_ns=0)
    for payload in made(kind, 1_500, NAMED):
        message = json.loads(renderer.render(stored(kind, payload), NAMED))
        is_ocsf(message)
        classes[message["class_uid"]] += 1
    assert renderer.fallback_reason is None
    wanted = {
        Kind.JOB: {6002},
        Kind.USER_ACTIVITY: {3001, 3002, 3004, 6002},
        Kind.API_PLATFORM: {6003},
        Kind.LOG_SERVICE: {0, 6008},
        Kind.GENIE: {0},
    }
    assert classes.keys() == wanted[kind]


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
FIELDS = st.sampled_from(
    ["id", "name", "email", "external_id", "type", "event", "event_type", "status", "status_code", "ip_address", "user_agent",
     "method", "path", "level", "message", "error", "error_type", "started_at", "completed_at", "latency_ms"]
)  # fmt: skip
GROUPS = st.sampled_from(
    [
        "user",
        "team",
        "workspace",
        "resource",
        "details",
        "request",
        "context",
        "report",
        "client",
        "endpoint",
        "genie",
        "message",
    ]
)
HOSTILE = st.recursive(
    SCALARS,
    lambda inner: st.dictionaries(FIELDS | GROUPS, inner, max_size=6) | st.lists(inner, max_size=2),
    max_leaves=12,
)


@given(st.sampled_from(["ocsf", "elastic_ecs", "splunk", "datadog"]), st.sampled_from(list(Kind)), HOSTILE)
def test_nothing_an_event_holds_makes_a_message_invalid(template: str, kind: Kind, document: Any) -> None:
    message = message_of(template, stored(kind, json.dumps(document).encode(), NAMELESS), NAMELESS)
    if template == "splunk":
        is_cim(message, sparse=True)
    else:
        WANTED[template](message)
    assert str(NAMELESS.id) in json.dumps(message)


@pytest.mark.parametrize(
    ("placeholder", "value"),
    [
        ("event.id", 7),
        ("event.kind", "user_activity"),
        ("event.type", "user_login"),
        ("event.occurred_at", "2026-03-01T12:00:00.250+00:00"),
        ("event.occurred_at_s", OCCURRED_MS / 1_000),
        ("event.occurred_at_ms", OCCURRED_MS),
        ("event.occurred_at_us", OCCURRED_MS * 1_000),
        ("event.occurred_at_ns", OCCURRED_MS * 1_000_000),
        ("event.recorded_at", "2026-03-01T12:00:01.250+00:00"),
        ("workspace.id", 40_417),
        ("workspace.external_id", "acme-1"),
        ("workspace.name", "Acme, Corp"),
    ],
)
def test_placeholders_of_the_envelope(placeholder: str, value: object) -> None:
    event = stored("user_activity", sample_text("user_activity").encode())
    template = compile_template('{"v": {{{P}}}, "s": "<{{P}}>", "e": {{{log_message}}}}'.replace("P", placeholder))
    renderer = Renderer(template, drop_lines=False, now_ns=0)
    message = json.loads(renderer.render(event, NAMED))
    assert message["v"] == value
    shown = f"{value:.6f}" if placeholder.endswith("_s") else value
    assert message["s"] == f"<{shown}>"
    if placeholder.startswith("workspace."):
        assert renderer.names_workspace
        nameless = json.loads(renderer.render(event))
        assert nameless["v"] == (NAMED.id if placeholder == "workspace.id" else None)


def test_masked_fields_are_masked_in_every_schema() -> None:
    payload = json.dumps({**json.loads(sample_text("user_activity"))}).encode()
    for template in ("ocsf", "elastic_ecs", "splunk", "datadog"):
        compiled = compile_template(shipped_templates()[template])
        mask = ["$.user.email", "$..ip_address", "$.user.name", "$.resource.name"]
        message = Renderer(compiled, drop_lines=False, now_ns=0, mask=mask).render(
            stored("user_activity", payload), NAMED
        )
        for secret in ("user669786@example.com", "203.0.113.204", "李小龙"):
            assert secret not in json.dumps(json.loads(message), ensure_ascii=False), template


def test_the_page_of_events_says_what_the_code_does() -> None:
    from tests.events_document import PAGE, with_tables  # it takes this file's events

    assert with_tables(PAGE.read_text()) == PAGE.read_text(), "run `make docs`"


IDENTITY = {
    Kind.JOB: ("$.context.user_id", "$.context.user_external_id"),
    Kind.USER_ACTIVITY: ("$.team.id", "$.team.external_id"),
    Kind.API_PLATFORM: ("$.context.user_id", "$.context.user_external_id"),
    Kind.LOG_SERVICE: ("$.context.user_id", "$.context.user_external_id"),
    Kind.GENIE: ("$.team.id", "$.team.external_id"),
}
"""Where the platform's Admin console page says that an event names its customer (assumed for the last three)."""


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("workspace", [NAMED, NAMELESS])
@pytest.mark.parametrize("drop_lines", [True, False])
def test_customers_can_be_told_from_every_kind(kind: Kind, workspace: Workspace, drop_lines: bool) -> None:
    """As the platform promises, in the event; `external_id` is null and there where the partner gave none. And beside it."""
    own, external = IDENTITY[kind]
    source = f'{{"id": {{{{{{{own}}}}}}}, "external": {{{{{{{external}}}}}}}, "w": {{{{{{workspace.id}}}}}}, "e": {{{{{{log_message}}}}}}}}'
    renderer = Renderer(compile_template(source), drop_lines=drop_lines, now_ns=0)
    for payload in made(kind, 40, workspace):
        event = json.loads(payload)
        message = json.loads(renderer.render(stored(kind, payload, workspace), workspace))
        assert message["w"] == workspace.id
        if "workato" in event.get("report", {}):
            continue  # an older job: its context is in its report, and the placeholders of the workspace are for that
        assert (message["id"], message["external"]) == (workspace.id, workspace.external_id)
        holder = message["e"]["team"] if "team" in message["e"] else message["e"]["context"]
        assert ("external_id" if "team" in message["e"] else "user_external_id") in holder, "null, not left out"


def test_what_an_event_lacks_is_not_invented() -> None:
    payload = b'{"id": "j-1", "status": "succeeded"}'
    renderer = Renderer(compile_template("{{{log_message}}}"), drop_lines=True, now_ns=0)
    assert renderer.render(stored("job", payload)) == payload
    missing = Renderer(compile_template('{"u": {{{$.context.user_id}}}}'), drop_lines=True, now_ns=0)
    assert json.loads(missing.render(stored("job", payload))) == {"u": None}
