"""How long planning takes, by the number of workspaces."""

from __future__ import annotations

import statistics
import time

from benchmarks.store import START
from logstream.airflow.connections import AirflowConnections
from logstream.database import connect
from logstream.embedded import embedded_dsn, home
from logstream.export.exporter import Exporter
from logstream.store.schema import create_tables
from logstream.validation import validate_settings
from logstream.window import Window

SIZES = {10: 5, 1_000: 500, 10_000: 5_000}
"""Workspaces, and destinations."""

EACH = 20
WINDOW = Window(START, START.replace(minute=5))


def table() -> str:
    """Seconds to plan a window, medians of 3; the first plan of a window, which writes most."""
    rows = ["## Planning", "", "Counting, resolving, dividing and writing the plan down; 20 events a workspace. The target is "
            "2 s for 10,000 workspaces.", "",
            "| workspaces | destinations | seconds | mapped tasks |", "| ---: | ---: | ---: | ---: |"]  # fmt: skip
    for workspaces, destinations in SIZES.items():
        seconds, tasks = measure(workspaces, destinations)
        rows.append(f"| {workspaces:,} | {destinations:,} | {seconds:.2f} | {tasks} |")
    return "\n".join([*rows, ""])


def measure(workspaces: int, destinations: int) -> tuple[float, int]:
    """Median seconds of three plans, and the number of tasks."""
    dsn = embedded_dsn(f"bench_plan_{workspaces}", home() / "bench-postgres")
    with connect(dsn) as connection:
        create_tables(connection)
        connection.execute("drop schema if exists logstream cascade")
        connection.execute("truncate events, workspaces")
        connection.execute("insert into workspaces (id) select generate_series(1, %s)", (workspaces,))
        connection.execute(
            "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) select w, 'user_activity',"
            " %s, %s, '{}' from generate_series(1, %s) w, generate_series(1, %s)",
            (START, START, workspaces, EACH),
        )
        connection.execute("analyze events")
    each = workspaces // destinations
    settings = validate_settings(
        {
            "workspaces": [
                {
                    "id": w,
                    "streaming": {"enabled": True, "events": ["user_activity"], "destination": f"d{(w - 1) // each}"},
                }
                for w in range(1, workspaces + 1)
            ],
            "destinations": {f"d{n}": {"type": "file", "path": f"/srv/d{n}"} for n in range(destinations)},
        }
    )
    times, tasks = [], 0
    for _ in range(3):
        with Exporter(dsn, dsn, AirflowConnections()) as exporter:
            snapshot = exporter.settings.apply(settings, author="bench")
            with connect(dsn) as connection:
                connection.execute("delete from logstream.deliveries")
            began = time.perf_counter()
            tasks = len(exporter.plan(WINDOW, snapshot=snapshot).shares)
            times.append(time.perf_counter() - began)
    return statistics.median(times), tasks
