"""Windows in the control database: they cannot overlap, by whatever statement they are added, and years of them are read as a few spans."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from logstream.control import migrations
from logstream.control.engine import open_control
from logstream.errors import WindowTaken
from logstream.ledger.coverage import AskedBy, KnownWindow, Purpose, Schedule
from logstream.ledger.windows import Claim, Windows, claim_window
from logstream.settings.models import Settings
from logstream.settings.repository import SettingsRepository
from logstream.validation import validate_settings
from logstream.window import Window

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ON: dict[str, Any] = {"admin": {"enabled": True, "events": ["job_status"], "destination": "out"},
      "destinations": {"out": {"type": "file", "path": "/tmp/out"}}}  # fmt: skip


def span(start: float, end: float) -> Window:
    return Window(NOON + timedelta(minutes=start), NOON + timedelta(minutes=end))


def parse(document: dict[str, Any]) -> Settings:
    return validate_settings(document)


def streaming_since(engine: Engine, moment: datetime) -> None:
    """Settings that enabled something at a time, after empty ones."""
    SettingsRepository(engine).apply(parse(ON))
    with engine.begin() as connection:
        connection.execute(text("update logstream.settings_snapshots set created_at = '2020-01-01Z' where id = 1"))
        connection.execute(
            text("update logstream.settings_snapshots set created_at = :moment where id > 1"), {"moment": moment}
        )


def claim(engine: Engine, window: Window, purpose: Purpose = Purpose.NEW, *, whole: bool = True) -> None:
    with engine.begin() as connection:
        claim_window(connection, window, 1, Claim(purpose, whole, AskedBy.SCHEDULE, "run"))


def test_a_window_over_another_cannot_be_made(database: str) -> None:
    engine = open_control(database)
    claim(engine, span(0, 5))
    claim(engine, span(5, 10))
    for taken in (span(0, 5), span(4, 6), span(-1, 20), span(2, 3)):
        with pytest.raises(WindowTaken, match="another run has planned time of the window 2026-03-01T1"):
            claim(engine, taken)
    # the database stops a statement that goes past the rules
    with pytest.raises(IntegrityError, match="windows_disjoint"), engine.begin() as connection:
        connection.execute(
            text("insert into logstream.windows (window_start, window_end, whole, snapshot_id, asked_by)"
                 " values (:start, :end, true, 1, 'request')"),
            {"start": span(4, 6).start, "end": span(4, 6).end},
        )  # fmt: skip


def test_many_that_want_the_same_time_at_once_get_it_once(database: str) -> None:
    engine = open_control(database)
    wanted = [span(start, start + length) for start in range(12) for length in (1, 2, 3)]

    def try_to(window: Window) -> Window | None:
        try:
            claim(engine, window)
        except WindowTaken:
            return None
        return window

    with ThreadPoolExecutor(8) as pool:
        got = sorted(window for window in pool.map(try_to, wanted) if window)
    assert got and all(one.end <= other.start for one, other in itertools.pairwise(got))
    assert [item.window for item in Windows(engine).known_windows(span(-5, 30))] == got


def test_a_window_for_some_becomes_one_for_all_and_never_back(database: str) -> None:
    engine = open_control(database)
    claim(engine, span(0, 5), whole=False)
    claim(engine, span(0, 5), Purpose.AGAIN, whole=False)
    assert Windows(engine).known_windows(span(4, 6)) == [KnownWindow(span(0, 5), False, AskedBy.SCHEDULE, "run")]
    claim(engine, span(0, 5), Purpose.REST)
    claim(engine, span(0, 5), Purpose.AGAIN, whole=False)
    assert Windows(engine).known_windows(span(4, 6)) == [KnownWindow(span(0, 5), True, AskedBy.SCHEDULE, "run")]
    assert Windows(engine).known_windows(span(5, 6)) == [], "its end is not in it"
    assert len(Windows(engine).known_windows(span(5, 6), "run")) == 1
    assert Windows(engine).known_windows(span(5, 6), "another") == []


def test_streaming_begins_with_the_first_settings_that_enable_anything(database: str) -> None:
    engine = open_control(database)
    claim(engine, span(0, 5))
    assert Windows(engine).coverage().since is None
    assert Windows(engine).coverage().gaps() == []
    repository = SettingsRepository(engine)
    off = {**ON, "admin": {**ON["admin"], "enabled": False}}
    own = {"workspaces": [{"id": 7, "streaming": ON["admin"]}], "destinations": ON["destinations"]}
    repository.apply(parse(off))
    assert Windows(engine).coverage().since is None
    first = repository.apply(parse(own))
    repository.apply(parse(off))
    repository.apply(parse(ON))
    assert Windows(engine).coverage().since == first.created_at


def test_gaps_are_seen_and_adjacent_windows_are_one_span(database: str) -> None:
    engine = open_control(database)
    streaming_since(engine, span(2, 3).start)
    for start in (0, 5, 10, 30, 35):
        claim(engine, span(start, start + 5))
    claim(engine, span(20, 25), whole=False)
    found = Windows(engine).coverage()
    assert found.covered == (span(0, 15), span(30, 40))
    assert found.partial == (span(20, 25),)
    assert found.gaps() == [span(15, 30)]
    Windows(engine).note_schedule(Schedule.of(span(40, 45)))
    (_, last) = Windows(engine).coverage().gaps()
    assert last.start == span(40, 45).start
    assert timedelta() <= found.now - last.end < timedelta(minutes=7) or found.now < span(40, 45).end
    Windows(engine).note_schedule(Schedule(span(50, 55), next_end=found.now + timedelta(days=1)))
    assert Windows(engine).coverage().gaps() == [span(15, 30), span(40, 55)]
    Windows(engine).note_schedule(None)
    assert Windows(engine).coverage().gaps() == [span(15, 30)]


def test_the_settings_of_a_time(database: str) -> None:
    engine = open_control(database)
    streaming_since(engine, NOON)
    repository = SettingsRepository(engine)
    assert repository.newest(NOON) == 2
    assert repository.newest(NOON - timedelta(seconds=1)) == 1
    assert repository.newest(datetime(2019, 1, 1, tzinfo=UTC)) == 1, "before the first, the first"
    derived = repository.derive(
        repository.get(2), {"out"}, parse({"destinations": {"out": {"type": "file", "path": "/tmp/two"}}})
    )
    assert derived.id == 3
    assert repository.newest(datetime.now(UTC) + timedelta(days=1)) == 2, "what was derived was never in force"


def migrate(engine: Engine, to: str, *, down: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, to)


def test_windows_of_an_older_ledger_are_taken_over_and_the_first_planned_keeps_its_bounds(database: str) -> None:
    engine = open_control(database)
    migrate(engine, "0003", down=True)
    planned = [
        (span(0, 5), "lake", 1), (span(0, 5), "siem", 9), (span(10, 15), "lake", 2),
        (span(3, 12), "lake", 3),  # over both: what is left of it lies between them
        (span(20, 60), "lake", 5), (span(10, 70), "siem", 6),
    ]  # fmt: skip
    with engine.begin() as connection:
        for window, destination, order in planned:
            connection.execute(
                text("insert into logstream.deliveries (window_start, window_end, destination, snapshot_id, state,"
                     " planned_at) values (:start, :end, :destination, 1, 'delivered', :planned_at)"),
                {"start": window.start, "end": window.end, "destination": destination,
                 "planned_at": NOON + timedelta(hours=order)},
            )  # fmt: skip
        connection.execute(
            text("insert into logstream.open_windows (window_start, window_end, watch) values (:start, :end, '{}')"),
            {"start": span(0, 5).start, "end": span(0, 5).end},
        )  # fmt: skip
    migrate(engine, "head")
    with engine.connect() as connection:
        owed = connection.execute(text("select destination, window_end from logstream.deliveries where state = 'owed'"))
        assert sorted(owed) == [("lake", span(0, 5).end), ("siem", span(0, 5).end)], "exported while it was open"
    known = Windows(engine).known_windows(span(-60, 120))
    assert [item.window for item in known] == [
        span(0, 5), span(5, 10), span(10, 15), span(15, 20), span(20, 60), span(60, 70),
    ]  # fmt: skip
    assert all(item.whole and item.carrier is None for item in known)
