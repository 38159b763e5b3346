"""`make bench-airflow`: one window through Airflow on Celery, by the compose file's own processes, and where its seconds go.

Each workspace has a destination of its own: a folder. The time is Airflow's: from when the run was queued to when it was sealed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from logstream.database import connect
from logstream.embedded import embedded_dsn
from tests.composed import PROCESSES, WORKER, Composed, until
from tests.production import make_image

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTES = timedelta(minutes=5)
DAG = "logstream_export"


def main() -> int:
    """Measure, print a table, and end with 1 if the window was not exported whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--destinations", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=2, help="Celery workers of two processes each (default 2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="logstream-scale-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        composed = Composed(embedded_dsn("logstream", folder / "postgres"), make_image(folder / "image"), folder)
        try:
            start(composed, options.workers)
            fill(composed.store, options.events, options.destinations)
            settings(composed, folder / "settings.yaml", options.destinations)
            export(composed)
            return report(composed, options)
        finally:
            composed.stop()


def start(composed: Composed, workers: int) -> None:
    """Start all processes, and wait until they are healthy and the DAG is known."""
    more = [f"{WORKER}-{number}" for number in range(2, workers + 1)]
    composed.start_redis()
    composed.done("airflow-init", "db", "migrate")
    for name in (*PROCESSES, *more):
        composed.start(name)
    for name in (*PROCESSES, *more):
        until(lambda name=name: composed.healthy(name), name)
    composed.done("logstream", "store", "init")
    until(lambda: DAG in composed.run("airflow-cli", "dags", "list", "-o", "json").stdout, "no DAG")


def fill(dsn: str, events: int, destinations: int) -> None:
    """Events of a kilobyte: a third of them of five busy workspaces, the rest of all alike."""
    with connect(dsn) as connection:
        connection.execute(
            "insert into workspaces select n, 'w' || n from generate_series(0, %s) n", (destinations - 1,)
        )
        connection.execute(
            "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
            " select case when n %% 3 = 0 then n / 3 %% 5 else n %% %(destinations)s end, 'job', m, m,"
            " json_build_object('id', 'j-' || n, 'recipe_id', n %% 50, 'status', 'succeeded', 'text', repeat('x', 880))"
            " from (select n, %(start)s + n * %(step)s as m from generate_series(0, %(events)s - 1) n) of",
            {"destinations": destinations, "events": events, "start": START, "step": MINUTES / events},
        )
        connection.execute("vacuum analyze events")


def settings(composed: Composed, file: Path, destinations: int) -> None:
    """A folder for each workspace."""
    own = {"enabled": True, "events": ["job_details"]}
    document = {
        "workspaces": [{"id": n, "streaming": {**own, "destination": f"d{n}"}} for n in range(destinations)],
        "destinations": {
            f"d{n}": {"type": "file", "path": str(composed.out / f"d{n}"), "packaging": "batch", "lanes": 1}
            for n in range(destinations)
        },
    }
    file.write_text(yaml.safe_dump(document))
    composed.done("logstream", "settings", "apply", str(file))


def export(composed: Composed) -> None:
    """One run of the DAG for the window, as a backfill."""
    composed.done("airflow-cli", "dags", "unpause", DAG)
    day = START.isoformat()
    composed.done("airflow-cli", "backfill", "create", "--dag-id", DAG, "--from-date", day, "--to-date", day)
    deadline = time.monotonic() + 1800
    while not (ended := runs(composed)):
        if time.monotonic() > deadline:
            raise SystemExit("error: the run has not ended for half an hour")
        time.sleep(1)
    if ended[0]["state"] != "success":
        raise SystemExit(f"error: the run is {ended[0]['state']}: {composed.log(WORKER)}")


def rows(dsn: str, query: str) -> list[dict[str, Any]]:
    """Rows of a query, by name."""
    with connect(dsn) as connection:
        cursor = connection.execute(query)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def runs(composed: Composed) -> list[dict[str, Any]]:
    """The backfill's run, once it has ended."""
    query = (
        "select run_id, state, queued_at, start_date, end_date from dag_run"
        " where run_id like 'backfill%' and end_date is not null"
    )
    return rows(composed.metadata, query)


def report(composed: Composed, options: argparse.Namespace) -> int:
    """Say where the seconds went."""
    (run,) = runs(composed)
    query = f"select task_id, queued_dttm, start_date, end_date from task_instance where run_id = '{run['run_id']}'"
    tasks = rows(composed.metadata, query)
    found: list[tuple[str, float]] = []
    before = run["queued_at"]
    for name in (
        "wait_for_closed_window",
        "resolve_routes",
        "plan_deliveries",
        "deliver",
        "seal_window",
        "emit_asset_events",
    ):
        own = [task for task in tasks if task["task_id"] == name]
        first, last = min(task["start_date"] for task in own), max(task["end_date"] for task in own)
        found.append((f"until {name} begins", (first - before).total_seconds()))
        found.append((f"{name} ({len(own)} task{'s' if len(own) > 1 else ''})", (last - first).total_seconds()))
        before = last
    found.append(("until the run has ended", (run["end_date"] - before).total_seconds()))
    total = (run["end_date"] - run["queued_at"]).total_seconds()
    (sums,) = rows(composed.store, "select count(*) as lanes, sum(requests)::int as objects from logstream.lanes")
    delivered = sum(1 for path in composed.out.rglob("*.ndjson") for _ in path.open("rb"))
    for what, seconds in found:
        print(f"{what:45}{seconds:8.1f} s")
    print(f"{'from queued to ended':45}{total:8.1f} s")
    facts = {
        "events": options.events, "destinations": options.destinations, "workers": options.workers,
        "seconds": round(total, 1), "delivered": delivered, **sums,
    }  # fmt: skip
    print(json.dumps(facts))
    return 0 if delivered == options.events else 1


if __name__ == "__main__":
    raise SystemExit(main())
