"""What the console says of a backfill before it starts is what its runs do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from airflow.timetables.interval import CronDataIntervalTimetable

from logstream.console import runs
from logstream.console.deps import the_console
from logstream.control.audit import Actor
from logstream.testing.servers import LogSink
from logstream.window import Window

from .asked import Asked, ask

__all__ = ["ask"]  # a fixture

NINE = datetime(2026, 3, 1, 9, tzinfo=UTC)
ANN = Actor("ann", "192.0.2.7")
NAMES = ("acme_lake", "company_lake", "archive")
SETTING = {"enabled": True, "events": ["user_activity"]}


def windows(minutes: int, first: int, last: int) -> list[Window]:
    """Windows of some minutes from 9 o'clock on, those from `first` to `last` minutes after it."""
    step = timedelta(minutes=minutes)
    return [
        Window(NINE + timedelta(minutes=at), NINE + timedelta(minutes=at) + step) for at in range(first, last, minutes)
    ]


@pytest.fixture
def schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """The export DAG as Airflow keeps it, of a schedule of one minute."""
    dag = SimpleNamespace(timetable=CronDataIntervalTimetable("* * * * *", timezone="UTC"))

    @contextmanager
    def session() -> Iterator[Any]:
        yield SimpleNamespace(scalar=lambda _: SimpleNamespace(dag=dag))

    monkeypatch.setattr(runs, "create_session", session)


@pytest.fixture
def scene(
    ask: Asked, store: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: None
) -> Iterator[Asked]:
    """Two windows of five minutes from 9 o'clock on, which three destinations have got from which all goes to `archive` now."""
    for workspace in (1, 2, 3):
        store.execute("insert into workspaces (id, role) values (%s, 'customer')", (workspace,))
        for window in windows(5, 0, 20):
            store.execute(
                "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
                " values (%s, 'user_activity', %s, %s, '{}')",
                (workspace, window.start, window.start),
            )
    with LogSink() as sink:
        monkeypatch.setenv("AIRFLOW_CONN_STARK_WEBHOOK", sink.connection)
        destinations: dict[str, Any] = {name: {"type": "file", "path": str(tmp_path / name)} for name in NAMES}
        destinations["stark_webhook"] = {"type": "http", "connection": "stark_webhook"}
        own = [
            {"id": workspace, "streaming": {**SETTING, "destination": name}}
            for workspace, name in enumerate(("acme_lake", "company_lake", "stark_webhook"), start=1)
        ]
        save({"workspaces": own, "destinations": destinations})
        for window in windows(5, 0, 10):
            export(window)
        save({"workspaces": own, "destinations": destinations, "admin": {**SETTING, "destination": "archive"}})
        yield ask


def save(document: dict[str, Any]) -> None:
    the_console().settings.save(document, ANN, None)


def export(window: Window, only: list[str] | None = None) -> list[Window]:
    """Export a window as a run of a backfill does; the windows that it planned."""
    exporter = the_console().exporter
    planned = exporter.plan(window, only=only)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    exporter.seal(planned.delivery_ids)
    assert exporter.owed() == []
    return [item.window for item in planned.windows]


def said(ask: Asked, start: str, end: str, destinations: str = "") -> str:
    """What the page says a backfill would do, as a person reads it."""
    day = "" if "-" in start else "2026-03-01T"
    answer = ask("POST", "parts/backfill", data={"start": day + start, "end": day + end, "destinations": destinations})
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", answer.text)))


def offered(ask: Asked, *asked: str) -> bool:
    return "Start the backfill" in said(ask, *asked)


def test_windows_that_exist_keep_their_bounds_and_the_settings_of_today_decide(scene: Asked) -> None:
    text = said(scene, "09:00", "09:10")
    assert "This starts 10 runs, for 2026-03-01 09:00:00 to 2026-03-01 09:10:00 UTC." in text
    assert "No new window is made. 2 windows of this time exist already: they keep their bounds" in text
    assert "exported again, whole, up to 5 times each" in text
    assert "By the settings in force, events go to archive." in text
    assert "For the first time, where there are events: archive (2 windows)." in text
    assert "Nothing goes to acme_lake, company_lake, stark_webhook, which have got windows of this time" in text
    assert "Sent" not in text and "Written again" not in text and offered(scene, "09:00", "09:10")
    asked = {"start": f"{NINE.isoformat()}", "end": f"{NINE + timedelta(minutes=10)}", "dry_run": True}
    asked = {key: value.replace(" ", "T") if isinstance(value, str) else value for key, value in asked.items()}
    answer = scene("POST", "api/v1/backfills", json=asked).json()
    assert answer == {"runs": 10, "windows": 2, "new": 0, "reached": ["archive"], "backfill": None}
    # what its runs do
    done = [window for interval in windows(1, 0, 10) for window in export(interval)]
    assert len(done) == 10 and set(done) == set(windows(5, 0, 10))
    got = the_console().overview.delivered_within(Window(NINE, NINE + timedelta(minutes=10)))
    assert got["archive"] == 2
    text = said(scene, "09:00", "09:10")
    assert "Written again, under the same keys: archive (2 windows)." in text and "For the first time" not in text


def test_a_range_that_cuts_windows_and_has_new_ones(scene: Asked) -> None:
    text = said(scene, "09:07", "09:12")
    assert "This starts 5 runs" in text
    assert "2 new windows are made. 1 window of this time exists already: it keeps its bounds" in text
    assert "up to 3 times each" in text
    assert "All together they reach from 2026-03-01 09:05:00 to 2026-03-01 09:12:00 UTC." in text
    assert "For the first time, where there are events: archive (3 windows)." in text
    done = [window for interval in windows(1, 7, 12) for window in export(interval)]
    assert set(done) == {*windows(5, 5, 10), *windows(1, 10, 12)}
    assert [done.count(window) for window in windows(5, 5, 10)] == [3]
    assert "None of this time was exported yet." in said(scene, "09:15", "09:20")


def test_receivers_that_are_sent_events_again_are_told_how_often(scene: Asked) -> None:
    document = the_console().settings.document()
    save({**document, "admin": {**SETTING, "enabled": False, "destination": "archive"}})
    text = said(scene, "09:00", "09:10")
    assert "events go to acme_lake, company_lake, stark_webhook." in text
    assert "Written again, under the same keys: acme_lake (2 windows), company_lake (2 windows)." in text
    assert "Sent up to 5 times by this backfill: stark_webhook (2 windows)." in text
    assert "For the first time" not in text and "Nothing goes to" not in text
    # windows that are those of the schedule are sent once more; several runs send again what they send for the first time
    plan = runs.BackfillPlan(tuple(windows(5, 0, 20)))
    found = the_console().backfills.outcome(plan.intervals)
    assert (found.runs, found.new, found.again, found.times) == (4, 2, 2, 1)
    assert (found.first["stark_webhook"], found.repeated) == (2, {"stark_webhook": 2})
    export(windows(5, 10, 15)[0], ["acme_lake"])
    found = the_console().backfills.outcome(windows(1, 10, 15), ["stark_webhook"])
    assert (found.new, found.times, found.first, found.repeated) == (0, 5, {"stark_webhook": 1}, {"stark_webhook": 1})


def test_where_no_route_leads_is_warned_of(scene: Asked) -> None:
    text = said(scene, "09:00", "09:10", "acme_lake")
    assert "Nothing would be delivered: the settings in force lead no events to acme_lake." in text
    assert "Start the backfill" not in text
    text = said(scene, "09:00", "09:10", "acme_lake, archive")
    assert "events go to archive." in text and "Nothing goes to acme_lake: the settings" in text
    assert "company_lake" not in text and "Start the backfill" in text
    save({**the_console().settings.document(), "admin": {**SETTING, "enabled": False, "destination": "archive"},
          "workspaces": []})  # fmt: skip
    text = said(scene, "09:00", "09:10")
    assert "Nothing would be delivered: the settings in force lead no events anywhere." in text
    assert "Start the backfill" not in text


def test_what_has_not_ended_is_not_offered(scene: Asked) -> None:
    text = said(scene, "2100-01-01T00:00", "2100-01-01T01:00")
    assert "No interval of the schedule in this range has ended yet" in text and "Start the backfill" not in text
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    text = said(scene, f"{now - timedelta(minutes=3):%Y-%m-%dT%H:%M}", f"{now + timedelta(days=1):%Y-%m-%dT%H:%M}")
    assert re.search("This starts [34] runs", text) and "The rest of the range has not ended yet" in text
    assert "There is no interval of the schedule that begins and ends in this range." in said(
        scene, "2026-03-01T09:00:10", "2026-03-01T09:00:50"
    )


def test_a_month_of_windows_is_looked_ahead_at_quickly(scene: Asked) -> None:
    begun = datetime.now(UTC)
    text = said(scene, "2026-03-01T00:00", "2026-03-07T05:00")
    assert "This starts 8,940 runs" in text and "up to 5 times each" in text
    assert datetime.now(UTC) - begun < timedelta(seconds=10)
