"""How long it takes to plan what 1,000 destinations are owed after 12 windows: `python -m benchmarks.healing`."""

from __future__ import annotations

import time
from datetime import timedelta

from benchmarks.store import START
from logstream.airflow.connections import AirflowConnections
from logstream.database import connect
from logstream.embedded import embedded_dsn, home
from logstream.export.exporter import Exporter
from logstream.export.plan import Planner
from logstream.ledger.records import State
from logstream.store.schema import create_tables
from logstream.validation import validate_settings
from logstream.window import Window

WORKSPACES, DESTINATIONS, WINDOWS, EACH = 2_000, 1_000, 12, 5
TARGET = 5.0
"""Seconds."""


def main() -> int:
    """Print the time and the verdict; 1 if it took too long."""
    dsn = embedded_dsn("bench_healing", home() / "bench-postgres")
    with connect(dsn) as connection:
        create_tables(connection)
        connection.execute("drop schema if exists logstream cascade")
        connection.execute("truncate events, workspaces")
        connection.execute("insert into workspaces (id) select generate_series(1, %s)", (WORKSPACES,))
        connection.execute(
            "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
            " select w, 'user_activity', at, at, '{}' from generate_series(1, %s) w, generate_series(1, %s),"
            " generate_series(%s::timestamptz, %s, '5 minutes') at",
            (WORKSPACES, EACH, START, START + timedelta(minutes=5 * (WINDOWS - 1))),
        )
        connection.execute("analyze events")
    streaming = {"enabled": True, "events": ["user_activity"]}
    settings = validate_settings(
        {
            "workspaces": [
                {"id": w, "streaming": {**streaming, "destination": f"d{w % DESTINATIONS}"}}
                for w in range(1, WORKSPACES + 1)
            ],
            "destinations": {
                f"d{n}": {"type": "file", "path": str(home() / f"bench/d{n}")} for n in range(DESTINATIONS)
            },
        }
    )
    with Exporter(dsn, dsn, AirflowConnections()) as exporter:
        exporter.settings.apply(settings, author="bench")
        for number in range(WINDOWS):
            start = START + timedelta(minutes=5 * number)
            planned = exporter.plan(Window(start, start + timedelta(minutes=5)))
            exporter.ledger.seal(dict.fromkeys(planned.delivery_ids, State.FAILED))
        began, worked = time.perf_counter(), time.process_time()
        ids, shares = Planner(exporter).plan_owed()
        seconds, busy = time.perf_counter() - began, time.process_time() - worked
    lanes = sum(len(share.lanes) for share in shares)
    fine = seconds < TARGET and len(ids) == DESTINATIONS * WINDOWS
    print(f"planned {len(ids):,} deliveries ({lanes:,} lanes) that {DESTINATIONS:,} destinations are owed in {seconds:.2f} s, "
          f"{busy:.2f} s of them computing: "
          f"{'as wanted' if fine else 'NOT as wanted'}")  # fmt: skip
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
