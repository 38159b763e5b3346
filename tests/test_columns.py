"""Many events at once: columns say what events say one by one, and messages made of them are those that are made alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logstream.batches import KINDS, SCHEMA, Events, counts_of
from logstream.destinations.parcel import lines_of_ids, sizes_of, tally_of
from logstream.errors import BadEvent
from logstream.events import Event
from logstream.export.select import Demultiplexer, EventRenderer
from logstream.messages import Messages
from logstream.rendering import Renderer, columns
from logstream.rendering import renderer as renderer_module
from logstream.settings.resolution import Workspace
from logstream.store.base import Page
from logstream.validation import validate_settings

PAYLOADS = [
    b"{}", b"[]", b'"text"', b"12.50", b"null", b'{"a":\r\n\t"b"}', b' { "space" : [ ] } ', b'\n"a string"\n',
    b'{"lines": [1, 2], "id": "x"}', b'{"\\u006cines": 3}', '{"q": "\\ud800 \\u0000 \\"\\\\ \u2028 \x7f é 李"}'.encode(),
    b'{"x":' + b"[" * 400 + b"]" * 400 + b"}", b'{"x":' + b"[" * 700 + b"]" * 700 + b"}", b'{"t": "' + b"[" * 3_000 + b'"}',
    b'{"context": {"user_email": "a@b"}, "level": "error"}', b'\t{"t": 1}', b'{"broken": "\xff"}', b"not json", b"",
]  # fmt: skip
MESSAGES: list[Any] = [
    None,
    '{"source": "workato", "event": {{{log_message}}}}',
    '{"message": {{{log_message_str}}}, "of": {{{workspace.id}}}}',
    '{"text": "<{{{log_message}}}>", "kind": {{{event.kind}}}, "who": "{{{workspace.name}}}"}',
    '["{{{log_message_str}}}"]',
    '{"twice": {{{log_message}}}, "again": {{{log_message}}}}',
    '{"id": {{{event.id}}}, "mail": {{{$.context.user_email}}}, "event": {{{log_message}}}}',
    {"job": '{"job": {{{log_message}}}}', "default": "{{{log_message_str}}}"},
]
WORKSPACES = [
    Workspace(1, "one", 'A "name"\n'),
    Workspace(2, None, "Zoë"),
    Workspace(3),
    Workspace(2**62, "x" * 1_500, "y" * 1_600),
]

events = st.lists(
    st.builds(
        Event, st.integers(-(2**63), 2**63 - 1), st.sampled_from([w.id for w in WORKSPACES]), st.sampled_from(KINDS),
        st.integers(-(10**15), 10**15), st.integers(0, 3), st.sampled_from(PAYLOADS),
    ),
    max_size=20,
)  # fmt: skip


def streaming(number: int) -> dict[str, Any]:
    """Streaming of everything by one of the messages, sometimes with more that looks into an event."""
    found: dict[str, Any] = {"enabled": True, "events": ["job_details", "user_activity", "api_platform", "log_service", "genie"],
                             "destination": "d"}  # fmt: skip
    if MESSAGES[number % len(MESSAGES)] is not None:
        found["message"] = MESSAGES[number % len(MESSAGES)]
    if number % 3 == 1:
        found["events"] = ["job_status", *found["events"][1:]]
    if number % 5 == 2:
        found["mask"] = ["$.context.user_email"]
    return found


@settings(max_examples=60)
@given(events, st.lists(st.integers(0, 40), min_size=4, max_size=4), st.sampled_from([200, 5_000, 8_000_000]))
def test_messages_made_by_column_are_those_made_alone(found: list[Event], numbers: list[int], at_once: int) -> None:
    document = {
        "workspaces": [{"id": w.id, "streaming": streaming(n)} for w, n in zip(WORKSPACES, numbers, strict=True)],
        "destinations": {"d": {"type": "file", "path": "/tmp/x"}},
    }
    configured = validate_settings(document).workspaces
    streamings = {workspace.id: workspace.streaming for workspace in configured}
    renderer = EventRenderer(streamings, dict.fromkeys(streamings, 5), lambda: WORKSPACES)
    known = {workspace.id: workspace for workspace in WORKSPACES}
    alone = {
        number: Renderer.of(setting.message, drop_lines=setting.selection.drops_lines, now_ns=5, mask=setting.mask)
        for number, setting in streamings.items()
    }
    expected: list[tuple[Event, bytes]] = []
    refused: list[tuple[Event, str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "RENDERED_BYTES", at_once)
        patch.setattr(renderer_module, "MESSAGE_ALLOWANCE", 2_000)  # less than the names of the last workspace take
        for event in found:
            named = known[event.workspace_id] if renderer.names_workspaces else None
            try:
                expected.append((event, alone[event.workspace_id].render(event, named)))
            except BadEvent as error:
                refused.append((event, str(error)))
            except Exception as error:
                refused.append((event, f"it cannot be rendered ({type(error).__name__}: {str(error)[:300]})"))
        chunks = list(renderer.render(Events.of(found)))
    assert [pair for chunk in chunks for pair in zip(chunk.events, chunk.messages, strict=True)] == expected
    assert [pair for chunk in chunks for pair in chunk.bad] == refused
    # what is escaped may double, and what is made alone comes besides; then the largest message
    for chunk in chunks:
        assert len(chunk.messages.lines) <= 3 * at_once + 2 * max(map(len, chunk.messages), default=0)


@given(events)
def test_columns_say_what_events_say(found: list[Event]) -> None:
    made = Events.of(found)
    assert list(made) == found and [made[index] for index in range(len(found))] == found
    assert list(made[3:9]) == found[3:9] and list(made[-2:]) == found[-2:]
    backwards = np.arange(len(found))[::-1]
    assert list(made.take(backwards)) == found[::-1]
    lengths = [len(event.payload) for event in found]
    tally, sizes = counts_of(made.workspaces, made.kinds, Messages(event.payload for event in found).sizes)
    assert tally == tally_of(found) and +sizes == +sizes_of(found, lengths)
    if found:
        assert lines_of_ids(made.ids) == b"".join(b"%d\n" % event.id for event in found)


def test_a_store_of_another_kind_may_number_kinds_in_its_own_order() -> None:
    kinds = pa.DictionaryArray.from_arrays(pa.array([1, 0, 1], pa.int8()), pa.array(["genie", "job"]))
    integers, times = pa.array([7, 8, 9]), pa.array([946_684_800_000_000, 946_684_800_000_001, 0], SCHEMA.types[3])
    payloads = pa.array([b"{}", b"[]", b"1"], pa.large_binary())
    batch = pa.RecordBatch.from_arrays([integers, integers, kinds, times, times, payloads], schema=SCHEMA)
    assert list(Page(batch, more=False).events) == [
        Event(7, 7, "job", 0, 0, b"{}"), Event(8, 8, "genie", 1, 1, b"[]"), Event(9, 9, "job", -946_684_800_000_000, -946_684_800_000_000, b"1"),
    ]  # fmt: skip


@given(events, st.integers(1, 3))
def test_lanes_get_their_events_in_order(found: list[Event], lanes: int) -> None:
    lane_of = {workspace.id: number % lanes for number, workspace in enumerate(WORKSPACES)}
    divider = Demultiplexer(lane_of)
    ordered = Events.of(divider.in_order(Events.of(found)))
    chunk = columns.Rendered(ordered, Messages(event.payload for event in ordered), [])
    got: dict[int, list[Event]] = {}
    for number, some, messages in divider.divide(chunk):
        assert [event.payload for event in some] == list(messages)
        got.setdefault(number, []).extend(some)
    for number in range(lanes):
        assert got.get(number, []) == [event for event in found if lane_of[event.workspace_id] == number]
