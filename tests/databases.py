"""Other PostgreSQLs than the embedded one: Debian's (15 in bookworm), and PgBouncer in front of a server; Redis. No root is needed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from logstream.testing.postgres import quick_folder

PROJECT = Path(__file__).resolve().parents[1]
# neither server runs as root; where the tests do, it is this user
SERVANT: dict[str, Any] = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}


class Programs(NamedTuple):
    """The folder of an older PostgreSQL's programs, PgBouncer's program, and Redis'."""

    postgres: Path
    pgbouncer: Path
    redis: Path


@cache
def programs() -> Programs:
    """Debian's, or the machine's own."""
    done = subprocess.run(
        ["bash", str(PROJECT / "deploy" / "databases.sh")], capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return Programs(*map(Path, done.stdout.split()))


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that the servers' user may write to, with a path short enough for sockets."""
    path = quick_folder("logstream-db-")
    path.chmod(0o755)
    if SERVANT:
        shutil.chown(path, *SERVANT.values())
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def libraries(program: Path) -> dict[str, str]:
    """The environment of a program: with its own libraries, where it was unpacked below `.venv`."""
    root = next((parent for parent in program.parents if parent.name == "root" and parent != Path("/root")), None)
    found = sorted({str(file.parent) for file in root.rglob("*.so*")}) if root else []
    return {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join([*found, os.environ.get("LD_LIBRARY_PATH", "")]),
        "LC_ALL": "C.UTF-8",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def older_postgres() -> Iterator[str]:
    """Debian's PostgreSQL with a database `logstream`; its DSN."""
    binaries = programs().postgres
    environment = libraries(binaries / "postgres")
    with folder() as home:

        def run(*words: str) -> None:
            done = subprocess.run(
                [str(binaries / words[0]), *words[1:]], env=environment, capture_output=True, text=True, check=False,
                cwd=home, **SERVANT,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr

        run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "-D", str(home / "data"))
        options = f"-c listen_addresses= -c unix_socket_directories={home} -c fsync=off -c max_prepared_transactions=20"
        options += " -c shared_buffers=32MB -c full_page_writes=off -c synchronous_commit=off"
        run("pg_ctl", "-D", str(home / "data"), "-w", "-l", str(home / "log"), "-o", options, "start")
        try:
            dsn = make_conninfo(host=str(home), user="postgres", dbname="postgres")
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("create database logstream")
            yield make_conninfo(dsn, dbname="logstream")
        finally:
            run("pg_ctl", "-D", str(home / "data"), "-m", "immediate", "stop")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("postgres_of_wheel", id="newest"),
        pytest.param("postgres_of_debian", id="oldest", marks=pytest.mark.thorough),
    ],
)
def postgres(request: pytest.FixtureRequest) -> str:
    """The newest and the oldest PostgreSQL, in turn: for modules that import this in place of the usual one."""
    return str(request.getfixturevalue(request.param))


@contextmanager
def pgbouncer(server: str, mode: str) -> Iterator[str]:
    """PgBouncer in front of a server, its defaults but for the pool's mode; the DSN of the same database through it."""
    program = programs().pgbouncer
    given = conninfo_to_dict(server)
    port = free_port()
    # the folder of the server's socket may be for its own user alone
    servant = {"user": Path(str(given["host"])).owner()} if SERVANT else {}
    with folder() as home:
        (home / "users.txt").write_text(f'"{given["user"]}" ""\n"reader" ""\n')
        (home / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={given['host']} port={given.get('port', 5432)}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {home}/users.txt\npool_mode = {mode}\n"
        )
        for file in home.iterdir():
            file.chmod(0o644)
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [str(program), str(home / "pgbouncer.ini")], env=libraries(program), stdout=log, stderr=log, **servant
            )
        dsn = make_conninfo(server, host="127.0.0.1", port=port)
        try:
            until = time.monotonic() + 20
            while True:
                try:
                    psycopg.connect(dsn).close()
                    break
                except psycopg.OperationalError:
                    assert process.poll() is None and time.monotonic() < until, (home / "log").read_text()
                    time.sleep(0.05)
            yield dsn
        finally:
            process.terminate()
            process.wait(20)
