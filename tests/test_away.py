"""Time that a real Airflow does not export: it is named meanwhile, and made good afterwards, without anyone doing anything.

For `make soak`: it waits for many runs.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.testing.airflow import DAG
from logstream.window import Window

from .conftest import Cli
from .stage import EVERYTHING, WORKSPACES, Stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

SECONDS = 400
"""How long something may take that must happen: a machine that runs other tests as well may be slow."""
SHORT, LONG = "* * * * * */15", "* * * * * */30"
"""Schedules with seconds, so that a pause of many windows is a short one."""
WATCH, WAIT, SEAL = "logstream_watch", "wait_for_closed_window", "seal_window"


class Platform:
    """Writes an event every tenth of a second, numbered, one workspace after another: most get many, some a few."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.written: list[int] = []

    def _write(self) -> None:
        with psycopg.connect(self._store, autocommit=True) as connection:
            while not self._stop.wait(0.1):
                number = len(self.written)
                busy = WORKSPACES[number % 3] if number % 10 else WORKSPACES[number // 10 % len(WORKSPACES)]
                insert(connection, busy.id, number)
                self.written.append(number)

    def stop(self) -> None:
        """Write no more."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Platform:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def insert(connection: psycopg.Connection, workspace: int, number: int) -> None:
    connection.execute(
        "insert into events (workspace_id, kind, occurred_at, payload) values (%s, 'user_activity', now(), %s)",
        (workspace, json.dumps({"away": number})),
    )


def until(wanted: Callable[[], Any], what: str) -> Any:
    """Wait until something is there, and return it."""
    deadline = time.monotonic() + SECONDS
    while not (found := wanted()):
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        time.sleep(1)
    return found


@pytest.fixture
def often(stage: Stage) -> Iterator[None]:
    """The export DAG runs every few seconds, and as before in the end."""
    stage.airflow.reschedule(SHORT)
    yield
    stage.airflow.reschedule(None)


def own_settings(folder: Path) -> dict[str, Any]:
    """Some workspaces to a service that gets events in order, the others to a folder."""
    return {
        "workspaces": [
            {
                "id": item.id,
                "streaming": {
                    "enabled": True,
                    "events": EVERYTHING,
                    "destination": "hook" if item.id % 2 else "folder",
                },
            }
            for item in WORKSPACES
        ],
        "destinations": {
            "hook": {"type": "http", "connection": "siem", "format": "array", "lanes": 1},
            "folder": {"type": "file", "path": str(folder), "packaging": "batch"},
        },
    }


class Receivers:
    """What has arrived since the test began. A request that was repeated counts once, by its key."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self._sink, self._folder, self._before = stage.sink, folder, len(stage.sink.bodies)
        self._changed = stage.sink.changed_repetitions

    def hook(self) -> list[int]:
        """Numbers of events, as they arrived."""
        keys = [headers["Idempotency-Key"] for headers in self._sink.headers[self._before :]]
        bodies = dict(zip(keys, self._sink.bodies[self._before :], strict=True))
        return [item["away"] for body in bodies.values() for item in json.loads(body) if "away" in item]

    def folder(self) -> list[int]:
        lines = [line for path in self._folder.rglob("*.ndjson") for line in path.read_bytes().splitlines()]
        return [json.loads(line)["away"] for line in lines]

    def all(self) -> Counter[int]:
        """How often each event arrived."""
        assert self._sink.changed_repetitions == self._changed, "a key was used for other events"
        return Counter(self.hook() + self.folder())


def runs_by(stage: Stage, task: str, state: str, after: datetime) -> set[timedelta]:
    """The lengths of the intervals, after a moment, of runs in which a task has come to a state."""
    found = stage.airflow.call("GET", f"/api/v2/dags/{DAG}/dagRuns/~/taskInstances?task_id={task}&state={state}&limit=100"
                               "&order_by=-start_date")["task_instances"]  # fmt: skip
    names = {item["dag_run_id"] for item in found}
    spans = [
        tuple(datetime.fromisoformat(run[f"data_interval_{end}"]) for end in ("start", "end"))
        for run in stage.airflow.runs()
        if run["dag_run_id"] in names
    ]
    return {end - start for start, end in spans if start > after}


def booked(store: str) -> tuple[list[Window], dict[int, tuple[datetime, int]]]:
    """The windows that hold our events, in order, and each event's place in time."""
    with psycopg.connect(store) as connection:
        rows = connection.execute(
            "select (payload->>'away')::int, recorded_at, id, window_start, window_end from events"
            " join logstream.windows on recorded_at >= window_start and recorded_at < window_end"
            " where payload->>'away' is not null"
        ).fetchall()
    windows = sorted({Window(start, end) for _, _, _, start, end in rows})
    return windows, {number: (moment, event) for number, moment, event, _, _ in rows}


def test_what_airflow_was_not_there_for_is_named_and_then_delivered_once(
    stage: Stage, often: None, tmp_path: Path, cli: Cli
) -> None:
    folder = tmp_path / "out"
    stage.apply(own_settings(folder))
    receivers = Receivers(stage, folder)

    def owed() -> Any:
        done = cli("owed", "--json", "--dsn", stage.store)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def names(gaps: list[dict[str, str]], moment: datetime) -> bool:
        spans = [Window(*(datetime.fromisoformat(gap[end]) for end in ("start", "end"))) for gap in gaps]
        return any(span.start <= moment < span.end for span in spans)

    with Platform(stage.store) as platform:
        until(receivers.all, "the first window of the schedule")
        # its machine breaks down, while it works; then an operator stops the exports
        stage.airflow.kill("scheduler")
        away = datetime.now(UTC)
        stage.airflow.pause()
        until(lambda: names(owed()["gaps"], away), "the command names time that is not exported")
        assert names(stage.airflow.call("GET", "/logstream/api/v1/gaps"), away)
        timeline = stage.airflow.text("GET", "/logstream/parts/timeline")
        assert "not exported yet" in timeline
        stage.airflow.start("scheduler")
        watch = stage.airflow.call("POST", f"/api/v2/dags/{WATCH}/dagRuns", {"logical_date": None})["dag_run_id"]
        assert stage.airflow.wait_for_run(watch, SECONDS, WATCH) == "success"
        assert "Not exported yet" in stage.airflow.log(watch, "name_gaps", dag=WATCH)
        # the exports go on, by another schedule; but a writer hangs
        with psycopg.connect(stage.store) as writer:
            insert(writer, WORKSPACES[0].id, -1)
            stage.airflow.reschedule(LONG)
            stage.airflow.unpause()
            until(lambda: runs_by(stage, WAIT, "skipped", away), "a run leaves its window to a later one")
            assert names(owed()["gaps"], away)
            writer.commit()
        until(lambda: not names(owed()["gaps"], away), "a run exports what was not")
        stage.airflow.reschedule(SHORT)
        back = datetime.now(UTC)
        until(lambda: timedelta(seconds=15) in runs_by(stage, SEAL, "success", back), "the first one exports again")
    wanted = Counter([*platform.written, -1])
    until(lambda: receivers.all().keys() >= wanted.keys(), "every event has arrived")
    windows, moments = booked(stage.store)
    span = Window(windows[0].start, windows[-1].end)

    def verified() -> bool:
        done = cli("verify", "--dsn", stage.store, "--from", span.start.isoformat(), "--to", span.end.isoformat())
        return done.returncode == 0

    until(verified, "the last of these windows is sealed, and nothing is found wrong in any")
    until(lambda: owed()["gaps"] == [], "no gap is left")
    assert [item for item in owed()["owed"] if item["destination"] in ("hook", "folder")] == []
    assert runs_by(stage, SEAL, "success", away) >= {timedelta(seconds=15), timedelta(seconds=30)}, "by both schedules"
    assert receivers.all() == wanted, "each event once"
    for window in windows:
        arrived = [moments[number] for number in receivers.hook() if window.start <= moments[number][0] < window.end]
        assert arrived == sorted(arrived), f"the events of {window} in order"
