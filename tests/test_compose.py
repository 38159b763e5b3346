"""Every process of docker-compose.yml, healthy by its own health check (`tests/test_scale_out.py` kills them)."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from logstream.control.engine import HEAD, revision_of
from logstream.database import connect
from logstream.window import Window

from .composed import PROCESSES, WORKER, Composed, until
from .production import make_image, next_version

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.timeout(600)]
DAG = "logstream_export"
START, MINUTES = datetime(2026, 2, 1, tzinfo=UTC), timedelta(minutes=5)
BEFORE, DURING, AFTER = (Window(START + MINUTES * n, START + MINUTES * (n + 1)) for n in range(3))


@pytest.fixture(scope="module")
def composed(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    folder = tmp_path_factory.mktemp("composed")
    found = Composed(postgres, make_image(folder / "image"), folder)
    try:
        found.start_redis()
        found.done("airflow-init", "db", "migrate")
        for name in PROCESSES:
            found.start(name)
        yield found
    finally:
        found.stop()


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_is_healthy(name: str, composed: Composed) -> None:
    until(lambda: composed.healthy(name), lambda: f"{name}: {composed.log(name)}")


def test_a_celery_worker_runs_the_dag(composed: Composed) -> None:
    """The first run of the schedule, for the interval that ended last."""
    composed.done("logstream", "store", "init")
    # asked of Airflow's database: each of its commands takes seconds of a processor to start
    until(lambda: composed.airflow_has("select 1 from dag where dag_id = %s and not is_stale", DAG), "no DAG")
    composed.done("airflow-cli", "dags", "unpause", DAG)
    ended = "select 1 from dag_run where dag_id = %s and state in ('success', 'failed')"
    until(lambda: composed.airflow_has(ended, DAG), "no run ends")
    done = composed.done("airflow-cli", "dags", "list-runs", DAG, "-o", "json")
    assert "success" in re.findall(r'"state": "(\w+)"', done), composed.log(WORKER)
    composed.done("airflow-cli", "dags", "pause", DAG)


def test_the_database_is_upgraded_before_the_processes(composed: Composed, tmp_path: Path) -> None:
    """What a version exported, the next one goes on with; a process of before ends, and has done nothing.

    `make soak` does the same with workers of both versions (tests/test_scale_out.py).
    """
    with_events(composed, tmp_path)
    newer = next_version(composed.image, tmp_path / "next")
    assert exported(composed, BEFORE) == 0
    with composed.as_version(newer):
        assert composed.run("logstream", "control", "current").returncode == 1
        assert f"upgraded from {HEAD}" in composed.done("logstream", "control", "upgrade")
    refused = composed.run("logstream", "export", *bounds(DURING))
    assert refused.returncode == 2 and "upgrade this worker, it has done nothing" in refused.stderr, refused
    with connect(composed.store) as connection:
        assert connection.execute("select distinct window_start from logstream.deliveries").fetchall() == [
            (BEFORE.start,)
        ]
    with composed.as_version(newer):
        for window in (DURING, AFTER):
            assert exported(composed, window) == 0
        assert composed.done("logstream", "verify", *bounds(Window(BEFORE.start, AFTER.end)))
    assert arrived(composed) == Counter(range(3 * EVENTS))
    assert revision_of(composed.store) == f"{int(HEAD) + 1:04}"


EVENTS = 40
"""Events of a window, of workspaces of which one is busy and one has none."""


def with_events(composed: Composed, folder: Path) -> None:
    """A log store with events in three windows of the past, which are history; and the settings to export them by."""
    composed.done("logstream", "store", "init")
    with connect(composed.store) as connection:
        connection.execute("insert into workspaces select n, 'w' || n from generate_series(9001, 9004) n")
        connection.execute(
            "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
            " select case when n %% 4 = 0 then 9002 + n / 4 %% 2 else 9001 end, 'job', m, m,"
            " json_build_object('id', 'j-' || n, 'n', n, 'status', 'succeeded')"
            " from (select n, %s + n * %s as m from generate_series(0, %s) n) of",
            (START, MINUTES / EVENTS, 3 * EVENTS - 1),
        )
    document = {
        "admin": {"enabled": True, "events": ["job_details"], "destination": "out"},
        "destinations": {"out": {"type": "file", "path": str(composed.out / "upgraded"), "packaging": "batch"}},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(document))
    composed.done("logstream", "settings", "apply", str(folder / "settings.yaml"))


def bounds(window: Window) -> tuple[str, ...]:
    return "--from", window.start.isoformat(), "--to", window.end.isoformat()


def exported(composed: Composed, window: Window) -> int:
    return composed.run("logstream", "export", *bounds(window)).returncode


def arrived(composed: Composed) -> Counter[int]:
    """How often each event is in the folder."""
    files = [path.read_bytes() for path in (composed.out / "upgraded").rglob("*.ndjson")]
    return Counter(json.loads(line)["n"] for body in files for line in body.splitlines())
