"""What is read of events, in whichever shape the platform writes them, and the time that receivers are told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.destinations import destination_types
from logstream.destinations.registry import make_destination
from logstream.destinations.transport.keys import event_key
from logstream.errors import ConnectionNotFound
from logstream.events import EPOCH, Event, Kind, Selection
from logstream.settings.models import DestinationSettings
from logstream.settings.resolution import Workspace
from logstream.shapes import kind_of, log_fields, parse_time, read_head, said_time, time_of, type_of
from logstream.shapes.samples import sample_event
from logstream.testing.events import EventMaker

BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def us(moment: datetime) -> int:
    return int((moment - EPOCH) / timedelta(microseconds=1))


STREAMED = {"event": "user_login", "details": {}, "timestamp": "2019-09-13 17:24:16 UTC"}
FROM_API = {"id": 1, "event_type": "user.login", "timestamp": "2019-09-13T17:24:16Z", "workspace": {"id": 7}}


@pytest.mark.parametrize(
    ("kind", "event", "said", "moment"),
    [
        ("user_activity", STREAMED, "user_login", datetime(2019, 9, 13, 17, 24, 16, tzinfo=UTC)),
        ("user_activity", FROM_API, "user.login", datetime(2019, 9, 13, 17, 24, 16, tzinfo=UTC)),
        ("user_activity", {"event": None, "event_type": "x", "timestamp": 7}, "x", None),
        ("job", {"status": "failed", "completed_at": "2026-03-01T08:00:00-04:00"}, "failed", NOON),
        ("job", {"is_error": True, "completed_at": "no time"}, "failed", None),
        ("job", {"is_error": False}, "succeeded", None),
        ("api_platform", {"method": "GET", "timestamp": "2026-03-01T12:00:00"}, "GET", NOON),
        ("log_service", {"log_type": "recipe", "timestamp": "2026-03-01T12:00:00Z"}, "recipe", NOON),
        ("genie", {"event": "message_sent", "timestamp": "2026-03-01T12:00:00Z"}, "message_sent", NOON),
    ],
)
def test_both_shapes_are_read(kind: str, event: dict[str, Any], said: str, moment: datetime | None) -> None:
    head = read_head(json.dumps(event).encode())
    assert type_of(kind, head) == said
    assert said_time(kind, head) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UTC",
        "2019-09-13 17:24:16 PST",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
        "20190913T",
        "٢٠١٩",
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert parse_time(text) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["event", "status", "id", "x"]), inner),
    max_leaves=6,
)


@given(JSON, st.sampled_from(list(Kind)))
def test_nothing_an_event_holds_breaks_the_reading(document: Any, kind: Kind) -> None:
    payload = json.dumps(document).encode()
    head = read_head(payload)
    type_of(kind, head)
    said_time(kind, head)
    log_fields(payload)
    event_key(Event(1, 1, kind, 0, 0, payload))
    if isinstance(document, dict):
        kind_of(document)


WORKSPACE = Workspace(1001, None, "Acme", "customer")


@pytest.mark.parametrize("kind", list(Kind))
def test_samples_and_made_events_have_the_shape_that_is_streamed(kind: Kind) -> None:
    maker = EventMaker([WORKSPACE], seed=3)
    for event in [sample_event(kind), *(maker.payload(kind, WORKSPACE, NOON) for _ in range(300))]:
        head = read_head(json.dumps(event).encode())
        assert kind_of(event) == kind
        assert isinstance(type_of(kind, head), str)
        assert said_time(kind, head) is not None
        if kind == Kind.USER_ACTIVITY:
            assert not event.keys() & {"id", "event_type", "workspace"}
            assert "external_id" in event["team"]
            assert "user" in event or event["event"] == "recipe_stopped"
        if kind == Kind.JOB:
            context = event.get("context") or event["report"]["workato"]["job_context"]
            assert "user_external_id" in context
            if event["status"] == "failed":
                assert event["action_count"] is None
                assert json.loads(event["error"])["message"]


def test_made_events_have_what_life_has() -> None:
    maker = EventMaker([WORKSPACE], seed=3)
    jobs = [maker.payload("job", WORKSPACE, NOON) for _ in range(500)]
    activities = [maker.payload("user_activity", WORKSPACE, NOON) for _ in range(500)]
    assert any(isinstance(job["id"], int) for job in jobs)
    assert any("customer" in job["report"] for job in jobs)
    assert any("user" not in activity for activity in activities)


def test_genie_conversations_are_streamed_only_if_chosen() -> None:
    everything_else = ["job_details", "user_activity", "api_platform", "log_service"]
    assert not Selection.of(everything_else).matches("genie")
    assert Selection.of(["genie"]).matches("genie")


@pytest.mark.parametrize(
    ("occurred", "recorded", "told"),
    [
        (us(NOON), us(NOON) + 5, us(NOON)),
        (us(NOON) + 3_600_000_000, us(NOON), us(NOON) + 3_600_000_000),
        (us(NOON + timedelta(days=2)), us(NOON), us(NOON)),
        (2**63 - 1, us(NOON), us(NOON)),
        (-(2**63), us(NOON), us(NOON)),
        (us(datetime(1969, 12, 31, tzinfo=UTC)), us(NOON), us(NOON)),
        (us(BEGIN) - 500_000, us(BEGIN) - 250_000, us(BEGIN)),
        (us(NOON), us(BEGIN) - 1, us(BEGIN)),
    ],
)
def test_the_time_that_receivers_are_told(occurred: int, recorded: int, told: int) -> None:
    assert time_of(Event(1, 1, "job", occurred, recorded, b"{}")) == told


class NoConnections:
    """No destination is opened here."""

    def __getattr__(self, name: str) -> Any:
        raise ConnectionNotFound(name)


OPTIONS: dict[str, dict[str, Any]] = {
    "elasticsearch": {"index": "logs-audit-default"},
    "azure_monitor": {"endpoint": "https://x.ingest.monitor.azure.com", "rule_id": "dcr-1", "stream": "Custom-A_CL"},
}


def entries(kind: str, events: list[Event]) -> bytes:
    options = {"type": kind, "connection": "c", **OPTIONS.get(kind, {})}
    made: Any = make_destination("d", DestinationSettings.model_validate(options), NoConnections())  # type: ignore[arg-type]
    return bytes(made.encode([made.entry(event, event.payload) for event in events]))


EARLY, LATE = us(NOON - timedelta(minutes=5)), us(NOON)
ENDLESS = 2**63 - 1


@pytest.mark.parametrize(
    ("kind", "times"),
    [
        ("splunk_hec", lambda body: [json.loads(line)["time"] for line in body.splitlines()]),
        ("datadog", lambda body: [entry["timestamp"] / 1_000 for entry in json.loads(body)]),
        ("new_relic", lambda body: [entry["timestamp"] / 1_000 for entry in json.loads(body)[0]["logs"]]),
        ("elasticsearch", lambda body: [seconds(json.loads(line)["@timestamp"]) for line in body.splitlines()[1::2]]),
        ("azure_monitor", lambda body: [seconds(entry["TimeGenerated"]) for entry in json.loads(body)]),
    ],
)
def test_each_destination_tells_the_events_own_time(kind: str, times: Any) -> None:
    events = [
        Event(number, 1, "job", moment, LATE, b'{"id": %d}' % number) for number, moment in enumerate((EARLY, ENDLESS))
    ]
    noon = NOON.timestamp()
    assert times(entries(kind, events)) == [noon - 300, noon]


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_loki_has_the_values_of_a_stream_in_the_order_of_their_times() -> None:
    moments = [LATE, EARLY, ENDLESS, EARLY + 1]
    events = [Event(number, 1, "job", moment, LATE + 2, b"%d" % number) for number, moment in enumerate(moments)]
    (stream,) = json.loads(entries("grafana_loki", events))["streams"]
    assert [line for _, line in stream["values"]] == ["1", "3", "0", "2"]


@pytest.mark.parametrize(("kind", "name"), [("elasticsearch", "@timestamp"), ("azure_monitor", "TimeGenerated")])
@pytest.mark.parametrize(
    ("message", "own"),
    [
        (b"{}", False),
        (b' {"a": 1}', False),
        (b'{"a": "\\ud800"}', False),
        (b'{"a": {"%s": "2026-01-02T00:00:00Z"}}', False),
        (b'{"%s": "2026-01-02T00:00:00Z"}', True),
        (b'{"%s": "2026-01-02T00:00:00Z", "u": "\\ud800", "n": 1e999}', True),
        (b'{"%s": "x", "u": "\\ud800", "n": 1e999}', False),
        (b"[1]", False),
        (b'"text"', False),
    ],
)
def test_a_time_is_added_unless_the_template_gave_a_good_one(kind: str, name: str, message: bytes, own: bool) -> None:
    message = message.replace(b"%s", name.encode())
    body = entries(kind, [Event(1, 1, "job", LATE, LATE, message)])
    document = json.loads(body.splitlines()[1]) if kind == "elasticsearch" else json.loads(body)[0]
    assert (document[name] == "2026-01-02T00:00:00Z") is own
    if not own:
        assert seconds(document[name]) == NOON.timestamp()


def test_all_types_are_looked_at_here() -> None:
    looked = {"splunk_hec", "datadog", "new_relic", "elasticsearch", "azure_monitor", "grafana_loki"}
    without_time = {"http", "file", "s3", "gcs", "azure_blob", "sumo_logic"}
    assert looked | without_time == set(destination_types())
    assert orjson.loads(entries("sumo_logic", [Event(1, 1, "job", LATE, LATE, b"{}")]).strip()) == {}
