"""Forms of the console, apart from HTTP: mistakes at their fields, notes of tests, changes in a line."""

from __future__ import annotations

from typing import Any

import pytest

from logstream.console.changed import in_a_line
from logstream.console.filters import prose
from logstream.console.forms import fields_of
from logstream.console.mistakes import in_words, mistakes_of, option_label
from logstream.console.service.meaning import meaning_of
from logstream.console.setting_form import types_in_order
from logstream.console.tested import Tested, TestNotes
from logstream.destinations import destination_types
from logstream.settings.changes import changes
from logstream.settings.models import Settings

LAKE = {"type": "s3", "connection": "lake", "bucket": "audit-logs"}


@pytest.mark.parametrize(
    ("streaming", "name", "destination", "wrong"),
    [
        ({"enabled": True, "events": ["job_status"]}, "lake", LAKE, {}),
        ({"enabled": False, "events": []}, "", None, {}),
        ({"enabled": True, "events": []}, "", None, {"events", "destination_name"}),
        ({"enabled": True, "events": ["job_status"]}, "new", None, {"destination_type"}),
        ({"enabled": True, "events": ["job_status"]}, "old", None, {}),
        ({"events": []}, "a b", LAKE, {"destination_name"}),
        ({"events": ["log_service"], "log_types": ["x" * 101]}, "lake", LAKE, {"log_types"}),
        ({"mask": ["$.a["], "message": "{"}, "lake", {"type": "nope"}, {"mask", "message", "destination_type"}),
        ({}, "lake", {**LAKE, "bucket": "x", "lanes": 0, "tags": {"a|b": "c"}},
         {"option.bucket", "option.lanes", "option.tags"}),
    ],
)  # fmt: skip
def test_mistakes_at_their_fields(streaming: dict[str, Any], name: str, destination: Any, wrong: set[str]) -> None:
    assert set(mistakes_of(streaming, name, destination, ["old"])) == set(wrong)


def test_places_in_other_parts_of_the_settings_are_told_in_words() -> None:
    document = {"workspaces": [{"id": 7}, {"id": 1001}], "destinations": {"a": {}, "a.b": {}}}
    assert in_words("workspaces[1].streaming.mask[0]: no", document) == "workspace 1001, mask[0]: no"
    assert in_words("admin.destination: no", document) == "the settings for all workspaces, destination: no"
    assert in_words("destinations.a.b.bucket: no", document) == "destination a.b, bucket: no"
    assert in_words("something else", document) == "something else"


def settings(**document: Any) -> Settings:
    return Settings.model_validate(document)


ON = {"enabled": True, "events": ["job_status"], "destination": "lake"}


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({}, {}, "nothing"),
        ({}, {"admin": ON, "destinations": {"lake": LAKE}}, "all workspaces: new; destination lake: new"),
        ({"admin": ON}, {"admin": {**ON, "enabled": False}}, "all workspaces: switched off"),
        ({"admin": ON}, {"admin": {**ON, "events": ["log_service"], "log_levels": ["warn"]}}, "all workspaces: events, log levels"),
        ({"destinations": {"a.b": LAKE}}, {"destinations": {"a.b": {**LAKE, "tags": {"x": "y"}}}}, "destination a.b: tags"),
        ({"destinations": {"a": LAKE}}, {}, "destination a: taken away"),
        ({}, {"workspaces": [{"id": number} for number in range(9)]},
         "workspace 0: new; workspace 1: new; workspace 2: new; and 6 more"),
        # what holds for all comes first, however many others change with it
        ({"workspaces": [{"id": number} for number in range(9)]}, {"admin": ON, "destinations": {"lake": LAKE}},
         "all workspaces: new; workspace 0: taken away; workspace 1: taken away; and 8 more"),
    ],
)  # fmt: skip
def test_a_change_in_a_line(before: dict[str, Any], after: dict[str, Any], line: str) -> None:
    first, second = settings(**before), settings(**after)
    assert in_a_line(changes(first, second), {*first.destinations, *second.destinations}) == line


def test_settings_that_mean_the_same() -> None:
    written = settings(
        admin={"events": ["job_status"]}, destinations={"lake": {**LAKE, "packaging": "file", "lanes": 4}}
    )
    drawn = settings(admin={"enabled": False, "events": ["job_status"]}, destinations={"lake": LAKE})
    assert meaning_of(written) == meaning_of(drawn)
    turned = settings(admin={"events": ["job_status", "job_details"]})
    assert meaning_of(turned) == meaning_of(settings(admin={"events": ["job_details", "job_status"]}))
    assert meaning_of(written) != meaning_of(
        settings(admin={"events": ["job_status"]}, destinations={"lake": {**LAKE, "lanes": 5}})
    )
    stale = settings(destinations={"lake": {"type": "s3", "bucket": "x"}, "gone": {"type": "uninstalled"}})
    assert meaning_of(stale) == meaning_of(stale)


def test_a_note_is_good_for_what_was_tested_alone() -> None:
    notes = TestNotes("key")
    note = notes.write(LAKE, passed=True)
    assert notes.read(note, dict(reversed(LAKE.items()))) is Tested.PASSED
    assert notes.read(notes.write(LAKE, passed=False), LAKE) is Tested.FAILED
    assert notes.read(note, {**LAKE, "bucket": "other"}) is Tested.UNTESTED
    for forged in ("", "x", note[:-2], TestNotes("other").write(LAKE, passed=True)):
        assert notes.read(forged, LAKE) is Tested.UNTESTED


def test_prose_is_escaped() -> None:
    assert prose("correct `bucket` of <b>") == "correct <code>bucket</code> of &lt;b&gt;"
    assert prose("`<script>`") == "<code>&lt;script&gt;</code>"


def test_what_a_type_is_chosen_for_is_seen_at_once() -> None:
    for name, kind in destination_types().items():
        seen, more = fields_of(kind.options_model, {})
        assert not any(field.required for field in more), name
        assert {field.name for field in more} <= GENERAL, name
        assert [field.name for field in seen][: len(NEEDED.get(name, ()))] == NEEDED.get(name, []), name
    assert {field.name for field in fields_of(destination_types()["s3"].options_model, {})[1]} >= {
        "metadata",
        "tags",
        "storage_class",
    }
    assert [option_label(name) for name in ("kms_key_id", "object_mb", "path")] == ["KMS key ID", "Object MB", "Path"]
    assert list(types_in_order())[:7] == [
        "s3",
        "azure_blob",
        "azure_monitor",
        "gcs",
        "splunk_hec",
        "datadog",
        "sumo_logic",
    ]
    assert set(types_in_order()) == set(destination_types())


GENERAL = {
    "lanes", "concurrency", "manifests", "max_events", "max_bytes", "key", "hive", "storage_class", "metadata", "tags",
    "object_mb", "columns",
}  # fmt: skip
NEEDED = {
    "s3": ["connection", "bucket", "prefix", "packaging", "encryption"],
    "azure_blob": ["connection", "container", "prefix", "packaging", "compression"],
    "gcs": ["connection", "bucket", "prefix", "packaging", "compression"],
    "azure_monitor": ["connection", "endpoint", "rule_id", "stream"],
    "splunk_hec": ["connection", "index"],
    "datadog": ["connection", "site"],
    "sumo_logic": ["connection", "category"],
    "http": ["connection", "path", "format"],
    "new_relic": ["connection", "region"],
}
