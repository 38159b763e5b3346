"""Idempotency keys: the same for the same events by the same settings, and others where the settings say other bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.parcel import LaneRef, Parcel
from logstream.destinations.registry import make_destination
from logstream.destinations.request import RequestDestination
from logstream.destinations.transport.request_packing import RequestPacker
from logstream.events import Event
from logstream.export.contents import contents_of
from logstream.messages import Messages
from logstream.settings.models import DestinationSettings, Streaming
from logstream.testing.servers import LogSink
from logstream.window import Window
from tests.test_engine import EVERYTHING, Make, engine, export, filled, override

__all__ = ["engine", "filled"]

START = datetime(2026, 1, 1, tzinfo=UTC)
HOOK: dict[str, Any] = {"type": "http", "connection": "sink", "lanes": 1}
MASK = ["$.context.user_email", "$.user.email"]


def kept(sink: LogSink) -> list[Any]:
    """What a receiver has that honours keys: of each key, what came first."""
    first: dict[str, bytes] = {}
    for headers, body in zip(sink.headers, sink.bodies, strict=True):
        first.setdefault(headers["Idempotency-Key"], body)
    return [json.loads(body) for body in first.values()]


@pytest.mark.parametrize(
    "streaming",
    [
        {"mask": MASK},
        {"message": '{"masked": true, "event": {{{log_message}}}}'},
        {"message": {"default": '{"masked": true, "event": {{{log_message}}}}'}},
        {"events": ["job_status", *EVERYTHING[1:]]},
    ],
    ids=["mask", "template", "template of a kind", "jobs without lines"],
)
def test_a_window_exported_again_by_other_settings_arrives_at_a_receiver_that_honours_keys(
    engine: Make, sink: LogSink, streaming: dict[str, Any]
) -> None:
    export(engine(override(HOOK)))
    before = kept(sink)
    export(engine(override(HOOK, **streaming)))
    after = kept(sink)
    assert sink.changed_repetitions == 0, "no key names two bodies"
    assert len(before) == 1_500 and len(after) == 3_000
    assert {json.dumps(event) for event in after[1_500:]} != {json.dumps(event) for event in before}


def test_another_option_that_shapes_requests_makes_other_keys(engine: Make, sink: LogSink) -> None:
    export(engine(override(HOOK)))
    export(engine(override({**HOOK, "compression": "gzip"})))
    assert set(sink.keys.values()) == {1} and len(sink.keys) == 3_000


def test_what_changes_no_message_changes_no_key(engine: Make, sink: LogSink) -> None:
    """More workspaces, fewer requests at once, the same template in other words, kinds that are streamed besides."""

    template = '{"event": {{{log_message}}}}'

    def setting(identity: int, **more: Any) -> dict[str, Any]:
        streaming = {"enabled": True, "events": EVERYTHING, "destination": "d", "message": template}
        return {"id": identity, "streaming": {**streaming, **more}}

    own = [setting(100), setting(101, events=["job_details"])]
    export(engine({"workspaces": own, "destinations": {"d": HOOK}}))
    keys = set(sink.keys)
    more = [
        setting(100, message={"default": template}),
        setting(101, events=["job_details", "api_platform"]),
        setting(102),
    ]
    export(engine({"workspaces": more, "destinations": {"d": {**HOOK, "concurrency": 2, "format": "single"}}}))
    assert keys and keys < set(sink.keys)
    assert {sink.keys[key] for key in keys} == {2} and sink.changed_repetitions == 0
    # the override says the same of every workspace
    export(engine(override(HOOK, message=template)))
    assert {sink.keys[key] for key in keys} == {3} and sink.changed_repetitions == 0


def test_a_dead_letter_that_is_mended_by_another_template_has_another_key(
    engine: Make, filled: psycopg.Connection, sink: LogSink
) -> None:
    sink.fail = lambda number: 422 if number in (5, 6) else None
    exporter = engine(override({**HOOK, "concurrency": 1}))
    export(exporter)
    refused = {row.request for row in exporter.ledger.rejected()}
    assert len(refused) == 2
    sink.fail = lambda _: None
    exporter = engine(override(HOOK, message='{"mended": {{{log_message}}}}'))
    (result,) = exporter.redeliver_rejected()
    assert (result.delivered, result.error) == (2, None)
    assert refused.isdisjoint(sink.keys) and set(sink.keys.values()) == {1}


STREAMINGS = st.builds(
    lambda message, mask, events: Streaming(enabled=True, events=events, message=message, mask=mask, destination="d"),
    st.sampled_from([None, "{{{log_message}}}", {"job": "{{{log_message}}}"}, {"default": "{{{log_message}}}"}]),
    st.sampled_from([(), ("$.a",), ("$.a", "$.b")]),
    st.sampled_from([("job_status",), ("job_details",), ("job_details", "user_activity")]),
)
OPTIONS = st.fixed_dictionaries(
    {"index": st.sampled_from(["a", "b"]), "connection": st.sampled_from(["one", "two"])},
    optional={"concurrency": st.integers(1, 9), "source": st.sampled_from(["x", "y"])},
)


def shaping(streaming: Streaming) -> object:
    """What of a setting shapes a message, said in the test's own words."""
    message = {"default": streaming.message} if isinstance(streaming.message, str) else streaming.message or {}
    return json.dumps(message, sort_keys=True), streaming.mask, "job_details" in streaming.events


def parcels(options: dict[str, Any], streamings: dict[int, Streaming]) -> list[Parcel]:
    class Connections:
        def http(self, connection: str) -> HttpCredentials:
            raise NotImplementedError

    stored = DestinationSettings(type="splunk_hec", **options)
    destination = make_destination("d", stored, Connections())  # type: ignore[arg-type]
    assert isinstance(destination, RequestDestination)
    window = Window(START, START + timedelta(hours=1))
    packer = RequestPacker(destination, LaneRef("d", window, 0, 1, contents=contents_of(streamings)))
    events = [Event(number, number % 2, "job", 0, number, b"{}") for number in range(4)]
    return [*packer.pack(events, Messages([b"{}"] * 4)), *packer.finish()]


@given(OPTIONS, OPTIONS, *[STREAMINGS] * 4)
@hypothesis_settings(max_examples=100)
def test_keys_are_equal_exactly_where_the_settings_shape_the_same(
    options: dict[str, Any], others: dict[str, Any],
    first: Streaming, second: Streaming, third: Streaming, fourth: Streaming,
) -> None:  # fmt: skip
    """Of each workspace its own: two that swap their templates are other bodies, too."""
    (one,) = parcels(options, {0: first, 1: second, 7: third})
    (two,) = parcels(others, {0: third, 1: fourth})
    same = [shaping(first), shaping(second)] == [shaping(third), shaping(fourth)]
    same &= all(options.get(name) == others.get(name) for name in ("index", "source"))
    assert (one.name == two.name) == same
    (again,) = parcels(dict(options), {1: second.model_copy(), 0: first.model_copy()})
    assert again.name == one.name
