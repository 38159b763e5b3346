"""`logstream store load`: workspaces and events from an NDJSON file, whole or not at all.

Lines go into the tables by binary COPY, some thousands at a time in one transaction, and while the database takes some the
next are read. The events' payloads keep the very bytes they have in the file. Every check names the line it fails on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from struct import Struct
from typing import Annotated, BinaryIO, Literal

import msgspec
import psycopg

from logstream.database import database_errors, first_line, without_limits
from logstream.errors import InputError
from logstream.events import EPOCH, Kind

BigInt = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Progress = Callable[[int], None]
"""Called now and then with the number of bytes read so far."""

_CHUNK_LINES = 5_000

# The load itself checks that each event's workspace is there, so where its role may (a superuser's, as in the embedded
# server) it spares the database the same check once more, a quarter of its work. Not where someone's own triggers need it.
_MAY_SKIP_FOREIGN_KEY = """
select where current_setting('is_superuser') = 'on'
and not exists (
    select from pg_trigger where tgrelid in ('events'::regclass, 'workspaces'::regclass) and not tgisinternal
)
"""


class _Workspace(msgspec.Struct, forbid_unknown_fields=True):
    id: BigInt
    external_id: str | None = None
    name: str | None = None
    role: Literal["customer", "admin"] = "customer"


class _Event(msgspec.Struct, forbid_unknown_fields=True):
    id: BigInt
    workspace_id: BigInt
    kind: Kind
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
    with source, database_errors(f"loading {path}"):
        try:
            with connection.transaction():
                connection.execute(without_limits(connection))
                return _Loading(connection, path).run(source, progress)
        except _Taken as taken:
            # the transaction is undone: what is there now was there before
            known = connection.execute("select from events where id = %s", (taken.event_id,)).fetchone()
            reason = "is in the file twice" if known is None else "is already in the log store"
            raise InputError(f"{path}: line {taken.line}: event {taken.event_id} {reason}") from None


class _Taken(Exception):
    """An event's id is taken, by a row of the store or of the file."""

    def __init__(self, line: int, event_id: str) -> None:
        super().__init__(line, event_id)
        self.line, self.event_id = line, event_id


@dataclass(slots=True)
class _Batch:
    """Rows for one COPY, and the lines they come from."""

    columns: str
    rows: list[bytes] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


class _Loading:
    """One load, within the caller's transaction. `run` reads and checks lines; a thread of its own hands them to the database,
    one batch behind."""

    def __init__(self, connection: psycopg.Connection, path: Path) -> None:
        self._connection, self._path = connection, path
        # the locks that the foreign key of each event would take
        self._known = {row[0] for row in connection.execute("select id from workspaces for key share")}
        if connection.execute(_MAY_SKIP_FOREIGN_KEY).fetchone() is not None:
            connection.execute("set local session_replication_role = replica")
        self._workspaces: dict[int, _Workspace] = {}
        self._changed: set[int] = set()
        self._events = 0
        self._early: list[tuple[int, _Event]] = []
        self._new_batches()

    def _new_batches(self) -> None:
        # Apart, because only where the column is left out does the database stamp it.
        self._stamped = _Batch("id, workspace_id, kind, occurred_at, payload")
        self._given = _Batch("id, workspace_id, kind, occurred_at, payload, recorded_at")

    def run(self, source: BinaryIO, progress: Progress | None) -> Loaded:
        """Load all lines. Raises `InputError` or `_Taken` for the first that cannot be."""
        with ThreadPoolExecutor(1, "load") as thread:
            behind: Future[None] | None = None
            for read in self._batches(source):
                if behind is not None:
                    behind.result()
                behind = thread.submit(self._store, list(self._workspaces.values()), self._stamped, self._given)
                self._workspaces.clear()
                self._new_batches()
                if progress:
                    progress(read)
            if behind is not None:
                behind.result()
        # later plain INSERTs take their ids from the identity: it must be past what was loaded
        self._connection.execute(
            "select setval(pg_get_serial_sequence('events', 'id'), greatest((select max(id) from events), 1))"
            " where pg_get_serial_sequence('events', 'id') is not null"
        )
        return Loaded(len(self._changed), self._events)

    def _batches(self, source: BinaryIO) -> Iterator[int]:
        """Read some thousands of lines, then say how many bytes have been read; and so on to the end."""
        decoder = msgspec.json.Decoder(_Line)
        read = 0
        for number, whole in enumerate(source, start=1):
            read += len(whole)
            raw = whole.removeprefix(_MARK) if number == 1 else whole
            line = None if raw.isspace() else _parse(decoder, raw, self._path, number)
            if isinstance(line, _Event):
                if line.workspace_id in self._known:
                    self._add(number, line)
                else:
                    self._early.append((number, line))  # its workspace may come later in the file
            elif line is not None:
                self._known.add(line.id)
                self._workspaces[line.id] = line
            if number % _CHUNK_LINES == 0:
                yield read
        for number, event in self._early:
            if event.workspace_id not in self._known:
                reason = f"there is no workspace {event.workspace_id}; load it in the same file or before"
                raise InputError(f"{self._path}: line {number}: {reason}")
            self._add(number, event)
        yield read

    def _add(self, number: int, event: _Event) -> None:
        batch = self._given if event.recorded_at else self._stamped
        batch.rows.append(_row(event))
        batch.lines.append(number)

    def _store(self, workspaces: list[_Workspace], *batches: _Batch) -> None:
        with self._connection.cursor() as cursor:
            if workspaces:
                cursor.executemany(
                    "insert into workspaces (id, external_id, name, role) values (%s, %s, %s, %s) on conflict (id) do update"
                    " set external_id = excluded.external_id, name = excluded.name, role = excluded.role",
                    [(item.id, item.external_id, item.name, item.role) for item in workspaces],
                )
                self._changed.update(item.id for item in workspaces)
            for batch in batches:
                if batch.rows:
                    self._copy(cursor, batch)
                    self._events += len(batch.rows)

    def _copy(self, cursor: psycopg.Cursor, batch: _Batch) -> None:
        try:
            with cursor.copy(f"copy events ({batch.columns}) from stdin (format binary)") as copy:
                copy.write(b"".join((_HEADER, *batch.rows, _TRAILER)))
        except psycopg.Error as error:
            row = re.search(r"COPY events, line (\d+)", error.diag.context or "")
            if row is None:
                raise
            number = batch.lines[int(row.group(1)) - 1]
            taken = re.search(r"\(id\)=\((-?\d+)\)", error.diag.message_detail or "")
            if isinstance(error, psycopg.errors.UniqueViolation) and taken:
                raise _Taken(number, taken.group(1)) from None
            raise InputError(f"{self._path}: line {number}: {first_line(error)}") from None


_HINTS = {
    "RFC3339": "times are as 2026-11-24T00:00:00Z, with an offset",
    "enum value": f"kinds are {', '.join(kind.value for kind in Kind)}",
    "truncated": "a brace or a quote is missing",
}
"""What msgspec says of a mistake, to what one does about it."""

_NOT_TEXT = (b"\x1f\x8b", b"PK", b"\x28\xb5\x2f\xfd", b"\xff\xfe", b"\xfe\xff")
"""How gzip, zip, zstd and UTF-16 begin."""

_MARK = b"\xef\xbb\xbf"
"""What some editors put before UTF-8."""


def _parse(decoder: msgspec.json.Decoder[_Line], raw: bytes, path: Path, number: int) -> _Workspace | _Event:
    try:
        line = _decode(decoder, raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        reason += next((f"; {hint}" for words, hint in _HINTS.items() if words in reason), "")
        if number == 1 and raw.startswith(_NOT_TEXT):
            reason = "it is no text in UTF-8: unpack it, or save it as that"
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


# The binary format of COPY: https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_IDS = Struct(">hiqiqi")  # fields; length, id; length, workspace_id; length of the kind that follows
_TIME_AND_LENGTH = Struct(">iqi")  # length, occurred_at; length of the payload that follows
_TIME = Struct(">iq")
_MICROSECOND = timedelta(microseconds=1)


def _row(event: _Event) -> bytes:
    payload, kind = bytes(event.payload), event.kind.encode()
    fields = 5 if event.recorded_at is None else 6
    head = _IDS.pack(fields, 8, event.id, 8, event.workspace_id, len(kind)) + kind
    occurred = (event.occurred_at - EPOCH) // _MICROSECOND
    row = head + _TIME_AND_LENGTH.pack(8, occurred, len(payload)) + payload
    if event.recorded_at is None:
        return row
    return row + _TIME.pack(8, (event.recorded_at - EPOCH) // _MICROSECOND)
