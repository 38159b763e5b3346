"""`verify` of time that is not to be exported yet: it is told apart from what is missing, and nobody is told to export it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from logstream.cli import main
from logstream.ledger.coverage import Coverage, Schedule
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.test_engine import WINDOW, Make, engine, export, filled, override

__all__ = ["engine", "filled"]  # fixtures

STEP = timedelta(minutes=5)
HOUR = timedelta(hours=1)
NOW = datetime(2026, 3, 1, 12, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "due"),
    [
        (NOW, datetime(2026, 3, 1, 12, tzinfo=UTC)),
        (NOW - timedelta(minutes=2, seconds=1), datetime(2026, 3, 1, 11, 55, tzinfo=UTC)),
        (NOW - timedelta(minutes=2), datetime(2026, 3, 1, 12, tzinfo=UTC)),
        (NOW + HOUR, datetime(2026, 3, 1, 13, tzinfo=UTC)),
    ],
)
def test_when_windows_are_due(now: datetime, due: datetime) -> None:
    schedule = Schedule.of(Window(datetime(2026, 3, 1, 11, tzinfo=UTC), datetime(2026, 3, 1, 11, 5, tzinfo=UTC)))
    assert Coverage(now, schedule=schedule).due == due
    assert Coverage(now).due == now, "without a schedule, whatever is over may be exported"


def written(connection: psycopg.Connection, *moments: datetime, first: int = 0) -> None:
    for number, moment in enumerate(moments, start=first):
        connection.execute(
            "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload) values (%s, 100, 'job', %s, %s, '{}')",
            (900_000 + number, moment, moment),
        )


def test_a_range_that_reaches_into_the_future(
    engine: Make, filled: psycopg.Connection, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exporter = engine(override({"type": "file", "path": str(tmp_path / "out")}))
    export(exporter)
    now = datetime.now(UTC)
    # a clock that is wrong, or a row that was written with its own time
    written(filled, now + HOUR)
    end = now + 2 * HOUR
    result = verify(exporter, Window(WINDOW.start, end))
    (late,) = result.not_due
    assert (result.findings, result.verified, late.end) == ([], True, end) and abs(late.start - now) < timedelta(
        minutes=5
    )
    span = ["--dsn", database, "--from", WINDOW.start.isoformat(), "--to", end.isoformat()]
    assert main(["verify", *span]) == 0
    said = capsys.readouterr()
    assert f"to {late.as_json()['end']} was not looked at: it is not over, or the schedule exports it later" in said.out
    assert "export this window" not in said.out + said.err and "nothing is missing" in said.out
    # what lies before is found all the same, up to the present
    written(filled, now - HOUR, first=1)
    assert main(["verify", "--json", *span]) == 1
    document = json.loads(capsys.readouterr().out)
    (finding,) = document["findings"]
    assert finding["what"] == "1 event was never exported; export this window"
    assert (
        finding["window"]["end"] == document["not_due"][0]["start"]
        and document["not_due"][0]["end"] == late.as_json()["end"]
    )


def test_a_range_of_which_nothing_is_due(
    engine: Make, filled: psycopg.Connection, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is wrong, and nothing was verified."""
    exporter = engine(override({"type": "file", "path": str(tmp_path / "out")}))
    start = datetime.now(UTC) + HOUR
    written(filled, start)
    span = ["--dsn", database, "--from", start.isoformat(), "--to", (start + HOUR).isoformat()]
    assert main(["verify", *span]) == 1
    said = capsys.readouterr()
    assert "NOT verified, none of it is due yet" in said.out and said.err == ""
    assert main(["verify", "--json", *span]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["verified"], document["findings"]) == (False, [])
    assert exporter.ledger.coverage().due < start


def test_what_the_schedule_has_not_come_to(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    exporter = engine(override({"type": "file", "path": str(tmp_path / "out")}))
    now = datetime.now(UTC)
    exporter.ledger.note_schedule(Schedule(Window(now - 2 * HOUR, now - HOUR), now + HOUR))
    written(filled, now - timedelta(minutes=90), now - timedelta(minutes=30))
    result = verify(exporter, Window(now - 2 * HOUR, now))
    assert result.not_due == [Window(now - HOUR, now)]
    assert [(found.window, found.what) for found in result.findings] == [
        (Window(now - 2 * HOUR, now - HOUR), "1 event was never exported; export this window")
    ]
    # exported on request all the same, that time is judged like any other
    export(exporter, Window(now - 2 * HOUR, now))
    result = verify(exporter, Window(now - 2 * HOUR, now))
    assert (result.not_due, result.findings, result.verified) == ([], [], True)
    filled.execute("delete from events where id = 900001")
    found = [finding.what for finding in verify(exporter, Window(now - HOUR, now)).findings]
    assert "workspace 100, job: 1 event was delivered that the log store no longer holds" in found
