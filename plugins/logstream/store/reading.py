"""Reading a window by COPY: the statements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache

import psycopg
from psycopg import sql

from logstream.database import without_limits
from logstream.events import EPOCH, NO_WORKSPACE, Cursor
from logstream.store.base import Filter
from logstream.store.logs import FIELDS, may_hold
from logstream.store.rows import KNOWN_KINDS, LOWEST, NO_ID, Rows, is_nameless
from logstream.window import Window

PAGE_EVENTS = 4_096
PAGE_BYTES = 4 * 1024 * 1024
"""How much a page holds: so much that what is done for each page costs little, and so little that a few of them do."""


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


def run(connection: psycopg.Connection, query: sql.Composable) -> psycopg.Cursor:
    """Run one reading statement under the settings that reading wants, for this statement alone; return its answer."""
    cursor = connection.execute(sql.SQL(settings_of(connection)) + query, prepare=False)
    while cursor.nextset():
        pass
    return cursor


def settings_of(connection: psycopg.Connection) -> str:
    """The settings that reading wants, as SQL for one transaction."""
    # one message to the server, and one transaction: nothing of it stays with the session. Reading is many short statements:
    # each would pay for compiling and for starting workers, which would be the platform's to miss.
    return f"{without_limits(connection)}set local jit = off; set local max_parallel_workers_per_gather = 0; "
