"""What is news and who hears it: the rules alone, without a database."""

from __future__ import annotations

import itertools
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.ledger.audiences import APART, audiences, heard
from logstream.ledger.condition import Backlog, DestinationStatus
from logstream.ledger.health import Health
from logstream.ledger.news import ALL, Known, News, Notice, Told, clean, news, settings_news
from logstream.ledger.status import Status
from logstream.settings.models import Settings
from logstream.settings.notices import Topic

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEP = timedelta(minutes=5)
HOUR = timedelta(hours=1)
LIMIT = HOUR
NONE = Backlog()
WELL = DestinationStatus("lake", delivered_until=NOW, now=NOW, step=STEP)
DOWN = Health(1, NOW, None, "it answered 503")
SUSPENDED = Health(3, NOW, NOW, "it answered 503")
HELD = Health(0, None, NOW, "held by ops", held=True)


def status(*destinations: DestinationStatus, gaps: Backlog = NONE) -> Status:
    return Status(list(destinations), gaps, [], STEP, NOW - 24 * HOUR)


def said(before: Known, now: Status, checks: dict[str, str] | None = None) -> tuple[list[str], News]:
    found = news(before, now, checks or {}, LIMIT)
    return [f"{notice.topic}: {notice}" for notice in found.notices], found


def story(*steps: dict[str, Any]) -> list[list[str]]:
    """What is told of a destination at one look after another."""
    told: Known = {}
    spoken = []
    for step in steps:
        lines, found = said(
            told,
            status(replace(WELL, **{key: value for key, value in step.items() if key != "checks"})),
            step.get("checks"),
        )
        told = found.told
        spoken.append(lines)
    return spoken


def test_a_destination_that_fails_is_suspended_and_comes_back() -> None:
    owed = {"owed": 3, "owed_since": NOW - STEP}
    assert story(
        {},
        {"health": DOWN},
        {"health": DOWN},
        {"health": SUSPENDED, **owed},
        {"health": SUSPENDED, **owed},
        {**owed},
        {},
    ) == [
        [],
        ["failing: destination lake is failing: it answered 503"],
        [],
        ["suspended: destination lake is suspended: it answered 503; it is owed 3 windows"],
        [],
        ["recovered: destination lake is back: it is owed 3 windows, to follow oldest first"],
        [],
    ]


def test_what_was_so_before_people_were_first_told_is_told() -> None:
    assert story({"health": SUSPENDED}) == [["suspended: destination lake is suspended: it answered 503"]]


def test_a_person_who_suspends_and_resumes_is_told_of() -> None:
    assert story({"health": SUSPENDED}, {"health": HELD}, {}) == [
        ["suspended: destination lake is suspended: it answered 503"],
        ["held: destination lake is held: held by ops"],
        ["recovered: destination lake is resumed"],
    ]


def test_a_growing_share_is_told_when_it_has_doubled() -> None:
    shares = [0.0, 0.004, 0.012, 0.013, 0.02, 0.05, 0.006, 0.02, 0.004, 0.009, 0.011]
    assert [bool(lines) for lines in story(*({"rejected_share": share} for share in shares))] == [
        False, False,
        True,  # begins
        False, False,
        True,  # 5 % after 1.2 %
        False,  # a limit that it hovers about is not told again and again
        True,  # 2 % after 0.6 %
        True,  # has ended
        False,
        True,  # begins anew
    ]  # fmt: skip


def test_losses_are_told_by_how_many_more_there_are() -> None:
    assert story({"lost": 3}, {"lost": 3}, {"lost": 5}, {"lost": 0}, {"lost": 1}) == [
        ["lost: events are lost to destination lake: 3 events the log store no longer had at the time of delivery"],
        [],
        ["lost: events are lost to destination lake: 2 events the log store no longer had at the time of delivery"],
        [],
        ["lost: events are lost to destination lake: 1 event the log store no longer had at the time of delivery"],
    ]


def test_lag_is_beyond_the_schedules_interval() -> None:
    ages = [HOUR + STEP, HOUR + STEP + timedelta(seconds=1), HOUR, timedelta(minutes=34)]
    looks = [{"owed": 1, "owed_since": NOW - age, "last_sealed": NOW} for age in ages]
    assert story(*looks) == [
        [],
        ["lagging: destination lake lags behind: it has not got everything since 2026-03-01 10:54 UTC"],
        [],
        ["recovered: destination lake has caught up: it is owed 1 window, to follow oldest first"],
    ]
    day = timedelta(days=1)
    # a window of a day is a day old when it is due
    assert story({"step": day, "owed": 1, "owed_since": NOW - day - HOUR}) == [[]]


def test_a_failed_check_is_told_and_its_end() -> None:
    assert story(
        {"checks": {"lake": "s3 answers: no (403)"}},
        {"checks": {"lake": "s3 answers: no (403)"}},
        {"checks": {"other": "x"}},
    ) == [
        ["check: destination lake did not pass its daily check: s3 answers: no (403)"],
        [],
        ["recovered: destination lake passes its check again"],
    ]


def test_gaps_are_told_once_until_there_are_none() -> None:
    gap = Backlog(12, NOW - HOUR)
    waiting = replace(WELL, delivered_until=None, gaps=gap)
    moving = replace(WELL, gaps=gap, last_sealed=NOW)
    lines, found = said({}, status(waiting, gaps=gap))
    assert lines[0].startswith("gaps: no run has exported 12 windows since 2026-03-01 11:00 UTC")
    assert said(found.told, status(moving, gaps=gap))[0] == []
    (ended,) = said(found.told, status(WELL))[0]
    assert ended.startswith("recovered: there are no gaps any more")
    assert said({}, status(moving, gaps=gap))[0] == [], "runs are exporting them: that needs no person"


statuses = st.builds(
    DestinationStatus,
    st.sampled_from(["a", "b"]),
    st.sampled_from([Health(), DOWN, SUSPENDED, HELD]),
    st.sampled_from([None, NOW]),
    owed=st.integers(0, 3),
    owed_since=st.sampled_from([NOW - STEP, NOW - HOUR, NOW - 3 * HOUR]),
    rejected_share=st.floats(0, 1),
    lost=st.integers(0, 3),
    now=st.just(NOW),
    step=st.sampled_from([None, STEP]),
)
looks = st.tuples(
    st.lists(statuses, max_size=2, unique_by=lambda one: one.name),
    st.sampled_from([Backlog(), Backlog(2, NOW - HOUR)]),
    st.dictionaries(st.sampled_from(["a", "b"]), st.just("it is broken")),
)


@given(st.lists(looks, min_size=1, max_size=5))
def test_nothing_is_told_twice(steps: list[Any]) -> None:
    """Whatever happened, a second look at the same tells nothing; and what was told survives the database."""
    told: dict[str, Told] = {}
    for found_destinations, gaps, checks in steps:
        now = status(*found_destinations, gaps=gaps)
        told = news(told, now, checks, LIMIT).told
        assert {subject: Told.from_json(one.as_json()) for subject, one in told.items()} == told
        again = news(told, now, checks, LIMIT)
        assert again.notices == [] and again.told == told


@given(st.text() | st.text("\u202e<>{}%\n\r\x1b\0a"))
def test_others_text_is_one_short_line_without_signs_that_are_obeyed(text: str) -> None:
    told = clean(text, 40)
    assert len(told) <= 40 and not {"<", ">"} & {*told}
    assert all(sign == " " or unicodedata.category(sign)[0] not in "CZ" for sign in told)


OPS = {"kind": "webhook", "connection": "ops"}
ACME = {"kind": "webhook", "connection": "acme"}


def settings(**changes: Any) -> Settings:
    document: dict[str, Any] = {
        "destinations": {"lake": {"type": "file", "path": "/a"}, "acme": {"type": "file", "path": "/b"}},
        "workspaces": [
            {"id": 1, "streaming": {"enabled": True, "events": ["job_status"], "destination": "acme"}, "notices": {"to": [ACME]}},
            {"id": 2, "streaming": {"enabled": True, "events": ["job_status"], "destination": "lake"}},
        ],
        "notices": {"to": [OPS]},
    }  # fmt: skip
    return Settings.model_validate({**document, **changes})


NEWS = [
    Notice(Topic.FAILING, "destination acme is failing", "it answered 503", "acme"),
    Notice(Topic.FAILING, "destination lake is failing", "it answered 500", "lake"),
    Notice(Topic.GAPS, "no run has exported 3 windows"),
    Notice(Topic.SETTINGS, "the setting of workspace 1 was changed", workspace=1),
    Notice(Topic.SETTINGS, "the setting of workspace 2 was changed", workspace=2),
    Notice(Topic.SETTINGS, "the settings were changed"),
]


def told_to(found: Settings, given: list[Notice] = NEWS) -> dict[str, list[str]]:
    return {
        (one.receiver.connection if one.receiver else "?"): list(map(str, heard(one, given)))
        for one in audiences(found)
    }


def test_a_workspace_hears_of_its_own_destination_and_of_no_other() -> None:
    told = told_to(settings())
    assert told["acme"] == ["destination acme is failing", "the setting of workspace 1 was changed"]
    assert told["ops"] == [str(notice) for notice in NEWS if notice.workspace is None]


def test_a_workspace_hears_nothing_of_the_administrators_destination() -> None:
    admin = {"enabled": True, "events": ["job_status"], "destination": "acme"}
    assert told_to(settings(admin=admin))["acme"] == ["the setting of workspace 1 was changed"]


@pytest.mark.parametrize("others", [True, False])
def test_a_workspace_hears_the_bare_fact_though_no_other_uses_its_destination_now(others: bool) -> None:
    """The reason may be of another's events, also where that one streams elsewhere by now."""
    document = settings().as_document()
    if others:
        document["workspaces"][1]["streaming"]["destination"] = "acme"
    assert told_to(Settings.model_validate(document))["acme"][0] == "destination acme is failing"


def test_topics_narrow_what_is_heard() -> None:
    assert told_to(settings(notices={"to": [{**OPS, "about": "gaps"}]}))["ops"] == ["no run has exported 3 windows"]


def test_much_of_one_topic_is_a_sum() -> None:
    def failing(count: int) -> list[Notice]:
        return [Notice(Topic.FAILING, f"destination d{n} is failing", "x", f"d{n}") for n in range(count)]

    lost = Notice(Topic.LOST, "events are lost to destination d1", "2 events", "d1")
    assert told_to(settings(), [*failing(APART), lost])["ops"] == list(map(str, [*failing(APART), lost]))
    assert told_to(settings(), [lost, *failing(43)])["ops"] == [
        str(lost),
        "43 destinations: they are failing: d0, d1, d2, d3, d4 and 38 more",
    ]


def test_an_audience_is_who_it_is_wherever_it_stands() -> None:
    """What is to be told to a receiver survives another place in the list and other topics, and no other hears it."""
    keys = {one.key for one in audiences(settings(notices={"to": [{**OPS, "about": ["gaps"]}]}))}
    assert keys == {one.key for one in audiences(settings(notices={"to": [OPS, OPS]}))}
    variants = [
        OPS,
        {**OPS, "path": "/x"},
        {**OPS, "connection": "b"},
        {"kind": "slack", "connection": "ops", "channel": "#a"},
    ]
    found = [
        {one.key for one in audiences(settings(notices={"to": [variant]})) if one.workspace is None}
        for variant in variants
    ]
    assert all(not a & b for a, b in itertools.combinations(found, 2))


def test_changed_settings_say_whose_and_by_whom() -> None:
    before = settings()
    document = before.as_document()
    document["workspaces"][0]["streaming"]["events"] = ["user_activity"]
    document["destinations"]["lake"]["path"] = "/c"
    found = settings_news(before, Settings.model_validate(document), "ada <!channel>")
    assert [(str(notice), notice.workspace) for notice in found] == [
        ("the settings were changed by ada \u2039!channel\u203a: 1 workspace (1), 1 destination (lake)", None),
        ("the setting of workspace 1 was changed", 1),
        ("destination lake of workspace 2 was changed", 2),
    ]
    assert settings_news(before, before, "ada") == []
    silent = settings_news(before, settings(notices={}), None)
    assert list(map(str, silent)) == ["the settings were changed: who is told of news"]
    assert ALL not in before.destinations
