"""The log store in PostgreSQL.

Reading is by COPY in keyset chunks: short statements in `(recorded_at, id)` order, so no transaction is open while
anything is sent, and a reader can go on anywhere.
"""

from __future__ import annotations

import select
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from queue import Empty, LifoQueue

import psycopg
from psycopg import sql
from psycopg.generators import fetch_many

from logstream.database import connect, database_errors
from logstream.events import EPOCH, Cursor, Event, Kind
from logstream.settings.models import LogStoreSettings
from logstream.settings.resolution import Workspace
from logstream.shapes import LOG_LEVEL_FIELD, LOG_TYPE_FIELD, log_fields
from logstream.store.base import Filter, KindCount, Page
from logstream.store.closing import ClosedWindow, Watch
from logstream.window import Window

PAGE_EVENTS = 256
PAGE_BYTES = 512 * 1024
"""How much a page holds: so little that it is still in the processor's cache when it is packaged."""

# SQL may look into a log event only where that cannot fail: json's ->> raises on a \u0000 or a lone surrogate anywhere
# in the text, and one such event must not stop a window. Those go to whoever reads, who looks for itself.
_READABLE = sql.SQL("position({} in payload::text) = 0").format(sql.Literal("\\u"))


class PostgresStore:
    """A log store in PostgreSQL (an `EventStore`). Safe to use from several threads: each call has a connection."""

    def __init__(self, dsn: str, settings: LogStoreSettings | None = None) -> None:
        self._dsn = dsn
        self._settings = settings or LogStoreSettings()
        self._idle: LifoQueue[psycopg.Connection] = LifoQueue()

    @property
    def _events(self) -> sql.Identifier:
        return sql.Identifier(*self._settings.events.split("."))

    @property
    def written_tables(self) -> list[str]:
        """The tables whose writers close windows."""
        return list(self._settings.written_tables or (self._settings.events,))

    def closed_window(
        self, window: Window, tables: Sequence[str] | None = None, watch: Watch | None = None
    ) -> tuple[ClosedWindow, psycopg.Connection]:
        """A watch over a window's writers (those of `tables`), and the connection it looks through, the caller's to close."""
        connection = connect(self._dsn, application="logstream window")
        return ClosedWindow(connection, window, tables or self.written_tables, watch), connection

    def now(self) -> datetime:
        """The database's clock."""
        with self._connection() as connection, database_errors("reading the clock"):
            row = connection.execute("select clock_timestamp()").fetchone()
        assert row is not None  # noqa: S101
        return row[0]  # type: ignore[no-any-return]

    def workspaces(self) -> list[Workspace]:
        """All workspaces, by id."""
        query = sql.SQL("select id, external_id, name, role from {} order by id").format(
            sql.Identifier(*self._settings.workspaces.split("."))
        )
        with self._connection() as connection, database_errors("reading the workspaces"):
            return [Workspace(*row) for row in connection.execute(query)]

    def newest(self, kind: str, workspace_id: int | None, max_bytes: int) -> bytes | None:
        """The payload of the newest event of a kind within the last day, of one workspace if asked, and not too large."""
        query = sql.SQL(
            "select payload::text from {events} where recorded_at > clock_timestamp() - interval '1 day' and kind = {kind}"
            " and ({workspace} is null or workspace_id = {workspace}) and octet_length(payload::text) <= {size}"
            " order by recorded_at desc limit 1"
        ).format(
            events=self._events,
            kind=sql.Literal(kind),
            workspace=sql.SQL("{}::bigint").format(sql.Literal(workspace_id)),
            size=sql.Literal(max_bytes),
        )
        with self._connection() as connection, database_errors("reading the newest event"):
            row = connection.execute(query).fetchone()
        return row[0].encode() if row else None

    def count(self, window: Window, *, by_log_type: bool) -> list[KindCount]:
        """Count the window's events by workspace and kind (log events also by type and level if asked)."""
        nothing = sql.SQL("null::text")
        readable = sql.SQL("kind = 'log_service' and {}").format(_READABLE)
        field = "case when {} then payload ->> {} end"
        log_type, level, unreadable = nothing, nothing, sql.SQL("true")
        if by_log_type:
            log_type = sql.SQL(field).format(readable, sql.Literal(LOG_TYPE_FIELD))  # type: ignore[assignment]
            level = sql.SQL(field).format(readable, sql.Literal(LOG_LEVEL_FIELD))  # type: ignore[assignment]
            unreadable = sql.SQL("kind <> 'log_service' or {}").format(_READABLE)  # type: ignore[assignment]
        query = sql.SQL(
            "select workspace_id, kind, {log_type}, {level}, count(*), sum(pg_column_size(payload))::bigint"
            " from {events} where recorded_at >= {start} and recorded_at < {end} and ({unreadable})"
            " group by 1, 2, 3, 4"
        ).format(
            log_type=log_type,
            level=level,
            events=self._events,
            start=sql.Literal(window.start),
            end=sql.Literal(window.end),
            unreadable=unreadable,
        )
        with self._connection() as connection, database_errors("counting the window's events"):
            counts = [KindCount(*row) for row in connection.execute(query)]
            if by_log_type:
                counts += self._count_unreadable(connection, window)
        return counts

    def _count_unreadable(self, connection: psycopg.Connection, window: Window) -> Iterator[KindCount]:
        query = sql.SQL(
            "copy (select workspace_id, payload from {} where recorded_at >= {} and recorded_at < {}"
            " and kind = 'log_service' and not ({})) to stdout (format binary)"
        ).format(self._events, sql.Literal(window.start), sql.Literal(window.end), _READABLE)
        with connection.cursor() as cursor, cursor.copy(query) as copy:
            copy.set_types(["int8", "bytea"])
            for workspace_id, payload in copy.rows():
                yield KindCount(workspace_id, "log_service", *log_fields(payload), 1, len(payload))

    def read(
        self,
        window: Window,
        filters: Sequence[Filter],
        after: Cursor | None,
        *,
        max_events: int,
        max_bytes: int,
    ) -> Iterator[Page]:
        """Read the next events in `(recorded_at, id)` order; see `EventStore.read`."""
        query = self._query(window, filters, after, max_events)
        room = min(PAGE_BYTES, max_bytes)
        read = size = total = 0
        events: list[Event] = []
        with self._connection() as connection, database_errors("reading the window's events"):
            with connection.cursor() as cursor, cursor.copy(query):
                for event in _rows(connection):
                    events.append(event)
                    size += len(event[5])
                    if size < room and len(events) < PAGE_EVENTS:
                        continue
                    read, total, size = read + len(events), total + size, 0
                    yield Page(events, more=True)
                    events = []
                    if total >= max_bytes and read < max_events:
                        # the rest of the answer is not wanted; the connection is closed over it
                        return
        yield Page(events, more=read + len(events) == max_events)

    def events(self, ids: Sequence[int]) -> list[Event]:
        """The events with these ids, in `(recorded_at, id)` order; those that are gone are left out."""
        query = sql.SQL(
            "copy (select id, workspace_id, occurred_at, recorded_at, kind, payload from {} where id = any({}::bigint[])"
            " order by recorded_at, id) to stdout (format binary)"
        ).format(self._events, sql.Literal(list(ids)))
        with self._connection() as connection, database_errors("reading events"):
            with connection.cursor() as cursor, cursor.copy(query):
                return list(_rows(connection))

    def _query(self, window: Window, filters: Sequence[Filter], after: Cursor | None, limit: int) -> sql.Composed:
        conditions: list[sql.Composable] = [
            sql.SQL("recorded_at >= {}").format(sql.Literal(window.start)),
            sql.SQL("recorded_at < {}").format(sql.Literal(window.end)),
        ]
        if after is not None:
            moment = EPOCH + timedelta(microseconds=after.recorded_us)
            conditions.append(
                sql.SQL("(recorded_at, id) > ({}, {})").format(sql.Literal(moment), sql.Literal(after.id))
            )
        conditions.append(sql.SQL(_conditions(tuple(filters))))
        return sql.SQL(
            "copy (select id, workspace_id, occurred_at, recorded_at, kind, payload from {} where {}"
            " order by recorded_at, id limit {}) to stdout (format binary)"
        ).format(self._events, sql.SQL(" and ").join(conditions), sql.Literal(limit))

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = connect(self._dsn, application="logstream reader")
            with database_errors("preparing a connection"):
                # many short statements: each would pay for starting the workers, and they would be the platform's to miss
                connection.execute("set max_parallel_workers_per_gather = 0")
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            self._idle.put(connection)
        else:  # an answer was left unread
            connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return


_ROW = struct.Struct(">hiqiqiqiqi")
"""The head of a row in COPY's binary format: the number of columns, then (length, value) of four 8-byte ones and the
length of `kind`."""

_HEADER = 19
"""Bytes before the first row: signature, flags, length of an extension."""


def _rows(connection: psycopg.Connection) -> Iterator[Event]:
    """The rows of the COPY that is under way on a connection.

    What psycopg does for each row of any COPY takes several times as long as what has to be done for ours, and here is where
    most of an export's time goes; so rows are taken from libpq itself.
    """
    pgconn = connection.pgconn
    fetch, make, unpack, kinds, head = pgconn.get_copy_data, Event._make, _ROW.unpack_from, _KINDS, _ROW.size
    waiting = select.poll()
    waiting.register(pgconn.socket, select.POLLIN)
    start = _HEADER
    while True:
        length, row = fetch(1)
        if length >= start + head:
            _, _, identity, _, workspace, _, occurred, _, recorded, width = unpack(row, start)
            place = start + head + width
            kind = bytes(row[place - width : place])
            start = 0
            yield make(
                (identity, workspace, kinds.get(kind) or kind.decode(), occurred, recorded, bytes(row[place + 4 :]))
            )
        elif length == 0:
            waiting.poll()
            pgconn.consume_input()
        elif length < 0:
            break
    (result,) = connection.wait(fetch_many(pgconn))
    if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(result)


_KINDS = {kind.value.encode(): kind.value for kind in Kind}


@lru_cache(maxsize=32)
def _conditions(filters: tuple[Filter, ...]) -> str:
    """The SQL of a reading's filters: made once, it is asked for with every chunk."""
    return sql.SQL("({})").format(sql.SQL(" or ").join(map(_condition, filters))).as_string(None)


def _condition(item: Filter) -> sql.Composed:
    if len(item.workspace_ids) == 1:
        # so the workspace's index gives the order, and nothing is read that is not sent
        workspaces = sql.SQL("workspace_id = {}::bigint").format(sql.Literal(item.workspace_ids[0]))
    else:
        workspaces = sql.SQL("workspace_id = any({}::bigint[])").format(sql.Literal(list(item.workspace_ids)))
    if item.logs is None:
        return sql.SQL("({} and kind = any({}))").format(workspaces, sql.Literal(sorted(item.kinds)))
    narrowed = [sql.SQL("true")]
    for field, words in ((LOG_TYPE_FIELD, item.logs.types), (LOG_LEVEL_FIELD, item.logs.levels)):
        if words:
            narrowed.append(
                sql.SQL("lower(payload ->> {}) = any({})").format(  # type: ignore[arg-type]
                    sql.Literal(field), sql.Literal(sorted(words))
                )
            )
    return sql.SQL("({} and (kind = any({}) or kind = 'log_service' and case when {} then {} else true end))").format(
        workspaces,
        sql.Literal(sorted(item.kinds - {"log_service"})),
        _READABLE,
        sql.SQL(" and ").join(narrowed),
    )
