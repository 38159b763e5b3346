"""`logstream store`: the log store's tables, loading, and whether it is what it must be."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from logstream.cli.arguments import add_command, add_dsn, add_group, dsns, repository
from logstream.cli.output import print_steps
from logstream.units import counted


def add(groups: Any) -> None:
    """Add the commands."""
    store = add_group(groups, "store", "make the log store's tables, and load events into it")
    command = add_command(store, "init", store_init, "make the log store's tables, and ours; what is there stays")
    add_dsn(command, control=True)
    command = add_command(
        store, "load", store_load, "load workspaces and events from an NDJSON file, whole or not at all",
        'Each line is {"workspace": {"id", "external_id", "name", "role"}} or {"event": {"id", "workspace_id", "kind", '
        '"occurred_at", "recorded_at", "payload"}}; recorded_at may be left out.',
    )  # fmt: skip
    add_dsn(command)
    command.add_argument("file", metavar="FILE.ndjson", type=Path)
    command.add_argument("--progress", action="store_true", help="show a progress bar")

    command = add_command(
        store, "check", store_check, "is the log store what it must be: columns, types, NULLs, indexes, who closes windows",
        "Reads only. The tables or views are those of the settings in force (`log_store`).",
    )  # fmt: skip
    add_dsn(command, control=True)
    command = add_command(
        store, "psql", store_psql, "open PostgreSQL's own shell on the log store",
        "Where no DSN is named that is the embedded PostgreSQL, which runs as long as the shell does.",
    )  # fmt: skip
    add_dsn(command)
    command.add_argument("-c", "--command", metavar="SQL", help="run this, and end")


def store_init(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream store init`."""
    from logstream.control.engine import open_control
    from logstream.database import connect
    from logstream.store.schema import create_tables

    store, control = dsns(options)
    with connect(store) as connection:
        create_tables(connection)
    open_control(control)
    print("the log store is ready", file=out)


def store_load(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream store load`."""
    from logstream.database import connect, store_dsn
    from logstream.store.load import load_file

    with connect(store_dsn(options.dsn)) as connection, _progress(options) as advance:
        loaded = load_file(connection, options.file, advance)
    print(
        f"loaded {counted(loaded.workspaces, 'workspace')} and {counted(loaded.events, 'event')} from {options.file}",
        file=out,
    )


def store_check(options: argparse.Namespace, out: TextIO) -> int:
    """`logstream store check`."""
    from logstream.control.engine import has_control
    from logstream.settings.models import LogStoreSettings
    from logstream.store.check import check_store

    store, control = dsns(options)
    settings = repository(options).current().settings.log_store if has_control(control) else LogStoreSettings()
    return print_steps(check_store(store, settings), out)


def store_psql(options: argparse.Namespace, out: TextIO) -> int:
    """`logstream store psql`."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    from logstream.database import connect, store_dsn
    from logstream.embedded import psql_program

    dsn = store_dsn(options.dsn)
    connect(dsn).close()  # says in our words why it cannot be reached
    given = conninfo_to_dict(dsn)
    # not on the command line: all users of the machine see that
    password = given.pop("password", None)
    secret = {} if password is None else {"PGPASSWORD": str(password)}
    words = [psql_program(), make_conninfo("", **given), *(["-c", options.command] if options.command else [])]
    return 1 if subprocess.run(words, env={**os.environ, **secret}, stdout=out, check=False).returncode else 0


@contextmanager
def _progress(options: argparse.Namespace) -> Iterator[Callable[[int], None] | None]:
    if not options.progress or not options.file.is_file():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"loading {options.file.name}", total=options.file.stat().st_size)
        yield lambda read: bar.update(task, completed=read)
