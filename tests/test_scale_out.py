"""What becomes of windows while the processes of docker-compose.yml are killed: half a million events to 300 destinations.

For `make soak`: it takes some minutes.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from logstream.database import connect
from logstream.testing.servers import LogSink
from logstream.window import Window

from .composed import PROCESSES, SECOND_WORKER, WORKER, Composed, until
from .documented import shown
from .production import next_version
from .test_compose import AFTER, BEFORE, DAG, DURING, arrived, composed, with_events
from .test_compose import EVENTS as EVENTS_OF_UPGRADE

__all__ = ["composed"]  # a fixture

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]
EVENTS, DESTINATIONS = 500_000, 300
START = datetime(2026, 3, 1, tzinfo=UTC)
FAULTS = ["kill", "drain", "redis", "scheduler"]
WINDOWS = [Window(START + timedelta(minutes=5 * n), START + timedelta(minutes=5 * n + 5)) for n in range(len(FAULTS))]


@pytest.fixture(scope="module", autouse=True)
def ready(composed: Composed) -> None:
    """All processes are healthy, two workers among them, and the DAG may run."""
    composed.start(SECOND_WORKER)
    for name in (*PROCESSES, SECOND_WORKER):
        until(lambda name=name: composed.healthy(name), lambda name=name: composed.log(name))
    composed.done("logstream", "store", "init")
    until(lambda: DAG in composed.run("airflow-cli", "dags", "list", "-o", "json").stdout, "no DAG")
    composed.done("airflow-cli", "dags", "unpause", DAG)


# backfills are tests/test_airflow.py's, and the console's permission tests/test_console_permission.py's
ELSEWHERE = ("backfill", "roles")


@pytest.mark.parametrize("command", [each for each in shown("airflow") if not {*ELSEWHERE} & {*each.words}], ids=str)
def test_airflows_commands_in_the_docs_are_run(command: Any, composed: Composed) -> None:
    until(lambda: composed.run("airflow-cli", *command.words[1:]).returncode == 0, f"{command} does not succeed")


class Receivers:
    """What has arrived: folders for most destinations, one slow HTTP service for every tenth."""

    def __init__(self, composed: Composed, sink: LogSink) -> None:
        self.out, self.sink = composed.out, sink

    def settings(self) -> dict[str, Any]:
        every = [f"d{number}" for number in range(DESTINATIONS)]
        hook = {"type": "http", "connection": "siem", "format": "lines", "max_events": 20}
        return {
            "workspaces": [
                {"id": number, "streaming": {"enabled": True, "events": ["job_details"], "destination": name}}
                for number, name in enumerate(every)
            ],
            "destinations": {
                name: {**hook, "path": f"/{name}"}
                if number % 10 == 0
                else {"type": "file", "path": str(self.out / name), "packaging": "batch", "manifests": True}
                for number, name in enumerate(every)
            },
        }

    def numbers(self) -> Counter[int]:
        """How often each event arrived. A request that was repeated counts once, by its key."""
        by_key = {
            headers["Idempotency-Key"]: body for headers, body in zip(self.sink.headers, self.sink.bodies, strict=True)
        }
        assert self.sink.changed_repetitions == 0
        files = [path.read_bytes() for path in self.out.rglob("*.ndjson")]
        return Counter(json.loads(line)["n"] for body in (*by_key.values(), *files) for line in body.splitlines())


def fill(dsn: str) -> None:
    """Events of every workspace, a few of them busy; the ids of a workspace's jobs tell their windows."""
    with connect(dsn) as connection:
        connection.execute(
            "insert into workspaces select n, 'w' || n from generate_series(0, %s) n", (DESTINATIONS - 1,)
        )
        connection.execute(
            "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
            " select case when n %% 3 = 0 then n / 3 %% 5 else n %% %(destinations)s end, 'job', m, m,"
            " json_build_object('id', 'j-' || n, 'n', n, 'recipe_id', n %% 50, 'status', 'succeeded', 'text', repeat('x', 300))"
            " from (select n, %(start)s + n * %(step)s as m from generate_series(0, %(events)s - 1) n) of",
            {
                "destinations": DESTINATIONS, "events": EVENTS, "start": START,
                "step": timedelta(minutes=5) * len(WINDOWS) / EVENTS,
            },
        )  # fmt: skip


@dataclass(frozen=True)
class Held:
    """A lane that is being delivered, and by which process."""

    delivery: int
    lane: int
    attempt: int
    pid: int


class Watched:
    """The ledger of a window, while Airflow exports it."""

    def __init__(self, dsn: str, window: Window) -> None:
        self._dsn, self._window = dsn, window

    def held(self) -> list[Held]:
        """Lanes under way."""
        return [
            Held(*row)
            for row in self._rows(
                "l.delivery_id, l.lane, l.attempt, split_part(l.leased_by, ':', 2)::int",
                "l.state = 'delivering' and l.leased_until > clock_timestamp()",
            )
        ]

    def moved(self, lanes: list[Held]) -> set[Held]:
        """Those of some lanes that another attempt has taken, or that are delivered."""
        now = {row[:2]: row[2:] for row in self._rows("l.delivery_id, l.lane, l.attempt, l.state", "true")}
        return {
            lane
            for lane in lanes
            if now[lane.delivery, lane.lane][0] != lane.attempt or now[lane.delivery, lane.lane][1] == "delivered"
        }

    def attempts(self, lanes: list[Held]) -> Counter[int]:
        """How often lanes were taken."""
        now = {row[:2]: row[2] for row in self._rows("l.delivery_id, l.lane, l.attempts", "true")}
        return Counter(now[lane.delivery, lane.lane] for lane in lanes)

    def _rows(self, columns: str, condition: str) -> list[Any]:
        query = (
            f"select {columns} from logstream.lanes l join logstream.deliveries d on d.id = l.delivery_id"
            f" where d.window_start = %s and {condition}"
        )
        with connect(self._dsn) as connection:
            return connection.execute(query, (self._window.start,)).fetchall()


def test_nothing_is_lost_or_repeated_whatever_is_killed(
    composed: Composed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the middle of one window after another: `docker kill` of a worker, `docker stop`, Redis and the scheduler restarted."""
    fill(composed.store)
    with LogSink() as sink:
        sink.fail = lambda _: time.sleep(0.02)  # one request after another: a delivery takes its time
        receivers = Receivers(composed, sink)
        (tmp_path / "settings.yaml").write_text(yaml.safe_dump(receivers.settings()))
        composed.done("airflow-cli", "connections", "add", "siem", "--conn-uri", sink.connection)
        composed.done("logstream", "settings", "apply", str(tmp_path / "settings.yaml"))
        composed.done(
            "airflow-cli", "backfill", "create", "--dag-id", DAG, "--from-date", WINDOWS[0].start.isoformat(),
            "--to-date", WINDOWS[-1].start.isoformat(), "--max-active-runs", "1",
        )  # fmt: skip
        for fault, window in zip(FAULTS, WINDOWS, strict=True):
            seconds = Fault(composed, Watched(composed.store, window)).happens(fault)
            with capsys.disabled():
                print(f"\n{fault}: {seconds:.1f} s until every lane went on")
            # the lease, or Airflow's noticing, and the delay of the retry: what docs/operating.md says, on a machine that is not idle
            assert seconds < 30, fault
        until(lambda: len(backfilled(composed)) == len(FAULTS), lambda: str(backfilled(composed)))
        assert backfilled(composed) == ["success"] * len(FAULTS)
        assert receivers.numbers() == Counter(range(EVENTS))
    bounds = ("--from", WINDOWS[0].start.isoformat(), "--to", WINDOWS[-1].end.isoformat())
    found = composed.run("logstream", "verify", *bounds, "--json")
    assert found.returncode == 0, found.stdout[-2000:]


def test_windows_go_on_while_the_next_version_comes_in(composed: Composed, tmp_path: Path) -> None:
    """The database is upgraded first, then the workers, one after another: a worker of before leaves its tasks to the others."""
    with_events(composed, tmp_path)
    newer = next_version(composed.image, tmp_path / "next")
    ended = len(backfilled(composed))

    def backfill(window: Window) -> None:
        until(lambda: not open_backfills(composed), "Airflow does not close the backfill before")
        day = window.start.isoformat()
        composed.done("airflow-cli", "backfill", "create", "--dag-id", DAG, "--from-date", day, "--to-date", day)

    backfill(BEFORE)
    until(lambda: len(backfilled(composed)) == ended + 1, lambda: composed.log(WORKER))
    with composed.as_version(newer):
        composed.done("logstream", "control", "upgrade")
    # both workers are of before: they end their tasks, which are tried again later
    backfill(DURING)
    until(lambda: refused(composed), lambda: composed.log(WORKER))
    with connect(composed.store) as connection:
        query = "select count(*) from logstream.deliveries where window_start = %s"
        assert connection.execute(query, (DURING.start,)).fetchone() == (0,)
    for worker in (WORKER, SECOND_WORKER):
        composed.ask(worker)
        until(lambda worker=worker: not composed.processes[worker].alive(), lambda worker=worker: composed.log(worker))
        with composed.as_version(newer):
            composed.start(worker)
    until(lambda: len(backfilled(composed)) == ended + 2, lambda: composed.log(WORKER))
    backfill(AFTER)
    until(lambda: len(backfilled(composed)) == ended + 3, lambda: composed.log(WORKER))
    assert {*backfilled(composed)} == {"success"}
    assert arrived(composed) == Counter(range(3 * EVENTS_OF_UPGRADE))
    with composed.as_version(newer):
        composed.done("logstream", "verify", "--from", BEFORE.start.isoformat(), "--to", AFTER.end.isoformat())


def open_backfills(composed: Composed) -> bool:
    """Whether Airflow would refuse another one: it closes a backfill some time after its runs have ended."""
    with connect(composed.metadata) as connection:
        return bool(connection.execute("select 1 from backfill where completed_at is null").fetchall())


def refused(composed: Composed) -> bool:
    """Whether a worker of before has said in a task's log that it has done nothing."""
    logs = (composed.folder / "logs").rglob("*.log")
    return any("upgrade this worker, it has done nothing" in path.read_text(errors="replace") for path in logs)


def backfilled(composed: Composed) -> list[str]:
    """How the runs of the backfill that have ended did."""
    query = "select state from dag_run where run_id like 'backfill%' and state in ('success', 'failed')"
    with connect(composed.metadata) as connection:
        return [state for (state,) in connection.execute(query).fetchall()]


class Fault:
    """What happens to the processes while a window is delivered. `happens` gives the seconds until all lanes went on."""

    def __init__(self, composed: Composed, watched: Watched) -> None:
        self._composed, self._watched = composed, watched

    def happens(self, what: str) -> float:
        lanes: list[Held] = []

        def under_way() -> bool:
            pids = {process.pid for process in self._composed.family(WORKER)}
            lanes[:] = [lane for lane in self._watched.held() if lane.pid in pids]
            return bool(lanes)

        until(under_way, lambda: f"{what}: nothing is delivered by {WORKER}: {self._composed.log(WORKER)}", 0.1)
        getattr(self, f"_{what}")(lanes)
        began = time.monotonic()
        until(lambda: self._watched.moved(lanes) == {*lanes}, lambda: f"{what}: {lanes}", 0.2)
        return time.monotonic() - began

    def _kill(self, lanes: list[Held]) -> None:
        """The worker's container is killed; `restart: always` starts it again."""
        self._composed.kill(WORKER)
        self._composed.start(WORKER)

    def _drain(self, lanes: list[Held]) -> None:
        """A warm shutdown lets the worker's tasks end, in their first attempt; the other worker does the rest."""
        self._composed.ask(WORKER)
        until(lambda: not self._composed.processes[WORKER].alive(), lambda: self._composed.log(WORKER))
        assert self._watched.attempts(lanes) == Counter({1: len(lanes)})
        assert self._watched.moved(lanes) == {*lanes}, "all that it had is delivered"
        self._composed.start(WORKER)

    def _redis(self, lanes: list[Held]) -> None:
        self._composed.processes["redis"].stop()
        self._composed.start_redis()

    def _scheduler(self, lanes: list[Held]) -> None:
        self._composed.kill("airflow-scheduler")
        self._composed.start("airflow-scheduler")
