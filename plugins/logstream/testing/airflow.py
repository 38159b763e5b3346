"""A whole Airflow on this machine: scheduler, dag-processor, triggerer, api-server, over a PostgreSQL of its own.

For end-to-end tests, the demo and `make up`. It is configured by the environment alone and leaves nothing running.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from logstream.errors import LogstreamError
from logstream.testing.servers import Process, free_port, wait_for
from logstream.window import Window

DAG = "logstream_export"
VARIABLE = "logstream_schedule"
USERS = {"admin": "admin", "viewer": "viewer"}
"""Users of this local Airflow with their passwords; each has the role of its name. It listens on loopback only."""

PROCESSES = {
    "api-server": ["api-server"],
    "dag-processor": ["dag-processor"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}


class LocalAirflow:
    """Airflow's processes below one folder.

    `metadata` is the DSN URI of its own database, `environment` is added to every process's.
    """

    def __init__(
        self, home: Path, project: Path, metadata: str, environment: Mapping[str, str], port: int | None = None
    ) -> None:
        self.home, self.port = home, port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._processes: dict[str, Process] = {}
        self._token: str | None = None
        home.mkdir(parents=True, exist_ok=True)
        passwords = home / "passwords.json"
        passwords.write_text(json.dumps(USERS))
        passwords.chmod(0o600)
        self.environment = {
            "AIRFLOW_HOME": str(home),
            **database_variables(metadata),
            "AIRFLOW__CORE__DAGS_FOLDER": str(project / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(project / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{name}" for name in USERS),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            # a busy machine parses slowly
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
            "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "180",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",  # whatever this process has for itself
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "PYTHONWARNINGS": "ignore",
            **environment,
        }

    def command(self, *arguments: str, timeout: float = 180, metadata: str | None = None) -> str:
        """Run one `airflow` command, with another database than this Airflow's if one is given; return what it prints.

        Raises `LogstreamError` with its last lines if it fails.
        """
        database = database_variables(metadata) if metadata else {}
        done = subprocess.run(
            [str(Path(sys.executable).parent / "airflow"), *arguments],
            env={**os.environ, **self.environment, **database},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            errors = [line for line in lines[:-3] if "rror" in line or "not complete" in line][-10:]
            told = "\n".join(errors + lines[-3:])
            raise LogstreamError(f"airflow {' '.join(arguments)} failed: {told}")
        return done.stdout

    def __enter__(self) -> LocalAirflow:
        try:
            self.command("db", "migrate")
            for name in PROCESSES:
                self.start(name)
            wait_for(f"{self.url}/api/v2/version", 120, self._alive)
            self._wait_for_dag()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        for process in self._processes.values():
            process.ask()
        for name in ("scheduler", "triggerer", "dag-processor", "api-server"):
            if name in self._processes:
                self._processes.pop(name).stop()

    def start(self, name: str) -> None:
        """Start one of Airflow's processes: api-server, dag-processor, scheduler or triggerer."""
        program = [str(Path(sys.executable).parent / "airflow")]
        if name == "scheduler":
            program = [sys.executable, "-m", "logstream.airflow.preloaded"]
        self._processes[name] = Process([*program, *PROCESSES[name]], self.home / f"{name}.log", self.environment)

    def kill(self, name: str) -> None:
        """Kill one of them, with all that it has started, as a machine does that breaks down."""
        self._processes.pop(name).kill()

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Stop one of them where it stands, as a machine does that swaps: it answers no request until this context ends."""
        process = self._processes[name]
        process.freeze()
        try:
            yield
        finally:
            process.thaw()

    def _alive(self) -> bool:
        for name, process in self._processes.items():
            if not process.alive():
                raise LogstreamError(f"Airflow's {name} has ended; see {process.log}")
        return True

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call Airflow's REST API as its administrator. Raises `LogstreamError` with the answer if it refuses."""
        text = self.text(method, path, body)
        return json.loads(text) if text else None

    def text(self, method: str, path: str, body: object = None) -> str:
        """The same for what answers with a text: a page."""
        if self._token is None and path != "/auth/token":
            answer = self.call("POST", "/auth/token", {"username": "admin", "password": USERS["admin"]})
            self._token = answer["access_token"]
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"}
            | ({"Authorization": f"Bearer {self._token}"} if self._token else {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return str(response.read(), "utf-8")
        except urllib.error.HTTPError as error:
            raise LogstreamError(f"{method} {path}: {error.code} {error.read()[:300]!r}") from None

    def _wait_for_dag(self, seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._alive()
            try:
                self.call("GET", f"/api/v2/dags/{DAG}")
                return
            except LogstreamError:
                errors = self.call("GET", "/api/v2/importErrors")["import_errors"]
                # a machine that is busy: Airflow will try again
                if errors and "AirflowTaskTimeout" not in errors[0]["stack_trace"]:
                    raise LogstreamError(f"the DAG cannot be imported: {errors[0]['stack_trace'][-500:]}") from None
            time.sleep(0.5)
        raise LogstreamError(f"Airflow does not list the DAG {DAG}; see {self.home / 'dag-processor.log'}")

    def unpause(self) -> None:
        """Let runs of the DAG start."""
        self.call("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": False})

    def pause(self) -> None:
        """Let no more runs of the DAG start, and none of them go on."""
        self.call("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": True})

    def reschedule(self, cron: str | None, seconds: float = 120) -> None:
        """Change the DAG's schedule by Airflow's Variable, or take the Variable away; return when Airflow knows.

        It would find out by itself, within half a minute.
        """
        known = self.call("GET", f"/api/v2/variables?variable_key_pattern={VARIABLE}")["total_entries"]
        if cron is None:
            self.call("DELETE", f"/api/v2/variables/{VARIABLE}")
        else:
            path = f"/api/v2/variables/{VARIABLE}" if known else "/api/v2/variables"
            self.call("PATCH" if known else "POST", path, {"key": VARIABLE, "value": cron})
        before = self.call("GET", f"/api/v2/dags/{DAG}/details")
        self.call("PUT", f"/api/v2/parseDagFile/{quote(before['file_token'], safe='')}")
        deadline = time.monotonic() + seconds
        while self.call("GET", f"/api/v2/dags/{DAG}/details")["last_parsed_time"] == before["last_parsed_time"]:
            if time.monotonic() > deadline:
                raise LogstreamError(f"Airflow has not read the DAG again; see {self.home / 'dag-processor.log'}")
            time.sleep(0.5)

    def trigger(self, window: Window, run_id: str) -> str:
        """Start a run for a window; return its id."""
        body = {
            "dag_run_id": run_id,
            "logical_date": window.start.isoformat(),
            "data_interval_start": window.start.isoformat(),
            "data_interval_end": window.end.isoformat(),
        }
        return str(self.call("POST", f"/api/v2/dags/{DAG}/dagRuns", body)["dag_run_id"])

    def wait_for_run(self, run_id: str, seconds: float = 240, dag: str = DAG) -> str:
        """Wait until a run has ended; return its state."""
        deadline = time.monotonic() + seconds
        path = f"/api/v2/dags/{dag}/dagRuns/{quote(run_id, safe='')}"
        while time.monotonic() < deadline:
            self._alive()
            state = str(self.call("GET", path)["state"])
            if state in ("success", "failed"):
                return state
            time.sleep(0.5)
        raise LogstreamError(f"the run {run_id} has not ended within {seconds:.0f} s; see {self.home}/logs")

    def runs(self) -> list[dict[str, Any]]:
        """All runs of the DAG, by window."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", f"/api/v2/dags/{DAG}/dagRuns?limit=100&offset={len(found)}&order_by=logical_date")
            found += page["dag_runs"]
            if len(found) >= page["total_entries"] or not page["dag_runs"]:
                return found

    def wait_until_idle(self, seconds: float = 240) -> None:
        """Wait until no run of the DAG is under way. Raises `LogstreamError` after so many seconds."""
        deadline = time.monotonic() + seconds
        while busy := [run["dag_run_id"] for run in self.runs() if run["state"] in ("queued", "running")]:
            if time.monotonic() > deadline:
                raise LogstreamError(f"these runs have not ended within {seconds:.0f} s: {', '.join(busy)}")
            time.sleep(0.5)

    def tasks(self, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}/taskInstances?limit=100"
        return list(self.call("GET", path)["task_instances"])

    def log(self, run_id: str, task: str, *, attempt: int = 1, index: int = -1, dag: str = DAG) -> str:
        """The lines that a task has logged."""
        path = (
            f"/api/v2/dags/{dag}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task}/logs/{attempt}"
            f"?map_index={index}&full_content=true"
        )
        return "\n".join(map(_line, self.call("GET", path)["content"]))


def database_variables(metadata: str) -> dict[str, str]:
    """The variables that name Airflow's own database."""
    url = _sqlalchemy_url(metadata)
    return {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": url}


def _line(line: object) -> str:
    """A line of a task's log as the UI shows it: with the exception's own words."""
    if not isinstance(line, dict):
        return str(line)
    errors = [f"{error['exc_type']}: {error['exc_value']}" for error in line.get("error_detail") or ()]
    return " ".join([str(line.get("event", line)), *errors])


def _sqlalchemy_url(dsn: str) -> str:
    """A SQLAlchemy URL for psycopg 3 from a DSN."""
    from psycopg.conninfo import conninfo_to_dict

    given = conninfo_to_dict(dsn)
    user = quote(str(given.get("user") or "postgres"), safe="")
    query = "&".join(f"{name}={quote(str(given[name]), safe='/')}" for name in ("host", "port") if given.get(name))
    password = f":{quote(str(given['password']), safe='')}" if given.get("password") else ""
    return f"postgresql+psycopg://{user}{password}@/{given['dbname']}?{query}"
