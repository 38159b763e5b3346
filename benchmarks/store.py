"""The benchmark's log store: built once in an embedded PostgreSQL and kept below `.logstream/bench`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from logstream.database import connect
from logstream.embedded import embedded_dsn, home
from logstream.settings.resolution import Workspace
from logstream.store.load import load_file
from logstream.store.schema import create_tables
from logstream.testing.events import EventMaker, workspace_line
from logstream.window import Window

START = datetime(2026, 1, 5, tzinfo=UTC)
WORKSPACES = [Workspace(1, None, "Platform", "admin")] + [
    Workspace(1000 + number, f"c{number}", f"Customer {number}") for number in range(1, 1000)
]


def window_of(events: int) -> Window:
    """The window that holds `events` events of the store."""
    return Window(START, START + timedelta(microseconds=3_600 * events))


def build(events: int) -> str:
    """Make the store with `events` events if it is not there yet; return its DSN.

    A million events are made one by one; more are copies of them with other ids, later.
    """
    dsn = embedded_dsn(f"bench_{events}", home() / "bench-postgres")
    with connect(dsn) as connection:
        create_tables(connection)
        row = connection.execute("select count(*) from events").fetchone()
        assert row is not None
        if row[0] == events:
            return dsn
        print(f"building a store of {events:,} events (once)", flush=True)
        began = time.monotonic()
        connection.execute("truncate events, workspaces")
        made = min(events, 1_000_000)
        file = home() / "bench.ndjson"
        with file.open("w") as out:
            out.writelines(line + "\n" for line in _lines(made))
        took = time.monotonic() - began
        began = time.monotonic()
        load_file(connection, file)
        print(f"made in {took:.0f} s, loaded at {made / (time.monotonic() - began):,.0f} events/s", flush=True)
        file.unlink()
        _repeat(connection, made, events)
        connection.execute("vacuum analyze events")
    return dsn


def _lines(events: int) -> Iterator[str]:
    yield from map(workspace_line, WORKSPACES)
    # times are those of `window_of`, so a smaller window holds just as many events as it says
    yield from EventMaker(WORKSPACES).lines(events, START, timedelta(microseconds=3_600 * events))


def _repeat(connection: psycopg.Connection, made: int, events: int) -> None:
    for copy in range(1, events // made):
        connection.execute(
            "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload)"
            " select id + %s, workspace_id, kind, occurred_at + %s, recorded_at + %s, payload from events where id <= %s",
            (copy * made, *[timedelta(microseconds=3_600 * made * copy)] * 2, made),
        )


def description(dsn: str) -> str:
    """Number and mean size of the store's events, in words."""
    with connect(dsn) as connection:
        row = connection.execute("select count(*), avg(octet_length(payload::text)) from events").fetchone()
        kinds = dict(connection.execute("select kind, count(*) from events group by 1 order by 1").fetchall())
    assert row is not None
    return f"{row[0]:,} events of {row[1]:.0f} bytes, 1,000 workspaces (Zipf), {json.dumps(kinds)}"


if __name__ == "__main__":
    from sys import argv

    print(build(int(argv[1])), Path.cwd())
