"""A real Airflow that cannot say where the log store is: its api-server stands still, or its database refuses.

Airflow's own look-up tells such a failure as "there is no connection of this name", and then what the environment names would be
taken for the log store. So it names a decoy here, whole but for the events. For `make soak`: it waits for tries and their pauses.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from logstream.airflow.connections import AirflowConnections
from logstream.database import connect
from logstream.errors import LogstreamError
from logstream.export.exporter import Exporter
from logstream.store.load import load_file
from logstream.store.schema import create_tables
from logstream.testing.airflow import DAG, LocalAirflow
from logstream.testing.events import EventMaker, workspace_line
from logstream.validation import validate_settings
from logstream.window import Window

from .stage import DAY, EVERYTHING, PROJECT, WINDOWS, WORKSPACES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

EVENTS = 4_000
SECONDS = 300
"""How long a run may take in the end: its tasks are tried again half a minute after they failed, and a machine may be busy."""


@dataclass
class Failing:
    """An Airflow whose connections are in its own database, and what a test looks at."""

    airflow: LocalAirflow
    metadata: str
    store: str
    decoy: str
    folder: Path

    @contextmanager
    def database_refuses(self) -> Iterator[None]:
        """Airflow's tables of connections and of Variables cannot be read; all its others can."""
        with connect(self.metadata) as connection:
            for table in ("connection", "variable"):
                connection.execute(f"alter table {table} rename to {table}_away")
        try:
            yield
        finally:
            with connect(self.metadata) as connection:
                for table in ("connection", "variable"):
                    connection.execute(f"alter table {table}_away rename to {table}")

    def ended(self, run: str) -> str:
        """The state that a run has come to, however long the api-server needs to answer again."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                state = str(self.airflow.call("GET", f"/api/v2/dags/{DAG}/dagRuns/{run}")["state"])
            except (LogstreamError, OSError) as error:
                state = str(error)
            if state in ("success", "failed"):
                return state
            time.sleep(1)
        raise AssertionError(f"the run {run} has not ended within {SECONDS} s: {state}")

    def tries(self, run: str) -> int:
        """How often a task of a run was tried at most."""
        return max(int(task["try_number"]) for task in self.airflow.tasks(run))

    def written(self) -> int:
        """Events in the destination's files."""
        return sum(len(path.read_bytes().splitlines()) for path in self.folder.rglob("*.ndjson"))


@pytest.fixture(scope="module")
def failing(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Failing]:
    """`LOGSTREAM_DSN` names the decoy; the connection of the log store is in Airflow's database."""
    tmp_path = tmp_path_factory.mktemp("failing")
    store, metadata, decoy = (
        make_conninfo(postgres, dbname=name) for name in ("fails_store", "fails_airflow", "fails_decoy")
    )
    with connect(postgres) as connection:
        for name in ("fails_store", "fails_airflow", "fails_decoy"):
            connection.execute(f"create database {name}")
    lines = EventMaker(WORKSPACES).lines(EVENTS, DAY, timedelta(days=1), 1)
    events = tmp_path / "events.ndjson"
    events.write_text("\n".join([*map(workspace_line, WORKSPACES), *lines]) + "\n")
    folder = tmp_path / "out"
    settings = validate_settings(
        {
            "admin": {"enabled": True, "events": EVERYTHING, "destination": "lake"},
            "destinations": {"lake": {"type": "file", "path": str(folder), "packaging": "batch"}},
        }
    )
    for dsn in (store, decoy):
        with connect(dsn) as connection:
            create_tables(connection)
        with Exporter(dsn, dsn, AirflowConnections()) as engine:
            engine.settings.apply(settings)
    with connect(store) as connection:
        load_file(connection, events)
    given = conninfo_to_dict(store)
    environment = {
        "LOGSTREAM_DSN": decoy,
        "LOGSTREAM_SCHEDULE": "none",
        # a worker gives up on an api-server soon, so that one that stands still for seconds is felt
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "3",
        "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "2",
    }
    with LocalAirflow(tmp_path / "home", PROJECT, metadata, environment) as airflow:
        fields = {"conn_type": "postgres", "host": given["host"], "login": given["user"], "schema": given["dbname"]}
        airflow.call("POST", "/api/v2/connections", {"connection_id": "logstream_store", **fields})
        airflow.unpause()
        yield Failing(airflow, metadata, store, decoy, folder)


def is_whole(failing: Failing, window: Window, before: int) -> None:
    """A window's events have arrived, the ledger says so, and nothing was asked of the decoy."""
    with connect(failing.store) as connection:
        span = (window.start, window.end)
        counted = connection.execute(
            "select count(*) from events where recorded_at >= %s and recorded_at < %s", span
        ).fetchone()
        states = connection.execute(
            "select distinct state from logstream.deliveries where window_start = %s", (window.start,)
        ).fetchall()
    with connect(failing.decoy) as connection:
        assert connection.execute("select count(*) from logstream.windows").fetchone() == (0,), "the decoy was planned"
    assert counted is not None
    assert counted[0] > 0
    assert failing.written() - before == counted[0]
    assert states == [("delivered",)]


def test_a_database_that_refuses_is_asked_again(failing: Failing) -> None:
    before = failing.written()
    with failing.database_refuses():
        failing.airflow.trigger(WINDOWS[0], "refused")
        time.sleep(20)
    assert failing.ended("refused") == "success"
    assert failing.tries("refused") > 1, "no task met the database while it refused"
    is_whole(failing, WINDOWS[0], before)


@pytest.mark.parametrize(("after", "seconds", "number"), [(0.5, 12, 1), (3.0, 12, 2), (6.0, 25, 3)])
def test_an_api_server_that_stands_still_is_asked_again(
    failing: Failing, after: float, seconds: int, number: int
) -> None:
    before = failing.written()
    failing.airflow.trigger(WINDOWS[number], f"frozen{number}")
    time.sleep(after)
    with failing.airflow.frozen("api-server"):
        time.sleep(seconds)
    state = failing.ended(f"frozen{number}")
    assert state == "success", failing.airflow.tasks(f"frozen{number}")
    is_whole(failing, WINDOWS[number], before)
