"""The templates that come with Logstream are right for every kind of event, by the receivers' own schemas."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.events import EPOCH, Event, Kind
from logstream.rendering import Renderer, compile_template
from logstream.settings.message_files import shipped_templates
from logstream.settings.resolution import Workspace
from logstream.shapes.samples import sample_text
from logstream.testing.events import EventMaker

from .schemas import WANTED, Sent, is_cim, is_ocsf

OCCURRED = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
OCCURRED_MS = int(OCCURRED.timestamp() * 1_000)
OCCURRED_US = OCCURRED_MS * 1_000
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
        for email in ("a@b", "@", "zoë@example.com", "x@y.z\n"):
            payloads.append(json.dumps({**sample, "user": {"id": 1, "email": email}}).encode())
        request = {"ip_address": "fe80::1%eth0"}
        payloads.append(json.dumps({**sample, "details": {"request": request}}).encode())
    if kind == Kind.JOB:
        payloads.append(json.dumps(SUMMARY).encode())
    if kind == Kind.API_PLATFORM:
        sample = json.loads(sample_text(kind))
        payloads += [json.dumps({**sample, "method": method}).encode() for method in ("PATCH", "patch", "PROPFIND", "")]
        payloads += [
            json.dumps({**sample, "status_code": status}).encode() for status in (103, 299, 418, 451, 499, 599)
        ]
    payloads += [b"{}", b"[1]", b'{"id": "\\ud800", "status": "\\ud800", "event": "\\udfff"}']
    for workspace in (NAMED, NAMELESS):
        for payload in [*payloads, *made(kind, count, workspace)]:
            yield stored(kind, payload, workspace), workspace


def test_every_template_is_checked() -> None:
    assert set(WANTED) == set(shipped_templates())


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("template", sorted(WANTED))
def test_a_template_is_right_for_every_kind(template: str, kind: Kind) -> None:
    for event, workspace in examples(kind):
        message = message_of(template, event, workspace)
        WANTED[template](message, Sent(OCCURRED_US, event.payload))
        text = json.dumps(message)
        assert str(workspace.id) in text, "the customer can be told whatever the event holds"
        assert str(workspace.external_id) in text or workspace.external_id is None or template.startswith("http_")


@pytest.mark.parametrize("kind", list(Kind))
def test_an_event_has_the_fields_that_its_data_model_wants(kind: Kind) -> None:
    for payload in [sample_text(kind).encode(), *made(kind, 300, NAMED)]:
        message = message_of("splunk", stored(kind, payload), NAMED)
        is_cim(message, Sent(OCCURRED_US, payload), whole=True)


@pytest.mark.parametrize("kind", list(Kind))
def test_thousands_of_events_are_valid_ocsf(kind: Kind) -> None:
    classes: Counter[int] = Counter()
    renderer = Renderer(compile_template(shipped_templates()["ocsf"]), drop_lines=False, now_ns=0)
    for payload in made(kind, 1_500, NAMED):
        message = json.loads(renderer.render(stored(kind, payload), NAMED))
        is_ocsf(message, Sent(OCCURRED_US, payload))
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
    payload = json.dumps(document).encode()
    message = message_of(template, stored(kind, payload, NAMELESS), NAMELESS)
    WANTED[template](message, Sent(OCCURRED_US, payload))
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
