"""Airflow's api-server under the auth manager of production, Flask AppBuilder's, and users of its roles who call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from psycopg.conninfo import make_conninfo

from logstream.database import connect
from logstream.store.schema import create_tables
from logstream.testing.airflow import LocalAirflow
from logstream.testing.servers import Process, wait_for

from .stage import PROJECT

MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"

HELPER = """
import sys
from airflow.models.connection import Connection
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from airflow.utils.session import create_session
with get_application_builder() as builder:
    for role in sys.argv[1:]:
        made = builder.sm.add_user(role.lower(), role, "X", f"{role}@example.com", builder.sm.find_role(role), "secret")
        assert made, role
print("users are made", flush=True)
for line in sys.stdin:
    with create_session() as session:
        found = session.query(Connection).filter_by(conn_id=line.strip()).one()
        print("password=" + found.password, flush=True)
"""
"""Makes a user of each role; then says the password of each connection that it is asked for, as Airflow's own code decrypts it.

One process, which imports Airflow once.
"""

Call = Callable[..., tuple[int, str]]


def said_by(helper: subprocess.Popen[str], beginning: str) -> str:
    """The rest of the next line of the helper's that begins so."""
    assert helper.stdout is not None
    for line in helper.stdout:
        if line.startswith(beginning):
            return line.removeprefix(beginning).strip()
    raise AssertionError(f"the helper has ended, with {helper.wait()}")


@contextmanager
def fab_airflow(
    postgres: str, folder: Path, name: str, roles: Sequence[str], environment: Mapping[str, str],
    commands: Sequence[Sequence[str]] = (),
) -> Iterator[Call]:  # fmt: skip
    """Calls an api-server as a user of some role: status and answer. `commands` are Airflow's, run when the server is up."""
    with connect(postgres) as connection:
        for database in (f"{name}_store", f"{name}_airflow"):
            connection.execute(f"create database {database}")
    store, metadata = (make_conninfo(postgres, dbname=f"{name}_{of}") for of in ("store", "airflow"))
    with connect(store) as connection:
        create_tables(connection)
    # only its configuration: no task runs here
    airflow = LocalAirflow(
        folder / "home", PROJECT, metadata,
        {"AIRFLOW__CORE__AUTH_MANAGER": MANAGER, "LOGSTREAM_DSN": store, **environment},
    )  # fmt: skip
    airflow.command("db", "migrate")
    server = Process(
        [str(Path(sys.executable).parent / "airflow"), "api-server"], folder / "api.log", airflow.environment
    )
    helper = None
    try:
        wait_for(f"{airflow.url}/api/v2/version", 120, server.alive)
        for command in commands:
            airflow.command(*command)
        helper = subprocess.Popen(
            [sys.executable, "-c", HELPER, *roles], env={**os.environ, **airflow.environment}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        said_by(helper, "users are made")
        tokens: dict[str, str] = {}

        def call(method: str, path: str, body: object = None, role: str | None = None) -> tuple[int, str]:
            form = isinstance(body, str)
            headers = {
                "Content-Type": "application/x-www-form-urlencoded" if form else "application/json",
                "If-Match": "*",
            }
            if role and role not in tokens:
                _, answer = call("POST", "/auth/token", {"username": role.lower(), "password": "secret"})
                tokens[role] = json.loads(answer)["access_token"]
            if role:
                headers["Authorization"] = f"Bearer {tokens[role]}"
            data = None if body is None else str(body).encode() if form else json.dumps(body).encode()
            request = urllib.request.Request(airflow.url + path, data, headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    return response.status, response.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        call.metadata = metadata  # type: ignore[attr-defined]
        call.helper = helper  # type: ignore[attr-defined]
        yield call
    finally:
        if helper is not None:
            helper.communicate()
        server.ask()
        server.stop()
