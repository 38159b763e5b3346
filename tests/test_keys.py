"""Object keys: the platform's rule, made safe."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.destinations.parcel import LaneRef
from logstream.destinations.transport.compression import Compression
from logstream.destinations.transport.keys import MAX_PART, batch_key, event_key, safe
from logstream.destinations.transport.layouts import PlatformLayout
from logstream.destinations.transport.object_packing import EventPacker
from logstream.destinations.transport.templates import TemplateLayout
from logstream.events import EPOCH, Event
from logstream.messages import Messages
from logstream.window import Window

OCCURRED = int((datetime(2022, 6, 14, 8, 30, 59, tzinfo=UTC) - EPOCH).total_seconds()) * 1_000_000

LANE = LaneRef("lake", Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)), 0, 1)


def event(kind: str, payload: Any, identity: int = 7, workspace: int = 1234) -> Event:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Event(identity, workspace, kind, OCCURRED, OCCURRED, raw)


JOB = {"id": "j-KGAKfhsz-GYoLeD", "recipe_id": 456, "status": "succeeded", "completed_at": "2022-06-14T23:30:01-04:00"}


@pytest.mark.parametrize(
    ("kind", "payload", "key"),
    [
        (
            "job",
            JOB,
            "1234/jobs/456/20220615/j-KGAKfhsz-GYoLeD/1234-456-j-KGAKfhsz-GYoLeD-20220615033001-succeeded.json",
        ),
        ("job", JOB | {"completed_at": None}, "1234/jobs/456/20220614/j-KGAKfhsz-GYoLeD/1234-456-j-KGAKfhsz-GYoLeD-20220614083059-succeeded.json"),
        ("job", {}, "1234/jobs/unknown/20220614/7/1234-unknown-7-20220614083059-unknown.json"),
        ("job", {"id": "../../etc", "recipe_id": "a/b", "status": "x\ny"}, "1234/jobs/a=2Fb/20220614/=2E=2E=2F=2E=2E=2Fetc/1234-a=2Fb-=2E=2E=2F=2E=2E=2Fetc-20220614083059-x=0Ay.json"),
        ("job", b'{"id": "\\ud800", "recipe_id": true, "status": {}}', "1234/jobs/unknown/20220614/=ED=A0=80/1234-unknown-=ED=A0=80-20220614083059-unknown.json"),
        ("job", b'[1]', "1234/jobs/unknown/20220614/7/1234-unknown-7-20220614083059-unknown.json"),
        ("user_activity", {"id": 99, "event_type": "user.login"}, "1234/user_activity/20220614/7/1234-7-20220614083059-user.login.json"),
        ("user_activity", {"event": "user_login", "timestamp": "2019-09-13 17:24:16 UTC"}, "1234/user_activity/20220614/7/1234-7-20220614083059-user_login.json"),
        ("genie", {"event": "message_sent"}, "1234/genie/20220614/7/1234-7-20220614083059-message_sent.json"),
        ("job", {"id": 100, "recipe_id": 456, "is_error": True}, "1234/jobs/456/20220614/100/1234-456-100-20220614083059-failed.json"),
        ("api_platform", {"method": "GET"}, "1234/api_platform/20220614/7/1234-7-20220614083059-GET.json"),
        ("log_service", {"log_type": "recipe"}, "1234/log_service/20220614/7/1234-7-20220614083059-recipe.json"),
        ("log_service", {}, "1234/log_service/20220614/7/1234-7-20220614083059-event.json"),
    ],
)  # fmt: skip
def test_the_platforms_rule(kind: str, payload: Any, key: str) -> None:
    assert event_key(event(kind, payload)) == key


TEXTS = st.text(st.characters(codec=None, exclude_categories=[]), max_size=200)


@given(TEXTS)
def test_a_part_is_safe(text: str) -> None:
    part = safe(text)
    assert re.fullmatch(r"[A-Za-z0-9._=-]{1,120}", part)
    assert ".." not in part and not part.startswith(".")
    assert len(part) <= MAX_PART


@given(TEXTS, TEXTS)
def test_different_ids_have_different_parts(one: str, other: str) -> None:
    assert (safe(one) == safe(other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"), [("a/b", "a=2Fb"), ("..", "=2E=2E"), ("", "="), (".a", "=2Ea"), ("x" * 121, "x" * 122)]
)
def test_escapes_do_not_collide(one: str, other: str) -> None:
    assert safe(one) != safe(other)


def keys_of(packer: EventPacker, events: list[Event]) -> list[str]:
    parcels = [*packer.pack(events, Messages([b"{}"] * len(events))), *packer.finish()]
    return [key for parcel in parcels for key, _ in parcel.objects]  # type: ignore[attr-defined]


@given(TEXTS, TEXTS, TEXTS)
def test_names_fit_file_systems_and_object_stores(job: str, recipe: str, status: str) -> None:
    key = event_key(event("job", {"id": job, "recipe_id": recipe, "status": status}, workspace=2**63 - 1))
    longest_prefix, id_and_suffix = 500, len("-9223372036854775807.json.zst")
    assert len(key) + longest_prefix + id_and_suffix <= 1024
    assert all(len(part) + id_and_suffix <= 255 for part in key.split("/"))


@given(
    st.lists(st.tuples(st.sampled_from(["j-1", "j-2", None]), st.sampled_from(["succeeded", "failed"])), max_size=12)
)
def test_events_of_a_lane_never_share_a_file(jobs: list[tuple[str | None, str]]) -> None:
    events = [
        event("job", {"id": job, "recipe_id": 1, "status": status}, identity)
        for identity, (job, status) in enumerate(jobs)
    ]
    names = keys_of(EventPacker("p/", Compression.NONE, LANE, PlatformLayout()), events)
    assert len(set(names)) == len(events)
    # and a retry that begins in the middle gives the same names
    for middle in range(len(events)):
        packer = EventPacker("p/", Compression.NONE, LANE, PlatformLayout())
        packer.remember(events[:middle])
        assert keys_of(packer, events[middle:]) == names[middle:]


def test_batch_keys_name_window_lane_and_part() -> None:
    window = Window(datetime(2026, 11, 24, tzinfo=UTC), datetime(2026, 11, 24, 0, 5, 0, 250, tzinfo=UTC))
    assert batch_key(LaneRef("lake", window, 3, 4), 12) == (
        "lake/2026/11/24/20261124T000000Z_20261124T000500.000250Z/lane-03-of-04-part-00012"
    )


@given(
    st.datetimes(datetime(1000, 1, 1), datetime(9998, 1, 1)),
    st.sampled_from(["Z", "+00:00", "+05:30", "-0800", ""]),
    st.sampled_from(["seconds", "milliseconds", "microseconds"]),
    st.sampled_from("T "),
)
def test_a_jobs_time_is_its_completion_in_utc(moment: datetime, offset: str, precision: str, between: str) -> None:
    text = moment.isoformat(between, precision) + offset
    zone = UTC if offset in ("", "Z") else datetime.fromisoformat(f"2000-01-01T00:00:00{offset}").tzinfo
    wanted = moment.replace(tzinfo=zone).astimezone(UTC)
    key = event_key(event("job", {"id": "j", "recipe_id": 1, "status": "ok", "completed_at": text}))
    assert f"/jobs/1/{wanted:%Y%m%d}/j/" in key
    assert f"-{wanted:%Y%m%d%H%M%S}-ok.json" in key


def test_years_before_1000_have_four_digits_everywhere() -> None:
    """Some C libraries write the year 900 as `900`: keys of one form could not be listed by time, nor told apart for sure."""
    early = datetime(900, 1, 2, 3, 4, 5, tzinfo=UTC)
    window = Window(early, early.replace(minute=9))
    assert window.slug == "09000102T030405Z_09000102T030905Z"
    assert batch_key(LaneRef("lake", window, 0, 1), 1).startswith("lake/0900/01/02/09000102T030405Z_")
    moment = int((early - EPOCH).total_seconds()) * 1_000_000
    assert "/09000102/7/1-7-09000102030405-" in event_key(Event(7, 1, "user_activity", moment, moment, b"{}"))
    job = {"id": "j", "recipe_id": 1, "status": "ok", "completed_at": "0900-01-30T03:04:05Z"}
    assert "/09000130/j/1234-1-j-09000130030405-ok" in event_key(event("job", job))
    layout = TemplateLayout.of_events("{yyyy}/{window_start}/{event_id}", hive=True)
    key = layout.event_key(Event(7, 1, "job", moment, moment, b"{}"), LaneRef("lake", window, 0, 1))
    assert key == "year=0900/window_start=09000102T030405Z/7.json"
