"""docker-compose.yml without Docker: each of its services as a process of this machine, by the commands and the environment there.

Only addresses are other ones: PostgreSQL is the tests', Redis is Debian's, and ports are free ones. As a container each
instance of a service has a home of its own; the volume `logs` is one folder for all.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psutil
from cryptography.fernet import Fernet
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from logstream.database import connect
from logstream.testing.servers import Process, free_port

from .compose import AIRFLOWS, COMPOSE, compose_environment
from .databases import libraries, programs
from .documented import commands
from .production import CHECKOUT_VARIABLES, Image

PROCESSES = [name for name, service in AIRFLOWS.items() if "healthcheck" in service]
JOBS = {"airflow-dag-processor": "DagProcessorJob", "airflow-triggerer": "TriggererJob"}
"""Services whose health check looks for a job in Airflow's database, and the job's type."""
WORKER, SECOND_WORKER = "airflow-worker", "airflow-worker-2"
SECONDS = 150


class Composed:
    """The compose file's services. An instance beside the first of a service has a number: `airflow-worker-2`."""

    def __init__(self, postgres: str, image: Image, folder: Path) -> None:
        self.image, self.folder = image, folder
        self.processes: dict[str, Process] = {}
        self.ports = {name: free_port() for name in ("8080", "8974", "6379", "8793", "8794")}
        with connect(postgres) as connection:
            for name in ("compose_airflow", "compose_logstream"):
                connection.execute(f"create database {name}")
        given = conninfo_to_dict(postgres)
        metadata = f"postgresql+psycopg2://{given['user']}@/compose_airflow?host={given['host']}"
        self.store = make_conninfo(postgres, dbname="compose_logstream")
        self.metadata = make_conninfo(postgres, dbname="compose_airflow")
        self.out = folder / "out"
        self.addresses = {
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
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": self.ports["8794"],
            "LOGSTREAM_DSN": self.store,
            # what a person writes to .env
            "LOGSTREAM_ALLOW_PRIVATE_ADDRESSES": "1",
            "LOGSTREAM_FILE_ROOTS": str(self.out),
            "HOSTNAME": socket.gethostname(),
        }

    def environment(self, instance: str) -> dict[str, str]:
        """The variables of a service, with this machine's addresses."""
        own = {
            **dict.fromkeys(CHECKOUT_VARIABLES, ""),
            **compose_environment(AIRFLOWS[service_of(instance)]),
            **{name: str(value) for name, value in self.addresses.items()},
            "AIRFLOW_HOME": str(self.folder / "homes" / instance),
            "PATH": f"{self.image.production.bin}:/usr/local/bin:/usr/bin:/bin:{commands()}",
        }
        port = self.ports["8793"] if instance == WORKER else free_port()
        return {**own, "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(port)}

    def run(self, service: str, *words: str) -> subprocess.CompletedProcess[str]:
        """What `docker compose run --rm SERVICE WORDS` does."""
        entry = AIRFLOWS[service].get("entrypoint", ["airflow"])
        return self._run(service, [str(self.image.production.bin / entry[0]), *words])

    def airflow_has(self, query: LiteralString, *values: object) -> bool:
        """Whether a query finds any row in Airflow's own database."""
        with connect(self.metadata) as connection:
            return connection.execute(query, values).fetchone() is not None

    def done(self, service: str, *words: str) -> str:
        """The same for what must not fail; returns what it prints."""
        done = self.run(service, *words)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    @contextmanager
    def as_version(self, image: Image) -> Iterator[None]:
        """What is started or run meanwhile is of another image; what runs already stays what it is."""
        before, self.image = self.image, image
        try:
            yield
        finally:
            self.image = before

    def start(self, instance: str) -> None:
        """Start an instance of a service by the command of the compose file."""
        words = shlex.split(AIRFLOWS[service_of(instance)]["command"])
        if instance != service_of(instance):
            # as in a container, where each has a host's name of its own
            words += ["--celery-hostname", instance]
        command = [str(self.image.production.bin / "airflow"), *words]
        self.processes[instance] = Process(command, self.folder / f"{instance}.log", self.environment(instance))

    def start_redis(self) -> None:
        """Start Redis by the command of the compose file."""
        program, *words = shlex.split(COMPOSE["services"]["redis"]["command"])
        assert program == "redis-server"
        data = self.folder / "redis"
        data.mkdir(exist_ok=True)
        redis = programs().redis
        command = [str(redis), *words, "--port", str(self.ports["6379"]), "--dir", str(data)]
        self.processes["redis"] = Process(command, self.folder / "redis.log", libraries(redis))

    def family(self, instance: str) -> list[psutil.Process]:
        """A process and all that came of it: what a container holds."""
        first = psutil.Process(self.processes[instance].pid)
        return [first, *first.children(recursive=True)]

    def kill(self, instance: str) -> None:
        """What `docker kill` does: all processes of the container at once, with SIGKILL."""
        for process in self.family(instance):
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.processes[instance].kill()

    def ask(self, instance: str) -> None:
        """What `docker stop` begins with: SIGTERM to the one process that the container runs."""
        os.kill(self.processes[instance].pid, signal.SIGTERM)

    def healthy(self, instance: str) -> bool:
        """What the service's own health check says."""
        assert self.processes[instance].alive(), self.log(instance)
        job = JOBS.get(service_of(instance))
        if job and not self.airflow_has("select 1 from job where job_type = %s and latest_heartbeat is not null", job):
            return False  # its check would say so, and take seconds of a processor for it
        kind, *words = AIRFLOWS[service_of(instance)]["healthcheck"]["test"]
        words = [word.replace("$$", "$") for word in words]
        for port in ("8080", "8974"):
            words = [word.replace(f":{port}/", f":{self.ports[port]}/") for word in words]
        if instance != service_of(instance):
            words = [word.replace("${HOSTNAME}", instance) for word in words]
        return self._run(instance, words if kind == "CMD" else ["sh", "-c", *words]).returncode == 0

    def log(self, instance: str) -> str:
        """The end of what it wrote."""
        return self.processes[instance].log.read_text()[-3000:]

    def stop(self) -> None:
        """Kill all: what they would do to end in order is no part of any test."""
        for instance, process in reversed(self.processes.items()):
            if process.alive():
                self.kill(instance)

    def _run(self, instance: str, words: list[str]) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(self.folder), **self.environment(instance)}
        return subprocess.run(
            words, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=120
        )


def service_of(instance: str) -> str:
    """The service that an instance is of."""
    return instance if instance in AIRFLOWS else instance.rpartition("-")[0]


def until(condition: Callable[[], object], what: Callable[[], str] | str, pause: float = 1.0) -> None:
    """Wait until something is so; fail, saying what is not, after `SECONDS`."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(pause)
