"""Reading a window by COPY: the statement, and the rows of its answer."""

from __future__ import annotations

import select
import struct
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import lru_cache

import psycopg
from psycopg import sql
from psycopg.generators import fetch_many

from logstream.database import without_limits
from logstream.events import EPOCH, NO_WORKSPACE, Cursor, Event, Kind
from logstream.store.base import BadRow, Filter, Page
from logstream.store.logs import FIELDS, may_hold
from logstream.store.rows import KNOWN_KINDS, LOWEST, NO_ID, Rows, is_nameless, kind_in, not_json
from logstream.window import Window

PAGE_EVENTS = 256
PAGE_BYTES = 512 * 1024
"""How much a page holds: so little that it is still in the processor's cache when it is packaged."""


def in_window(window: Window) -> sql.Composed:
    """The condition that a row is in a window."""
    return sql.SQL("e.recorded_at >= {} and e.recorded_at < {}").format(
        sql.Literal(window.start), sql.Literal(window.end)
    )


def read_query(rows: Rows, window: Window, filters: Sequence[Filter], after: Cursor | None, limit: int) -> sql.Composed:
    """The statement that reads the next rows that have an id, in the order of `(recorded_at, id)`."""
    conditions: list[sql.Composable] = [in_window(window)]
    if rows.ids_may_be_null:
        conditions.append(sql.SQL("e.id is not null"))
    if after is not None and not is_nameless(after.id):
        moment = EPOCH + timedelta(microseconds=after.recorded_us)
        conditions.append(
            sql.SQL("(e.recorded_at, e.id) > ({}, {})").format(sql.Literal(moment), sql.Literal(after.id))
        )
    conditions.append(sql.SQL(_conditions(rows, tuple(filters))))
    return sql.SQL("copy (select {} from {} where {} order by {} limit {}) to stdout (format binary)").format(
        sql.SQL(rows.columns),
        sql.SQL(rows.source),
        sql.SQL(" and ").join(conditions),
        sql.SQL(rows.order),
        sql.Literal(limit),
    )


def nameless_query(
    rows: Rows, window: Window, filters: Sequence[Filter], after: Cursor | None, limit: int
) -> sql.Composed:
    """The statement that reads the rows without an id. They come first, at the window's start, under numbers of their own.

    Their payloads are left where they are: rows that cannot be named in an export are rejected, whatever is in them.
    """
    number = sql.SQL("'{}'::bigint + row_number() over (order by e.recorded_at, e.workspace_id, e.kind::text)").format(
        sql.Literal(LOWEST)
    )
    return sql.SQL(
        "copy (select {number}, {workspace}, {start}::timestamptz, {start}::timestamptz,"
        " {kind}, '' from {source}"
        " where {window} and e.id is null and {filters} order by 1 offset {offset} limit {limit}"
        ") to stdout (format binary)"
    ).format(
        number=number,
        workspace=sql.SQL(rows.workspace),
        start=sql.Literal(window.start),
        kind=sql.SQL(rows.relation.sent(f"chr(1) || '{NO_ID}' || chr(1) || coalesce(e.kind::text, '')")),
        source=sql.SQL(rows.source),
        window=in_window(window),
        filters=sql.SQL(_conditions(rows, tuple(filters))),
        offset=sql.Literal(0 if after is None else after.id - LOWEST),
        limit=sql.Literal(limit),
    )


def by_id_query(rows: Rows, ids: Sequence[int]) -> sql.Composed:
    """The statement that reads the rows with some ids."""
    return sql.SQL(
        "copy (select {} from {} where e.id = any({}::bigint[]) and e.recorded_at is not null order by {})"
        " to stdout (format binary)"
    ).format(
        sql.SQL(rows.columns),
        sql.SQL(rows.source),
        sql.Literal(list(ids)),
        sql.SQL(rows.order),
    )


def held_query(rows: Rows, window: Window, ids: Sequence[int]) -> sql.Composed:
    """The statement that finds which ids of some there are in a window."""
    return sql.SQL("select e.id::bigint from {} where e.id = any({}::bigint[]) and {}").format(
        sql.SQL(rows.source), sql.Literal(list(ids)), in_window(window)
    )


@lru_cache(maxsize=32)
def _conditions(rows: Rows, filters: tuple[Filter, ...]) -> str:
    """The SQL of a reading's filters: made once, it is asked for with every chunk."""
    if not filters:
        return "(false)"  # of a delivery all of whose events are lost, nothing is to be read
    return sql.SQL("({})").format(sql.SQL(" or ").join(_condition(rows, item) for item in filters)).as_string(None)


def _condition(rows: Rows, item: Filter) -> sql.Composable:
    conditions = [of_workspaces(rows, item.workspace_ids)]
    others = sorted(set(KNOWN_KINDS) - item.kinds)
    if others:
        # what is of no known kind, NULL included, comes through
        conditions.append(
            sql.SQL("({kind} <> all({others}) or e.kind is null)").format(
                kind=sql.SQL(rows.plain_kind),
                others=sql.Literal(others),
            )
        )
    if item.logs is not None and rows.is_json:
        words = zip(FIELDS, (item.logs.types, item.logs.levels), strict=True)
        narrowed = [may_hold(rows.payload_text, wanted) for _, wanted in words if wanted]
        conditions.append(
            sql.SQL("({kind} <> 'log_service' or {narrowed})").format(
                kind=sql.SQL(rows.kind),
                narrowed=sql.SQL("({})").format(sql.SQL(" and ").join(narrowed)),
            )
        )
    return sql.SQL("({})").format(sql.SQL(" and ").join(conditions))


def of_workspaces(rows: Rows, ids: Sequence[int]) -> sql.Composable:
    """The condition that a row is of some workspaces."""
    if len(ids) == 1 and ids[0] != NO_WORKSPACE:
        # so the workspace's index gives the order, and nothing is read that is not sent
        return sql.SQL("e.workspace_id = {}::bigint").format(sql.Literal(ids[0]))
    some = sql.SQL("e.workspace_id = any({}::bigint[])").format(sql.Literal(list(ids)))
    return sql.SQL("({} or e.workspace_id is null)").format(some) if NO_WORKSPACE in ids else some


_ROW = struct.Struct(">6xq4xq4xq4xqi")
"""The head of a row in COPY's binary format: the number of columns, then (length, value) of four 8-byte ones and the
length of `kind`. What is always the same is passed over."""

_HEADER = 19
"""Bytes before the first row: signature, flags, length of an extension."""


def run(connection: psycopg.Connection, query: sql.Composable) -> psycopg.Cursor:
    """Run one reading statement under the settings that reading wants, for this statement alone; return its answer."""
    cursor = connection.execute(sql.SQL(_settings(connection)) + query, prepare=False)
    while cursor.nextset():
        pass
    return cursor


def _settings(connection: psycopg.Connection) -> str:
    # one message to the server, and one transaction: nothing of it stays with the session. Reading is many short statements:
    # each would pay for compiling and for starting workers, which would be the platform's to miss.
    return f"{without_limits(connection)}set local jit = off; set local max_parallel_workers_per_gather = 0; "


def start_copy(connection: psycopg.Connection, query: sql.Composable) -> None:
    """Begin a COPY, of which `pages` then takes the rows. psycopg has no way to run settings in the same message."""
    text = (sql.SQL(_settings(connection)) + query).as_bytes(connection)
    connection.pgconn.send_query(text)
    result = connection.wait(fetch_many(connection.pgconn))[-1]
    if result.status != psycopg.pq.ExecStatus.COPY_OUT:
        raise psycopg.errors.error_from_result(result)


def pages(connection: psycopg.Connection, rows: Rows, room: int) -> Iterator[Page]:
    """The rows of the COPY that was begun on a connection, a page of at most `PAGE_EVENTS` rows or `room` bytes at a time.

    What psycopg does for each row of any COPY takes several times as long as what has to be done for ours, and here is where
    most of an export's time goes; so rows are taken from libpq itself.
    """
    pgconn = connection.pgconn
    fetch, make, unpack, kinds, head = pgconn.get_copy_data, tuple.__new__, _ROW.unpack_from, _KINDS, _ROW.size
    waiting = select.poll()
    waiting.register(pgconn.socket, select.POLLIN)
    start, size = _HEADER, 0
    events: list[Event] = []
    bad: list[BadRow] = []
    while True:
        length, row = fetch(1)
        if length >= start + head:
            identity, workspace, occurred, recorded, width = unpack(row, start)
            place = start + head + width
            payload = row[place + 4 :].tobytes()
            text = row[place - width : place].tobytes()
            kind = kinds.get(text)
            start = 0
            if kind is not None:
                events.append(make(Event, (identity, workspace, kind, occurred, recorded, payload)))
            else:
                known, reason = kind_in(rows.relation.received(text) or "")
                event = Event(identity, workspace, known, occurred, recorded, payload)
                bad.append((event, reason or ""))
            size += len(payload)
            if size >= room or len(events) + len(bad) >= PAGE_EVENTS:
                yield _page(rows, events, bad, size)
                events, bad, size = [], [], 0
        elif length == 0:
            waiting.poll()
            pgconn.consume_input()
        elif length < 0:
            break
    if events or bad:
        yield _page(rows, events, bad, size)
    result = connection.wait(fetch_many(pgconn))[-1]
    if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(result)


def _page(rows: Rows, events: list[Event], bad: list[BadRow], size: int) -> Page:
    last = max((item[4], item[0]) for item in (*events[-1:], *(event for event, _ in bad[-1:])))
    if not rows.is_json:
        texts, events = events, []
        for event in texts:
            payload, reason = rows.relation.utf8(event.payload)
            reason = reason or not_json(payload)
            if reason is None:
                events.append(event if payload is event.payload else event._replace(payload=payload))
            else:
                bad.append((event, reason))
        bad.sort(key=lambda row: (row[0].recorded_us, row[0].id))
    return Page(events, more=True, bad=bad, last=Cursor(*last), bytes=size)


_KINDS = {kind.value.encode(): kind.value for kind in Kind}
