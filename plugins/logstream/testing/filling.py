"""Log stores with events in them. Tests want the same ones again and again: they are made once a process, and then copied."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import psycopg

from logstream.settings.resolution import Workspace
from logstream.store.load import load_file
from logstream.testing.events import EventMaker, workspace_line

_COPIED: dict[tuple[object, ...], bytes] = {}
"""Rows of `events` as PostgreSQL's binary COPY gives them, by what they were made of."""

_MOST_COPIED = 20_000_000
"""Bytes of rows that are worth keeping: what is larger is wanted once."""


def fill(
    connection: psycopg.Connection, workspaces: Sequence[Workspace], events: int, start: datetime, span: timedelta,
    first_id: int = 1,
) -> None:  # fmt: skip
    """Load workspaces, and `EventMaker`'s first `events` events of them. `connection` is in autocommit."""
    _load(connection, [*map(workspace_line, workspaces)])
    key = (tuple(workspaces), events, start, span, first_id)
    if (rows := _COPIED.get(key)) is not None:
        with connection.transaction():
            connection.execute(
                "set local session_replication_role = replica"
            )  # as loading does: no look at each row's workspace
            with connection.cursor().copy("copy events from stdin (format binary)") as copy:
                copy.write(rows)
            connection.execute("select setval(pg_get_serial_sequence('events', 'id'), (select max(id) from events))")
        return
    _load(connection, [*EventMaker(workspaces).lines(events, start, span, first_id)])
    query = (
        f"copy (select * from events where id between {first_id} and {first_id + events - 1}) to stdout (format binary)"
    )
    with connection.cursor().copy(query.encode()) as copy:
        rows = b"".join(copy)
    if len(rows) <= _MOST_COPIED:
        _COPIED[key] = rows


def _load(connection: psycopg.Connection, lines: list[str]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".ndjson", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        load_file(connection, Path(file.name))
