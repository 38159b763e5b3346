"""Counting a window's events by workspace and kind, log events also by the words that select them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta

import psycopg
from psycopg import sql

from logstream.events import EPOCH, Cursor
from logstream.shapes import log_fields, log_word
from logstream.store.base import KindCount
from logstream.store.logs import FIELDS
from logstream.store.reading import PAGE_BYTES, in_window, of_workspaces, pages, run, start_copy
from logstream.store.rows import Rows, kind_in
from logstream.window import Window

# json's -> raises on a \u0000 or a lone surrogate anywhere in the text, and one such event must not stop a window.
_READABLE = "position(chr(92) || 'u' in e.payload::text) = 0"


def count(
    connection: psycopg.Connection, rows: Rows, window: Window, *, by_log_type: bool, after: Cursor | None = None,
    workspace_ids: Collection[int] | None = None,
) -> Iterator[KindCount]:  # fmt: skip
    """Count. SQL groups; what a kind is and what a log event's words are is decided here, as when reading.

    With `after` only rows that come after that place, with `workspace_ids` only those of some workspaces.
    """
    place = in_window(window)
    if after is not None:  # rows without an id come before all others
        moment = EPOCH + timedelta(microseconds=after.recorded_us)
        place = sql.SQL("{} and e.id is not null and (e.recorded_at, e.id) > ({}, {})").format(
            place, sql.Literal(moment), sql.Literal(after.id)
        )
    if workspace_ids is not None:
        place = sql.SQL("{} and {}").format(place, of_workspaces(rows, list(workspace_ids)))
    if not by_log_type:
        yield from _grouped(connection, rows, place, rows.plain_kind, ("null", "null"), "true")
        return
    is_log = f"{rows.kind} = 'log_service'"
    if not rows.is_json:
        yield from _grouped(connection, rows, place, rows.kind, ("null", "null"), f"not ({is_log})")
        yield from _looked_into(connection, rows, place, is_log)
        return
    # the case sees to it that only what can be is looked into
    log_type, level = (f"case when {is_log} and {_READABLE} then (e.payload -> '{name}')::text end" for name in FIELDS)
    yield from _grouped(
        connection,
        rows,
        place,
        rows.kind,
        (log_type, level),
        f"not (case when {is_log} then not {_READABLE} else false end)",
    )
    yield from _looked_into(connection, rows, place, f"case when {is_log} then not {_READABLE} else false end")


def _grouped(
    connection: psycopg.Connection, rows: Rows, place: sql.Composed, kind: str, fields: tuple[str, str], condition: str
) -> Iterator[KindCount]:
    sent = rows.relation.sent(kind)
    query = sql.SQL(
        f"select {rows.workspace}, {sent}, {fields[0]}, {fields[1]}, count(*),"  # noqa: S608 # type: ignore[arg-type]
        f" coalesce(sum(pg_column_size(e.payload)), 0)::bigint from {rows.source}"
        f" where {{place}} and {condition} group by 1, 2, 3, 4"
    ).format(place=place)
    for workspace_id, text, log_type, level, events, size in run(connection, query):
        known, flaw = kind_in(rows.relation.received(text) or "")
        yield KindCount(workspace_id, known, log_word(log_type), log_word(level), events, size, flaw is None)


def _looked_into(
    connection: psycopg.Connection, rows: Rows, place: sql.Composed, condition: str
) -> Iterator[KindCount]:
    """Count log events that SQL may not look into, one by one."""
    payload = rows.relation.sent(rows.payload_text)
    query = sql.SQL(
        f"copy (select 0::bigint, {rows.workspace}, e.recorded_at, e.recorded_at, 'log_service'::text, {payload}"  # noqa: S608
        f" from {rows.source} where {{place}} and {condition}) to stdout (format binary)"
    ).format(place=place)
    start_copy(connection, query)
    for page in pages(connection, rows, PAGE_BYTES):
        for event in page.events:
            words = log_fields(event.payload)
            yield KindCount(event.workspace_id, event.kind, *words, 1, len(event.payload))
        for event, _ in page.bad:
            yield KindCount(event.workspace_id, event.kind, None, None, 1, len(event.payload), sound=False)
