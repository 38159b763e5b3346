"""A real Airflow for the tests that want one: started once, over a log store with a day of events."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from logstream.airflow.connections import AirflowConnections
from logstream.database import connect
from logstream.export.exporter import Exporter
from logstream.settings.resolution import Workspace
from logstream.store.load import load_file
from logstream.store.schema import create_tables
from logstream.testing.airflow import LocalAirflow
from logstream.testing.events import EventMaker, workspace_line
from logstream.testing.servers import LogSink, S3Server
from logstream.validation import validate_settings
from logstream.window import Window

PROJECT = Path(__file__).resolve().parents[1]

DAY = datetime(2025, 3, 1, tzinfo=UTC)
HOURS = timedelta(hours=6)
WINDOWS = [Window(DAY + HOURS * number, DAY + HOURS * (number + 1)) for number in range(4)]
WORKSPACES = [
    Workspace(1, None, "Platform", "admin"),
    *(Workspace(100 + n, f"c{n}", f"Customer {n}") for n in range(9)),
]
# Windows never overlap, so those of the schedule, of single runs and of the browser have a day each.
DAYS = [DAY + timedelta(days=number) for number in range(3)]
FIRST, SECOND, THIRD = (
    Window(DAYS[1] + timedelta(hours=hour), DAYS[1] + timedelta(hours=hour + 2)) for hour in (1, 7, 13)
)
EVERYTHING = ["job_details", "user_activity", "api_platform", "log_service"]
EVENTS = 4_000


@dataclass
class Stage:
    """What the tests work with."""

    airflow: LocalAirflow
    store: str
    metadata: str
    s3: S3Server
    sink: LogSink

    def apply(self, document: dict[str, Any]) -> None:
        settings = validate_settings(document)
        with Exporter(self.store, self.store, AirflowConnections()) as engine:
            engine.settings.apply(settings)

    def run(self, window: Window, name: str) -> str:
        return self.airflow.wait_for_run(self.airflow.trigger(window, name))

    def log(self, run: str, task: str, **options: Any) -> str:
        return self.airflow.log(run, task, **options)


@contextmanager
def airflow_stage(postgres: str, s3: S3Server, folder: Path) -> Iterator[Stage]:
    """Start it; stop it at the end."""
    from .documented import blocks

    folder.mkdir()
    with connect(postgres) as connection:
        for name in ("e2e_store", "e2e_airflow"):
            connection.execute(f"create database {name}")
    store, metadata = (make_conninfo(postgres, dbname=name) for name in ("e2e_store", "e2e_airflow"))
    maker = EventMaker(WORKSPACES)
    lines = [
        line
        for number, day in enumerate(DAYS)
        for line in maker.lines(EVENTS, day, timedelta(days=1), 1 + number * EVENTS)
    ]
    (folder / "events.ndjson").write_text("\n".join([*map(workspace_line, WORKSPACES), *lines]) + "\n")
    with connect(store) as connection:
        create_tables(connection)
        load_file(connection, folder / "events.ndjson")
    # a DAG of the platform's own that waits for a destination, as docs/operating.md shows it
    consumers = folder / "consumers"
    consumers.mkdir()
    (consumers / "siem_report.py").write_text(blocks(PROJECT / "docs/operating.md", "python")[0])
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [{"name": "dags-folder", "classpath": local, "kwargs": {}},
               {"name": "consumers", "classpath": local, "kwargs": {"path": str(consumers)}}]  # fmt: skip
    given = conninfo_to_dict(store)
    connection_fields = {
        "conn_type": "postgres",
        "login": given["user"],
        "host": given["host"],
        "schema": given["dbname"],
    }
    with LogSink() as sink:
        environment = {
            "AIRFLOW_CONN_LOGSTREAM_STORE": json.dumps(connection_fields),
            "AIRFLOW_CONN_LAKE": s3.connection,
            "AIRFLOW_CONN_SIEM": sink.connection,
            "AIRFLOW_CONN_SIEM_WRONG": sink.connection.replace(sink.token, "canary-5f0e-7b1f0c94e2"),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
            "LOGSTREAM_SCHEDULE": "0 */6 * * *",
            # the files stay what they are; each time they are read takes seconds of the processor
            # (but for tests/test_away.py: a scheduler goes on by the schedule that it knows until the DAG is read once more)
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30" if os.environ.get("LOGSTREAM_SOAK") else "3600",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "3600",
            "LOGSTREAM_WAIT_SECONDS": "30",
        }
        with LocalAirflow(folder / "home", PROJECT, metadata, environment) as airflow:
            airflow.unpause()
            yield Stage(airflow, store, metadata, s3, sink)
