"""Every process of docker-compose.yml, healthy by its own health check (`tests/test_scale_out.py` kills them)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from .composed import PROCESSES, WORKER, Composed, until
from .production import make_image

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
DAG = "logstream_export"


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
    until(lambda: DAG in composed.run("airflow-cli", "dags", "list", "-o", "json").stdout, "no DAG")
    composed.done("airflow-cli", "dags", "unpause", DAG)

    def states() -> set[str]:
        done = composed.run("airflow-cli", "dags", "list-runs", DAG, "-o", "json")
        return set(re.findall(r'"state": "(\w+)"', done.stdout))

    until(lambda: bool(states() & {"success", "failed"}), "no run ends")
    assert "success" in states(), composed.log(WORKER)
    composed.done("airflow-cli", "dags", "pause", DAG)
