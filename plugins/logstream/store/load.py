"""`logstream store load`: workspaces and events from an NDJSON file, whole or not at all.

Lines go through a temporary table by COPY; the events' payloads keep the very bytes they have in the file. Every check
names the line it fails on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import msgspec
import psycopg

from logstream.database import database_errors, first_line
from logstream.errors import InputError

BigInt = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Progress = Callable[[int], None]
"""Called now and then with the number of bytes read so far."""

_CHUNK_LINES = 2_000


class _Workspace(msgspec.Struct, forbid_unknown_fields=True):
    id: BigInt
    external_id: str | None = None
    name: str | None = None
    role: Literal["customer", "admin"] = "customer"


class _Event(msgspec.Struct, forbid_unknown_fields=True):
    id: BigInt
    workspace_id: BigInt
    kind: Literal["job", "user_activity", "api_platform", "log_service"]
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)]
    payload: msgspec.Raw
    recorded_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    workspace: _Workspace | msgspec.UnsetType = msgspec.UNSET
    event: _Event | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load brought in."""

    workspaces: int
    events: int


def load_file(connection: psycopg.Connection, path: Path, progress: Progress | None = None) -> Loaded:
    """Load a file in one transaction.

    A workspace that is there already is updated. Raises `InputError` naming the line for anything that cannot be
    loaded (bad JSON, unknown field, unknown workspace, an event id that is taken); nothing is kept then.
    """
    try:
        source = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    with source, database_errors(f"loading {path}"), connection.transaction():
        connection.execute("set local client_min_messages = warning")
        connection.execute(
            "create temporary table loading_workspaces (line bigint, id bigint, external_id text, name text, role text)"
            " on commit drop"
        )
        connection.execute(
            "create temporary table loading_events (line bigint, id bigint, workspace_id bigint, kind text,"
            " occurred_at timestamptz, recorded_at timestamptz, payload json) on commit drop"
        )
        workspaces = _copy(connection, path, source, progress)
        return Loaded(*_insert(connection, path, workspaces))


def _copy(
    connection: psycopg.Connection, path: Path, source: BinaryIO, progress: Progress | None
) -> list[tuple[int, _Workspace]]:
    decoder = msgspec.json.Decoder(_Line)
    workspaces: list[tuple[int, _Workspace]] = []
    others: list[int] = []  # lines that are no event, so that the database's row numbers can be told as lines
    rows: list[bytes] = []
    read = 0
    try:
        with (
            connection.cursor() as cursor,
            cursor.copy(
                "copy loading_events (line, id, workspace_id, kind, occurred_at, recorded_at, payload) from stdin"
            ) as copy,
        ):
            for number, raw in enumerate(source, start=1):
                read += len(raw)
                line = None if raw.isspace() else _parse(decoder, raw, path, number)
                if isinstance(line, _Event):
                    rows.append(_row(number, line))
                else:
                    others.append(number)
                    if line is not None:
                        workspaces.append((number, line))
                if len(rows) >= _CHUNK_LINES:
                    copy.write(b"".join(rows))
                    rows.clear()
                    if progress:
                        progress(read)
            copy.write(b"".join(rows))
        if progress:
            progress(read)
    except psycopg.Error as error:
        row = re.search(r"COPY loading_events, line (\d+)", error.diag.context or "")
        if row is None:
            raise
        raise InputError(f"{path}: line {_file_line(int(row.group(1)), others)}: {first_line(error)}") from None
    return workspaces


def _file_line(row: int, others: list[int]) -> int:
    """The line of the file that holds its `row`-th event, `others` being the lines that hold none, in order."""
    for number in others:
        if number > row:
            break
        row += 1
    return row


def _parse(decoder: msgspec.json.Decoder[_Line], raw: bytes, path: Path, number: int) -> _Workspace | _Event:
    try:
        line = _decode(decoder, raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{path}: line {number}: {reason}") from None
    if line.workspace is not msgspec.UNSET and line.event is msgspec.UNSET:
        workspace = line.workspace
        for name, text in (("external_id", workspace.external_id), ("name", workspace.name)):
            if text is not None and "\x00" in text:
                raise InputError(f"{path}: line {number}: workspace.{name} holds a NUL, which no text column takes")
        return workspace
    if line.event is not msgspec.UNSET and line.workspace is msgspec.UNSET:
        return line.event
    raise InputError(f'{path}: line {number}: expected {{"workspace": ...}} or {{"event": ...}}')


def _decode(decoder: msgspec.json.Decoder[_Line], raw: bytes) -> _Line:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        # msgspec refuses two things that are JSON and that the log store takes: lone surrogates in escapes, and deep
        # nesting. Cut the payload out, read the line without it, and let the database be the judge of the payload.
        payload = _payload_in(raw)
        if payload is None:
            raise
        line = decoder.decode(raw[: payload.start] + b"{}" + raw[payload.stop :])
        if line.event is msgspec.UNSET:
            raise
        line.event.payload = msgspec.Raw(raw[payload])
        return line


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]')


def _payload_in(raw: bytes) -> slice | None:
    """Where in `{"event": {..., "payload": {...}}}` the payload's object stands."""
    depth, start, key = 0, None, False
    for token in _TOKEN.finditer(raw):
        text = token.group()
        if text[:1] == b'"':
            key = depth == 2 and text == b'"payload"' and start is None
        elif text in b"{[":
            if key and depth == 2:
                start = token.start()
            key = False
            depth += 1
        else:
            depth -= 1
            if depth == 2 and start is not None:
                return slice(start, token.end())
    return None


def _row(number: int, event: _Event) -> bytes:
    payload = bytes(event.payload)
    recorded = event.recorded_at.isoformat().encode() if event.recorded_at else b"\\N"
    return b"%d\t%d\t%d\t%b\t%b\t%b\t%b\n" % (
        number,
        event.id,
        event.workspace_id,
        event.kind.encode(),
        event.occurred_at.isoformat().encode(),
        recorded,
        # COPY's text format: only these four characters mean something; the last three occur between tokens
        payload.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r").replace(b"\t", b"\\t"),
    )


def _insert(connection: psycopg.Connection, path: Path, workspaces: list[tuple[int, _Workspace]]) -> tuple[int, int]:
    with connection.cursor() as cursor, cursor.copy("copy loading_workspaces from stdin") as copy:
        for number, item in workspaces:
            copy.write_row((number, item.id, item.external_id, item.name, item.role))
    connection.execute("analyze loading_events")
    for query, reason in (
        (
            "select line, id from (select line, id, row_number() over (partition by id order by line) as nth"
            " from loading_events) numbered where nth > 1 order by line limit 1",
            "event {} is in the file twice",
        ),
        (
            "select l.line, l.id from loading_events l join events e on e.id = l.id order by l.line limit 1",
            "event {} is already in the log store",
        ),
        (
            "select line, workspace_id from loading_events l"
            " where not exists (select from workspaces w where w.id = l.workspace_id)"
            " and not exists (select from loading_workspaces n where n.id = l.workspace_id) order by line limit 1",
            "there is no workspace {}; load it in the same file or before",
        ),
    ):
        found = connection.execute(query).fetchone()
        if found is not None:
            raise InputError(f"{path}: line {found[0]}: {reason.format(found[1])}")
    changed = connection.execute(
        "insert into workspaces (id, external_id, name, role)"
        " select distinct on (id) id, external_id, name, role from loading_workspaces order by id, line desc"
        " on conflict (id) do update set external_id = excluded.external_id, name = excluded.name,"
        " role = excluded.role"
    ).rowcount
    inserted = connection.execute(
        "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload)"
        " select id, workspace_id, kind, occurred_at, coalesce(recorded_at, clock_timestamp()), payload"
        " from loading_events order by line"
    ).rowcount
    # later plain INSERTs take their ids from the identity: it must be past what was loaded
    connection.execute(
        "select setval(pg_get_serial_sequence('events', 'id'), greatest((select max(id) from events), 1))"
        " where pg_get_serial_sequence('events', 'id') is not null"
    )
    return changed, inserted
