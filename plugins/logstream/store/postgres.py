"""The log store in PostgreSQL.

Reading is by COPY in keyset chunks: short statements in `(recorded_at, id)` order, so no transaction is open while
anything is sent, and a reader can go on anywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from queue import Empty, LifoQueue

import psycopg
from psycopg import sql

from logstream.database import connect, database_errors, is_stale
from logstream.datasets import DataSet, of_table
from logstream.events import Cursor, Event
from logstream.settings.models import LogStoreSettings
from logstream.settings.resolution import Workspace
from logstream.store.base import Filter, KindCount, Page
from logstream.store.catalogue import describe
from logstream.store.closing import ClosedWindow
from logstream.store.contract import EVENTS, WORKSPACES, require
from logstream.store.counting import count
from logstream.store.lineage import sources
from logstream.store.reading import (
    PAGE_BYTES,
    by_id_query,
    held_query,
    nameless_query,
    pages,
    read_query,
    run,
    start_copy,
)
from logstream.store.rows import Rows, is_nameless
from logstream.window import Window

_TABLE_NAMES = (
    "select n.nspname::text, c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    " where c.oid = any(%s::text[]::regclass[]) order by 1, 2"
)


class PostgresStore:
    """A log store in PostgreSQL (an `EventStore`). Safe to use from several threads: each call has a connection.

    Before anything is read, its tables are looked up in the catalogue. Every call raises `DatabaseError` for one that is not
    as docs/log-store.md says.
    """

    def __init__(self, dsn: str, settings: LogStoreSettings | None = None) -> None:
        self._dsn = dsn
        self._settings = settings or LogStoreSettings()
        self._idle: LifoQueue[psycopg.Connection] = LifoQueue()
        self._lock = threading.Lock()
        self._rows: Rows | None = None

    def closed_window(
        self, window: Window, tables: Sequence[str] | None = None
    ) -> tuple[ClosedWindow, psycopg.Connection]:
        """A watch over a window's writers, and the connection it looks through, the caller's to close.

        They are those of `tables`, else of the tables that feed the log store (`lineage`): looked up anew each time, as a view
        may have been replaced. Raises `DatabaseError` if these cannot be known.
        """
        connection = connect(self._dsn, application="logstream window")
        try:
            if tables is not None:
                return ClosedWindow(connection, window, tables), connection
            with database_errors("looking for the tables of the log store"):
                digits = self._described(connection).relation.columns["recorded_at"].precision
                tables = sources(connection, self._settings.events, self._settings.written_tables).tables
            return ClosedWindow(connection, window, tables, digits=digits), connection
        except BaseException:
            connection.close()
            raise

    def data_sets(self) -> list[DataSet]:
        """The tables that feed the log store, as lineage tools know them."""
        with self._connection() as connection, database_errors("looking for the tables of the log store"):
            found = sources(connection, self._settings.events, self._settings.written_tables)
            rows = connection.execute(_TABLE_NAMES, [[*found.tables, *found.others]]).fetchall()
            at = connection.info
            return [of_table(at.host or at.hostaddr, at.port, at.dbname, schema, table) for schema, table in rows]

    def now(self) -> datetime:
        """The database's clock."""
        with self._connection() as connection, database_errors("reading the clock"):
            row = connection.execute("select clock_timestamp()").fetchone()
        assert row is not None  # noqa: S101
        return row[0]  # type: ignore[no-any-return]

    def workspaces(self) -> list[Workspace]:
        """All workspaces, by id; each once."""
        with self._connection() as connection, database_errors("reading the workspaces"):
            relation = describe(connection, self._settings.workspaces)
            require("workspaces", relation, WORKSPACES)
            texts = ("external_id::text", "name::text", "coalesce(role::text, 'customer')")
            query = sql.SQL("select id::bigint, {} from {} where id is not null order by 1").format(
                sql.SQL(", ".join(map(relation.sent, texts))), sql.SQL(relation.name)
            )
            found = {number: map(relation.received, words) for number, *words in run(connection, query)}
            return [Workspace(number, partner, name, role or "") for number, (partner, name, role) in found.items()]

    def newest(self, kind: str, workspace_id: int | None, max_bytes: int) -> Event | None:
        """The newest event of a kind within the last day, of one workspace if asked, and not too large."""
        with self._connection() as connection, database_errors("reading the newest event"):
            rows = self._described(connection)
            query = sql.SQL(
                "select e.id::bigint from {source} where e.id is not null"
                " and e.recorded_at > clock_timestamp() - interval '1 day' and {kinds} = {kind}"
                " and ({workspace} is null or e.workspace_id = {workspace}) and octet_length({payload}) <= {size}"
                " order by e.recorded_at desc limit 1"
            ).format(
                payload=sql.SQL(rows.payload_text),
                source=sql.SQL(rows.source),
                kinds=sql.SQL(rows.plain_kind),
                kind=sql.Literal(kind),
                workspace=sql.SQL("{}::bigint").format(sql.Literal(workspace_id)),
                size=sql.Literal(max_bytes),
            )
            row = run(connection, query).fetchone()
        return next(iter(self.events([row[0]]).events), None) if row else None

    def count(
        self, window: Window, *, by_log_type: bool, after: Cursor | None = None,
        workspace_ids: Collection[int] | None = None,
    ) -> list[KindCount]:  # fmt: skip
        """Count the window's events by workspace and kind (log events also by type and level if asked).

        With `after` only those after that place, with `workspace_ids` only those of some workspaces.
        """
        with self._connection() as connection, database_errors("counting the window's events"):
            rows = self._described(connection)
            return list(
                count(connection, rows, window, by_log_type=by_log_type, after=after, workspace_ids=workspace_ids)
            )

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
        read = size = 0
        room = min(PAGE_BYTES, max_bytes)
        with self._connection() as connection, database_errors("reading the window's events"):
            rows = self._described(connection)
            if rows.ids_may_be_null and (after is None or is_nameless(after.id)):
                for page in self._copied(
                    connection, rows, nameless_query(rows, window, filters, after, max_events), room
                ):
                    read += len(page.bad)
                    yield page
            if read < max_events:
                query = read_query(rows, window, filters, after, max_events - read)
                for page in self._copied(connection, rows, query, room):
                    read += len(page.events) + len(page.bad)
                    size += page.bytes
                    yield page
                    if size >= max_bytes and read < max_events:
                        # the rest of the answer is not wanted; the connection is closed over it
                        return
        yield Page([], more=read == max_events)

    def events(self, ids: Sequence[int]) -> Page:
        """The events with these ids, in `(recorded_at, id)` order; those that are gone are left out."""
        with self._connection() as connection, database_errors("reading events"):
            rows = self._described(connection)
            found = list(self._copied(connection, rows, by_id_query(rows, ids), PAGE_BYTES))
        return Page(
            [event for page in found for event in page.events],
            more=False,
            bad=[row for page in found for row in page.bad],
        )

    def gone(self, window: Window, ids: Collection[int]) -> set[int]:
        """Which of the events of a window with these ids are no longer there.

        Rows that have no id cannot be told from one another: they count as being there.
        """
        asked = sorted(number for number in ids if not is_nameless(number))
        held: set[int] = set()
        with self._connection() as connection, database_errors("looking for events"):
            rows = self._described(connection)
            for start in range(0, len(asked), 10_000):
                query = held_query(rows, window, asked[start : start + 10_000])
                held.update(number for (number,) in run(connection, query))
        return set(asked) - held

    @staticmethod
    def _copied(connection: psycopg.Connection, rows: Rows, query: sql.Composed, room: int) -> Iterator[Page]:
        start_copy(connection, query)
        yield from pages(connection, rows, room)

    def _described(self, connection: psycopg.Connection) -> Rows:
        """The SQL of the events' table as it is: looked up once."""
        with self._lock:
            if self._rows is None:
                relation = describe(connection, self._settings.events)
                require("events", relation, EVENTS)
                self._rows = Rows(relation)
            return self._rows

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        connection = self._kept() or connect(self._dsn, application="logstream reader")
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            self._idle.put(connection)
        else:  # an answer was left unread
            connection.close()

    def _kept(self) -> psycopg.Connection | None:
        """An idle connection that is still good."""
        while True:
            try:
                connection = self._idle.get_nowait()
            except Empty:
                return None
            if not is_stale(connection):
                return connection
            connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return
