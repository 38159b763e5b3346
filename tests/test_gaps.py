"""Time that no run exported: seen at once, and exported by the next scheduled run, each event once, whatever went wrong."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from logstream.console.layout import jinja
from logstream.console.service import Console
from logstream.errors import LogstreamError, WindowTaken
from logstream.export.exporter import Exporter
from logstream.export.summary import summarize
from logstream.ledger.coverage import AskedBy, Schedule
from logstream.ledger.health import HealingPolicy
from logstream.ledger.records import State
from logstream.testing.servers import LogSink
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.conftest import Cli
from tests.test_engine import EVERYTHING, START, Connections, Make, engine, filled, override

__all__ = ["engine", "filled"]  # fixtures

LAST = START + timedelta(minutes=5)


def seconds(start: float, end: float) -> Window:
    """A window in seconds since the first event. There are 1,500 in 300 seconds."""
    return Window(START + timedelta(seconds=start), START + timedelta(seconds=end))


def hook(**streaming: Any) -> dict[str, Any]:
    """All workspaces to an HTTP service that gets events in order."""
    admin = {"enabled": True, "events": EVERYTHING, "destination": "hook", **streaming}
    return {
        "admin": admin,
        "destinations": {"hook": {"type": "http", "connection": "sink", "format": "array", "lanes": 1}},
    }


def began(exporter: Exporter, *moments: datetime) -> None:
    """Let the settings have been put in force at these times, the first of them at the first."""
    with exporter.engine.begin() as connection:
        connection.execute(text("update logstream.settings_snapshots set created_at = '2020-01-01Z' where id = 1"))
        for number, moment in enumerate(moments, start=2):
            connection.execute(
                text("update logstream.settings_snapshots set created_at = :moment where id = :number"),
                {"moment": moment, "number": number},
            )


@pytest.fixture
def streaming(engine: Make) -> Exporter:
    """An engine whose streaming began with the first event."""
    exporter = engine(hook())
    began(exporter, START)
    return exporter


def run(
    exporter: Exporter, interval: Window, asked_by: AskedBy = AskedBy.SCHEDULE, *, only: list[str] | None = None,
    carrier: str | None = None,
) -> list[Window]:  # fmt: skip
    """A run from beginning to end; the windows that it exported."""
    carrier = carrier or f"{asked_by}__{interval}"
    planned = exporter.plan(interval, asked_by=asked_by, carrier=carrier, only=only, heal=only is None)
    results = exporter.deliver([key for share in planned.shares for key in share.lanes])
    assert [result.error for result in results if result.error] == []
    exporter.seal(planned.delivery_ids)
    return [item.window for item in planned.windows]


def payloads(store: psycopg.Connection, span: Window, condition: str = "true") -> list[str]:
    """What the log store holds of a span, in order."""
    rows = store.execute(
        f"select payload from events where recorded_at >= %s and recorded_at < %s and {condition} order by recorded_at, id",
        (span.start, span.end),
    )
    return [json.dumps(row[0], sort_keys=True) for row in rows]


def arrived(sink: LogSink) -> list[str]:
    return [json.dumps(document, sort_keys=True) for body in sink.bodies for document in json.loads(body)]


def test_a_scheduler_that_was_away_for_ten_windows_loses_nothing(
    streaming: Exporter, filled: psycopg.Connection, sink: LogSink
) -> None:
    run(streaming, seconds(0, 5))
    # the runs of ten windows never were; the next one is of now
    streaming.ledger.note_schedule(Schedule(seconds(50, 55), next_end=datetime(2099, 1, 1, tzinfo=UTC)))
    assert streaming.ledger.coverage().gaps() == [seconds(5, 55)], "named before any run"
    assert run(streaming, seconds(55, 60)) == [seconds(start, start + 5) for start in range(5, 60, 5)]
    assert streaming.ledger.coverage().gaps() == []
    assert arrived(sink) == payloads(filled, seconds(0, 60)), "each event once, in order"
    assert verify(streaming, seconds(0, 60)).findings == []


@pytest.mark.thorough
def test_a_day_of_pause_is_made_good_in_bounded_runs_oldest_first(
    streaming: Exporter, filled: psycopg.Connection, sink: LogSink
) -> None:
    """288 windows, as of a day at five minutes."""
    run(streaming, seconds(0, 1))
    streaming.ledger.note_schedule(Schedule(seconds(286, 287), next_end=datetime(2099, 1, 1, tzinfo=UTC)))
    assert streaming.ledger.coverage().gaps() == [seconds(1, 287)]
    now, runs = 287, 0
    while streaming.ledger.coverage().gaps():
        before = len(arrived(sink))
        exported = run(streaming, seconds(now, now + 1))
        assert len(exported) <= 25
        gaps, (own,) = exported[:-1], exported[-1:]
        assert gaps == [seconds(1 + 24 * runs + n, 2 + 24 * runs + n) for n in range(len(gaps))]
        assert arrived(sink)[before:] == payloads(filled, Window(gaps[0].start, gaps[-1].end)) + payloads(filled, own)
        now, runs = now + 1, runs + 1
        assert runs <= 12
    assert runs == 12
    assert Counter(arrived(sink)) == Counter(payloads(filled, seconds(0, now)))


def test_a_writer_that_hangs_keeps_time_from_being_exported_and_loses_none(
    streaming: Exporter, filled: psycopg.Connection, sink: LogSink
) -> None:
    run(streaming, seconds(0, 5))
    settings = streaming.settings.current()

    def closed(window: Window) -> bool:
        closing, connection = streaming.store(settings).closed_window(window)
        with connection:
            return closing.look()

    with psycopg.connect(filled.info.dsn) as writer:
        writer.execute(
            "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload)"
            " values (88888, 101, 'user_activity', %s, %s, '{\"late\": true}')",
            (seconds(7, 8).start, seconds(7, 8).start),
        )
        # an hour of runs, each of which leaves its window to a later one
        assert not any(closed(seconds(start, start + 5)) for start in range(5, 65, 5))
        streaming.ledger.note_schedule(Schedule(seconds(60, 65), next_end=datetime(2099, 1, 1, tzinfo=UTC)))
        assert streaming.ledger.coverage().gaps() == [seconds(5, 65)]
        writer.commit()
    assert closed(seconds(65, 70))
    assert len(run(streaming, seconds(65, 70))) == 13
    assert arrived(sink) == payloads(filled, seconds(0, 70))
    assert arrived(sink).count('{"late": true}') == 1


def test_another_schedule_and_back_exports_each_event_once(
    streaming: Exporter, filled: psycopg.Connection, sink: LogSink
) -> None:
    for start in range(0, 25, 5):
        run(streaming, seconds(start, start + 5))
    for start in (25, 26, 29, 30, 31, 32):  # two were missed
        run(streaming, seconds(start, start + 1))
    assert run(streaming, seconds(23, 24)) == [], "an interval of the new schedule in a window of the old one"
    assert run(streaming, seconds(30, 35)) == [seconds(33, 35)], (
        "an interval of the old one over windows of the new one"
    )
    run(streaming, seconds(35, 40))
    assert arrived(sink) == payloads(filled, seconds(0, 40))
    assert verify(streaming, seconds(0, 40)).findings == []


def test_a_run_that_dies_while_it_plans_goes_on_where_it_was(
    streaming: Exporter, filled: psycopg.Connection, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(streaming, seconds(0, 5))
    plan, planned = streaming.ledger.plan, 0

    def dies(*arguments: Any, **more: Any) -> Any:
        nonlocal planned
        planned += 1
        if planned == 4:
            raise MemoryError("killed")
        return plan(*arguments, **more)

    monkeypatch.setattr(streaming.ledger, "plan", dies)
    with pytest.raises(MemoryError):
        run(streaming, seconds(25, 30), carrier="scheduled__25")
    assert streaming.ledger.coverage().covered == (seconds(0, 20),)
    monkeypatch.undo()
    # Airflow tries the task again; and if it never did, what was not planned is a gap
    assert run(streaming, seconds(25, 30), carrier="scheduled__25") == [seconds(s, s + 5) for s in range(5, 30, 5)]
    assert arrived(sink) == payloads(filled, seconds(0, 30))


def test_a_backfill_on_another_schedule_repeats_requests_and_makes_no_new_ones(
    streaming: Exporter, filled: psycopg.Connection, sink: LogSink
) -> None:
    for start in range(0, 60, 5):
        run(streaming, seconds(start, start + 5))
    before = len(sink.bodies)
    assert run(streaming, seconds(7, 53), AskedBy.REQUEST) == [seconds(start, start + 5) for start in range(5, 55, 5)]
    assert run(streaming, seconds(57, 63), AskedBy.REQUEST) == [seconds(55, 60), seconds(60, 63)]
    again = sink.bodies[before:]
    assert len(again) == 12
    assert sum(body not in sink.bodies[:before] for body in again) == 1, "only the time that was new is a new request"
    assert sink.changed_repetitions == 0, "the same keys, so that the receiver can tell"
    once = [
        json.dumps(document, sort_keys=True) for body in dict.fromkeys(sink.bodies) for document in json.loads(body)
    ]
    assert Counter(once) == Counter(payloads(filled, seconds(0, 63)))
    assert run(streaming, seconds(60, 65)) == [seconds(63, 65)]


def test_a_backfill_for_one_destination_leaves_its_time_a_gap_for_the_others(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path
) -> None:
    folder = {"type": "file", "path": str(tmp_path / "out"), "packaging": "batch"}
    document = hook()
    streaming = {"enabled": True, "events": EVERYTHING}
    document = {
        "workspaces": [
            {"id": 100 + number, "streaming": {**streaming, "destination": "hook" if number % 2 else "out"}}
            for number in range(12)
        ],
        "destinations": {**document["destinations"], "out": folder},
    }
    exporter = engine(document)
    began(exporter, START)
    run(exporter, seconds(0, 5))
    assert run(exporter, seconds(8, 22), AskedBy.REQUEST, only=["hook"]) == [seconds(8, 22)]
    assert exporter.ledger.coverage().gaps() == [seconds(5, 22)]
    requests = sink.requests
    assert run(exporter, seconds(20, 25)) == [seconds(5, 8), seconds(8, 22), seconds(22, 25)]
    assert sink.requests - requests == 2, "what it got is left alone"
    assert exporter.ledger.coverage().gaps() == []
    odd, even = "workspace_id % 2 = 1", "workspace_id % 2 = 0"
    assert Counter(arrived(sink)) == Counter(payloads(filled, seconds(0, 25), odd.replace("%", "%%")))
    lines = [line for path in (tmp_path / "out").rglob("*.ndjson") for line in path.read_bytes().splitlines()]
    written = Counter(json.dumps(json.loads(line), sort_keys=True) for line in lines)
    assert written == Counter(payloads(filled, seconds(0, 25), even.replace("%", "%%")))
    assert verify(exporter, seconds(0, 25)).findings == []


def test_a_workspace_that_changed_its_destination_between_a_partial_backfill_and_the_rest_is_in_no_gap(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path
) -> None:
    def routed(to_hook: int) -> dict[str, Any]:
        streaming = {"enabled": True, "events": EVERYTHING}
        return {
            "workspaces": [
                {"id": 100 + number, "streaming": {**streaming, "destination": "hook" if number < to_hook else "out"}}
                for number in range(12)
            ],
            "destinations": {**hook()["destinations"], "out": {"type": "file", "path": str(tmp_path / "out")}},
        }

    engine(routed(12))
    exporter = engine(routed(6))
    began(exporter, START, datetime(2026, 6, 1, tzinfo=UTC))
    run(exporter, seconds(0, 5))
    # by today's settings half of them are sent; when the window ended, all were
    run(exporter, seconds(5, 10), AskedBy.REQUEST, only=["hook"])
    run(exporter, seconds(10, 15))
    assert set(payloads(filled, seconds(5, 10))) <= set(arrived(sink))


def test_a_gap_is_exported_by_the_settings_of_its_time(engine: Make, filled: psycopg.Connection, sink: LogSink) -> None:
    engine(hook(message='{"then": {{{log_message}}}}'))
    engine({**hook(), "admin": None})  # for a while nothing is streamed
    exporter = engine(hook(message='{"now": {{{log_message}}}}'))
    began(exporter, seconds(0, 1).start, seconds(10, 11).start, seconds(20, 21).start)
    run(exporter, seconds(30, 35))
    found = [json.loads(line) for line in arrived(sink)]
    then, now = ([json.dumps(item[key], sort_keys=True) for item in found if key in item] for key in ("then", "now"))
    # the window that ends when the settings change is of those that follow
    assert then == payloads(filled, seconds(0, 5))
    assert now == payloads(filled, seconds(15, 35))
    assert [item.window for item in exporter.ledger.known_windows(seconds(0, 60))] == [
        seconds(start, start + 5) for start in range(0, 35, 5)
    ], "windows in which nothing is streamed are windows, too"
    assert exporter.ledger.coverage().gaps() == []


def test_two_runs_that_plan_at_once_share_what_there_is(
    engine: Make, filled: psycopg.Connection, sink: LogSink
) -> None:
    exporters = [engine(hook()) for _ in range(4)]
    began(exporters[0], START)
    run(exporters[0], seconds(0, 5))
    intervals = [seconds(60 + 5 * number, 65 + 5 * number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        exported = list(pool.map(run, exporters, intervals))
    windows = sorted(window for some in exported for window in some)
    assert windows == [seconds(start, start + 5) for start in range(5, 80, 5)], "each window by one run"
    assert Counter(arrived(sink)) == Counter(payloads(filled, seconds(0, 80)))
    assert exporters[0].ledger.coverage().gaps() == []


def test_time_that_another_run_took_is_told_and_given_up_in_the_end(
    streaming: Exporter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def taken(window: Window, *_: Any) -> Any:
        raise WindowTaken(f"another run has planned time of the window {window} meanwhile")

    monkeypatch.setattr(streaming.ledger, "plan", taken)
    with pytest.raises(LogstreamError, match="another run has planned time of the window"), caplog.at_level("INFO"):
        run(streaming, seconds(0, 5))
    assert "looking again at what is left" in caplog.text


def test_history_is_exported_on_request_and_opens_no_gap(
    engine: Make, filled: psycopg.Connection, sink: LogSink
) -> None:
    exporter = engine(hook())
    began(exporter, seconds(100, 101).start)
    run(exporter, seconds(10, 20), AskedBy.REQUEST)
    run(exporter, seconds(40, 50), AskedBy.REQUEST)
    assert exporter.ledger.coverage().gaps() == []
    assert run(exporter, seconds(105, 110)) == [seconds(100, 105), seconds(105, 110)]
    assert Counter(arrived(sink)) == Counter(
        payloads(filled, seconds(10, 20)) + payloads(filled, seconds(40, 50)) + payloads(filled, seconds(100, 110))
    )


def test_a_cleared_run_exports_again_what_it_exported(streaming: Exporter, sink: LogSink) -> None:
    exported = run(streaming, seconds(10, 15), carrier="scheduled__10")
    bodies = Counter(sink.bodies)
    assert run(streaming, seconds(10, 15), carrier="scheduled__10") == exported
    assert Counter(sink.bodies) == bodies + bodies
    assert sink.changed_repetitions == 0


@pytest.mark.parametrize("most", [0, 1])
def test_how_many_gaps_a_run_takes_is_the_operators_choice(streaming: Exporter, most: int) -> None:
    streaming.healing = HealingPolicy(gaps_per_run=most)
    assert len(run(streaming, seconds(20, 25))) == most + 1


def test_the_command_names_gaps_and_fills_them(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, cli: Cli
) -> None:
    began(engine(override({"type": "file", "path": str(tmp_path / "out"), "packaging": "batch"})), START)
    dsn = filled.info.dsn

    def export(window: Window) -> Any:
        done = cli("export", "--dsn", dsn, "--from", window.start.isoformat(), "--to", window.end.isoformat(), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    def owed() -> Any:
        done = cli("owed", "--dsn", dsn, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert owed() == {"owed": [], "gaps": [], "lost": []}
    for window in (seconds(0, 60), seconds(120, 180), seconds(240, 300)):
        export(window)
    gaps = [seconds(60, 120), seconds(180, 240)]
    assert owed() == {"owed": [], "gaps": [gap.as_json() for gap in gaps], "lost": []}
    told = cli("owed", "--dsn", dsn)
    assert [f"not exported yet, to any destination: {gap}" for gap in gaps] == told.stdout.splitlines()[-3:-1]
    # over windows that are there and time that is in none
    document, notes = export(seconds(30, 200))
    assert "was exported as 4 windows from 2026-03-01T00:00:00Z to 2026-03-01T00:03:20Z" in notes
    count = len(payloads(filled, seconds(0, 200)))
    assert [(item["destination"], item["events"]) for item in document["deliveries"]] == [("d", count)]
    assert (document["totals"]["deliveries"], document["window"]) == (1, seconds(30, 200).as_json())
    assert owed()["gaps"] == [seconds(200, 240).as_json()]
    export(seconds(200, 240))
    assert owed()["gaps"] == []
    lines = [line for path in (tmp_path / "out").rglob("*.ndjson") for line in path.read_bytes().splitlines()]
    written = Counter(json.dumps(json.loads(line), sort_keys=True) for line in lines)
    assert written == Counter(payloads(filled, seconds(0, 300)))


def test_what_became_of_an_interval_adds_up_its_windows(engine: Make, sink: LogSink, tmp_path: Path) -> None:
    document = hook()
    document["destinations"]["quiet"] = {"type": "file", "path": str(tmp_path / "out")}
    exporter = engine(document)
    exporter.policy = type(exporter.policy)(attempts=1)
    run(exporter, seconds(0, 5), AskedBy.REQUEST)
    planned = exporter.plan(seconds(0, 10))
    sink.fail = lambda _: 503 if len(sink.bodies) > 1 else None
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    (whole,) = summarize(planned, exporter.seal(planned.delivery_ids))
    assert (whole.destination, whole.window, whole.state) == ("hook", seconds(0, 10), State.FAILED)
    assert whole.error is not None and "503" in whole.error
    assert whole.events == len(json.loads(sink.bodies[0]))


def test_the_console_lists_every_gap(streaming: Exporter, filled: psycopg.Connection) -> None:
    run(streaming, seconds(0, 60))
    console = Console(filled.info.dsn, filled.info.dsn, Connections())
    part = jinja.env.get_template("parts/gaps.html")

    def page() -> str:
        return " ".join(part.render(gaps=console.deliveries.gaps(), most=2, airflow="").split())

    assert page() == ""
    for start in (120, 180, 240):
        run(streaming, seconds(start, start + 30), AskedBy.REQUEST)
    shown = page()
    assert "3 stretches of time are not exported yet" in shown
    assert "2026-03-01 00:01:00 to 2026-03-01 00:02:00 UTC" in shown
    assert "2026-03-01 00:02:30 to 2026-03-01 00:03:00 UTC" in shown
    assert "and 1 later one" in shown
