"""The console under the auth manager of production, Flask AppBuilder's, with the roles that Airflow comes with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from logstream.database import connect
from logstream.store.schema import create_tables
from logstream.testing.airflow import LocalAirflow
from logstream.testing.servers import Process, wait_for

from .stage import PROJECT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ROLES = ("Admin", "Op", "User", "Viewer", "Public")

USERS = """
import sys
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
with get_application_builder() as builder:
    for role in sys.argv[1:]:
        made = builder.sm.add_user(role.lower(), role, "X", f"{role}@example.com", builder.sm.find_role(role), "secret")
        assert made, role
"""

Call = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def call(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """Calls the console as a user of some role: status and answer."""
    folder = tmp_path_factory.mktemp("fab")
    with connect(postgres) as connection:
        for name in ("fab_store", "fab_airflow"):
            connection.execute(f"create database {name}")
    store, metadata = (make_conninfo(postgres, dbname=name) for name in ("fab_store", "fab_airflow"))
    with connect(store) as connection:
        create_tables(connection)
    manager = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
    environment = {"AIRFLOW__CORE__AUTH_MANAGER": manager, "LOGSTREAM_DSN": store}
    # only its configuration: no task runs here
    airflow = LocalAirflow(folder / "home", PROJECT, metadata, environment)
    airflow.command("db", "migrate")
    subprocess.run(
        [sys.executable, "-c", USERS, *ROLES], env={**os.environ, **airflow.environment}, check=True, capture_output=True,
        timeout=120,
    )  # fmt: skip
    server = Process(
        [str(Path(sys.executable).parent / "airflow"), "api-server"], folder / "api.log", airflow.environment
    )
    try:
        wait_for(f"{airflow.url}/api/v2/version", 120, server.alive)
        tokens: dict[str, str] = {}

        def call(method: str, path: str, body: object = None, role: str | None = None) -> tuple[int, str]:
            headers = {"Content-Type": "application/json", "If-Match": "*"}
            if role and role not in tokens:
                _, answer = call("POST", "/auth/token", {"username": role.lower(), "password": "secret"})
                tokens[role] = json.loads(answer)["access_token"]
            if role:
                headers["Authorization"] = f"Bearer {tokens[role]}"
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(airflow.url + path, data, headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    return response.status, response.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        yield call
    finally:
        server.ask()
        server.stop()


@pytest.mark.parametrize(
    ("role", "reads", "writes"),
    [("Admin", 200, 200), ("Op", 200, 200), ("User", 200, 403), ("Viewer", 200, 403), ("Public", 403, 403)],
)
def test_roles(call: Call, role: str, reads: int, writes: int) -> None:
    assert call("GET", "/logstream/api/v1/settings", role=role)[0] == reads
    status, page = call("GET", "/logstream/history", role=role)
    assert status == reads
    assert "<h1>" in page
    assert ("To import one" in page) == (writes == 200)
    assert call("PUT", "/logstream/api/v1/settings", {}, role)[0] == writes
    assert call("POST", "/logstream/api/v1/check", {"type": "file", "path": "/nowhere"}, role)[0] == writes
    assert call("GET", "/logstream/api/v1/losses", role=role)[0] == reads
    noted = {"seen": "2026-03-01T00:00:00Z"}
    assert call("POST", "/logstream/api/v1/losses/acknowledge", noted, role)[0] == writes


def test_nobody(call: Call) -> None:
    assert call("GET", "/logstream/api/v1/settings")[0] == 401
    assert call("PUT", "/logstream/api/v1/settings", {})[0] == 401
