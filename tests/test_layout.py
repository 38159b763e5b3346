"""Key templates: in the user's words, and still unique and safe."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.destinations.parcel import LaneRef
from logstream.destinations.registry import check_options
from logstream.destinations.transport.templates import TemplateLayout
from logstream.events import EPOCH, Event
from logstream.window import Window

WINDOW = Window(datetime(2026, 11, 24, 7, tzinfo=UTC), datetime(2026, 11, 24, 7, 5, tzinfo=UTC))
LANE = LaneRef("lake", WINDOW, 1, 4, {1001: "acme", 1002: None, 1003: "../x/y"})
MOMENT = int((datetime(2026, 3, 1, 9, 30, tzinfo=UTC) - EPOCH).total_seconds() * 1_000_000)


def event(workspace: int = 1001, identity: int = 7, kind: str = "job") -> Event:
    return Event(identity, workspace, kind, MOMENT, MOMENT, b"{}")


@pytest.mark.parametrize(
    ("template", "hive", "workspace", "key"),
    [
        ("{workspace_id}/{kind}/{event_id}", False, 1001, "1001/job/7"),
        ("{external_id}/{yyyy}/{mm}/{dd}/{hh}/{event_id}", False, 1001, "acme/2026/03/01/09/7"),
        ("{external_id}/{event_id}", False, 1002, "1002/7"),
        ("{external_id}/{event_id}", False, 1003, "=2E=2E=2Fx=2Fy/7"),
        ("{workspace_id}/{yyyy}/{mm}/day-{dd}/{event_id}", True, 1001, "workspace_id=1001/year=2026/month=03/day-01/7"),
        ("{destination}/{window}/{event_id}.x", False, 1001, "lake/20261124T070000Z_20261124T070500Z/7.x"),
    ],
)
def test_keys_of_events(template: str, hive: bool, workspace: int, key: str) -> None:
    assert TemplateLayout.of_events(template, hive=hive).event_key(event(workspace), LANE) == f"{key}.json"


def test_keys_of_batches() -> None:
    layout = TemplateLayout.of_batches("{destination}/{yyyy}/{hh}/{window}-{lane}-{part}", hive=True)
    key = "destination=lake/year=2026/hour=07/20261124T070000Z_20261124T070500Z-01-of-04-00003"
    assert layout.batch_key(LANE, 3) == key
    assert layout.batch_folder("lake", WINDOW) == "destination=lake/year=2026/hour=07"
    assert TemplateLayout.of_batches("{lane}/{window}/{part}", hive=False).batch_folder("lake", WINDOW) == ""


@pytest.mark.parametrize(
    ("packaging", "key", "problem"),
    [
        ("file", "{workspace_id}/{kind}", "{event_id} must be in it"),
        ("file", "{event}", "{event}: unknown; there are"),
        ("file", "{part}{event_id}", "{part}: events have none"),
        ("file", "../{event_id}", "no part of it may be empty, ., .. or _manifests"),
        ("file", "/{event_id}", "no part of it may be empty"),
        ("file", "_manifests/{event_id}", "or _manifests"),
        ("file", "a\\b{event_id}", "letters, digits and the signs"),
        ("file", "{event_id!r}", "takes no format"),
        ("file", "{event_id:>9}", "takes no format"),
        ("file", "{event_id", "expected '}'"),
        (
            "batch",
            "{yyyy}/{lane}-{part}",
            "{window} (or {window_start} and {window_end}), {lane} and {part} must be in it",
        ),
        ("batch", "{workspace_id}/{window}{lane}{part}", "batches hold many workspaces"),
    ],
)
def test_refused_templates(packaging: str, key: str, problem: str) -> None:
    options: dict[str, Any] = {"connection": "c", "bucket": "abc", "packaging": packaging, "key": key}
    ((path, what),) = check_options("s3", options)
    assert path == ("key",)
    assert problem in what


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 2**63 - 1)), unique_by=lambda pair: pair[1], max_size=20),
       st.dictionaries(st.integers(1, 5), st.text(max_size=30) | st.none()))  # fmt: skip
def test_whatever_ids_hold_keys_are_safe_and_differ(pairs: list[tuple[int, int]], names: dict[int, str | None]) -> None:
    lane = LaneRef("d", WINDOW, 0, 1, names)
    layout = TemplateLayout.of_events("x/{external_id}/{event_id}", hive=True)
    keys = [layout.event_key(event(workspace, identity), lane) for workspace, identity in pairs]
    assert len(set(keys)) == len(pairs)
    for key in keys:
        parts = key.split("/")
        assert len(parts) == 3 and parts[0] == "x" and ".." not in key
        assert all(" " < character <= "~" for character in key)
