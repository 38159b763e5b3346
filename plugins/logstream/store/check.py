"""`logstream store check`: is the log store what the contract says? Columns, types, NULLs, indexes, who closes windows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from logstream.database import connect, database_errors
from logstream.database import describe as named
from logstream.errors import DatabaseError
from logstream.settings.models import LogStoreSettings
from logstream.steps import Step
from logstream.store.catalogue import Relation, describe
from logstream.store.contract import EVENTS, WORKSPACES, column_steps, require
from logstream.store.lineage import Sources, sources
from logstream.store.reading import PAGE_BYTES, pages
from logstream.store.rows import Rows
from logstream.units import counted

OLDEST_VERSION = 130000
SAMPLE = 10_000
"""So many of the newest rows are looked into."""

SAMPLE_MS = 20_000
"""So long may a look at rows take: without an index it may have to read the whole table."""


def require_log_store(dsn: str, settings: LogStoreSettings) -> str | None:
    """Raise `DatabaseError` if the log store's tables or views are there and cannot be read for sure.

    What can be known without reading a row is looked at. Returns why nothing could be: the database is away, or our own tables
    are not made yet.
    """
    try:
        connection = connect(dsn, application="logstream check")
    except DatabaseError as error:
        return str(error)
    with connection, database_errors("looking at the log store"):
        for what, name, wanted in (
            ("events", settings.events, EVENTS),
            ("workspaces", settings.workspaces, WORKSPACES),
        ):
            try:
                relation = describe(connection, name)
            except DatabaseError as error:
                if name != what:
                    raise
                return str(error)
            require(what, relation, wanted)
        sources(connection, settings.events, settings.written_tables)
    return None


def check_store(dsn: str, settings: LogStoreSettings) -> Iterator[Step]:
    """Look at everything, step by step. Raises `DatabaseError` if the database cannot be reached."""
    with connect(dsn, application="logstream check") as connection, database_errors("looking at the log store"):
        yield from _server(connection, dsn)
        fine = True
        relations: list[Relation] = []
        for what, name, wanted in (
            ("events", settings.events, EVENTS),
            ("workspaces", settings.workspaces, WORKSPACES),
        ):
            try:
                relation = describe(connection, name)
            except DatabaseError as error:
                yield Step(f"{what} are there", False, str(error), "Make them, or name them in `log_store`.")
                fine = False
                continue
            relations.append(relation)
            for step in column_steps(what, relation, wanted):
                yield step
                fine = fine and step.ok
            step = _may_read(connection, what, relation)
            yield step
            fine = fine and step.ok
        if fine:
            yield from _of_events(connection, relations[0], settings)


def _of_events(connection: psycopg.Connection, relation: Relation, settings: LogStoreSettings) -> Iterator[Step]:
    rows = Rows(relation)
    yield from _not_null(relation)
    yield from _times(connection, rows)
    yield from _newest_rows(connection, rows)
    yield from _indexes(connection, rows)
    try:
        found = sources(connection, settings.events, settings.written_tables)
    except DatabaseError as error:
        yield Step("it is known whose writers close windows", False, str(error), "")
        return
    others = f"; {', '.join(found.others)} are read too, and not waited for" if found.others else ""
    yield Step("it is known whose writers close windows", True, ", ".join(found.tables) + others)
    yield from _stamps(connection, found)


def _server(connection: psycopg.Connection, dsn: str) -> Iterator[Step]:
    version = connection.info.server_version
    yield Step(
        "PostgreSQL 13 or newer", version >= OLDEST_VERSION, f"{version // 10000}.{version % 10000}, {named(dsn)}",
        "Upgrade it.",
    )  # fmt: skip
    row = connection.execute("select pg_is_in_recovery()").fetchone()
    yield Step(
        "it is a primary", row == (False,), "", "A standby shows no locks of its primary's writers: name the primary."
    )


def _may_read(connection: psycopg.Connection, what: str, relation: Relation) -> Step:
    query = "select has_table_privilege({0}::oid, 'select'), row_security_active({0}::oid)"
    row = connection.execute(sql.SQL(query).format(sql.Literal(relation.oid))).fetchone()
    may, hidden = row or (False, False)
    if hidden:
        remedy = "Give the user of this DSN BYPASSRLS, or a policy that shows it every row."
        return Step(
            f"{what} may be read, all rows of them", False, "row-level security is active for this user", remedy
        )
    remedy = f"grant select on {relation.name} to the user of this DSN."
    return Step(f"{what} may be read, all rows of them", bool(may), "", remedy)


def _not_null(relation: Relation) -> Iterator[Step]:
    if relation.kind == "v":
        return  # of a view's columns it is never known
    loose = [name for name in EVENTS if not relation.columns[name].not_null]
    remedy = "".join(f"alter table {relation.name} alter {name} set not null; " for name in loose).strip()
    yield Step(
        "events' columns are NOT NULL", True, ", ".join(loose) and f"not {', '.join(loose)}", remedy, bool(loose)
    )


def _times(connection: psycopg.Connection, rows: Rows) -> Iterator[Step]:
    """Rows in no window, or in one that is long to come."""
    conditions = {
        "every event has a recorded_at": "e.recorded_at is null or e.recorded_at in ('infinity', '-infinity')",
        "no recorded_at is in the future": "e.recorded_at > clock_timestamp() + interval '1 day' and e.recorded_at < 'infinity'",
    }
    for title, condition in conditions.items():
        try:
            with _bounded(connection):
                found = connection.execute(
                    sql.SQL(f"select e.id from {rows.source} where {condition} limit 1")  # noqa: S608
                ).fetchone()
        except psycopg.errors.QueryCanceled:
            yield Step(
                title, True, "not known: it took too long to look", "Make an index on (recorded_at, id).", advice=True
            )
            continue
        remedy = "Such rows are in no window, or in one to come: the database must stamp rows when they are inserted."
        yield Step(title, found is None, f"event {found[0]}" if found else "", remedy)


def _newest_rows(connection: psycopg.Connection, rows: Rows) -> Iterator[Step]:
    """What would be rejected of the newest rows, and ids that are not unique among them."""
    newest = (
        f"select * from {rows.source} where e.recorded_at is not null and e.recorded_at < 'infinity'"  # noqa: S608
        f" order by e.recorded_at desc limit {SAMPLE}"
    )
    query = f"copy (select {rows.columns} from ({newest}) as e where e.id is not null) to stdout (format binary)"  # noqa: S608
    nameless = f"select count(*) from ({newest}) as e where e.id is null"  # noqa: S608
    bad: list[tuple[int, str]] = []
    ids: Counter[int] = Counter()
    try:
        with _bounded(connection):
            (without,) = connection.execute(sql.SQL(nameless)).fetchone() or (0,)
            with connection.cursor() as cursor, cursor.copy(sql.SQL(query)):
                for page in pages(connection, rows, PAGE_BYTES):
                    bad += [(event.id, reason) for event, reason in page.bad]
                    ids.update([event.id for event in page.events])
    except psycopg.errors.QueryCanceled:
        detail = "not known: it took too long to look"
        yield Step("the newest rows are events", True, detail, "Make an index on (recorded_at, id).", advice=True)
        return
    seen = sum(ids.values()) + len(bad) + without
    words = f"of {seen:,}" if seen else "there are none yet"
    if without or bad:
        example = f"event {bad[0][0]}: {bad[0][1]}" if bad else "some have no id"
        words = f"{len(bad) + without:,} of {seen:,} are not, for example {example}"
    yield Step("the newest rows are events", not (bad or without), words, "Such rows are rejected, as dead letters.")
    twice = next((number for number, count in ids.most_common(1) if count > 1), None)
    remedy = "Rows are told apart by `id`: it must be unique over the whole table or view."
    yield Step(
        "their ids are unique",
        twice is None,
        f"{twice} is there {counted(ids[twice], 'time')}" if twice is not None else "",
        remedy,
    )


_PLANS = {
    "an index has the order of windows": ("(recorded_at, id)", ""),
    "an index has it for each workspace": ("(workspace_id, recorded_at, id)", "e.workspace_id = 1 and "),
}


def _indexes(connection: psycopg.Connection, rows: Rows) -> Iterator[Step]:
    """Ask the planner: with sorting forbidden, a plan that sorts all the same has no index to go by."""
    for title, (columns, condition) in _PLANS.items():
        query = (
            f"explain (format json) select e.id from {rows.source} where {condition}"  # noqa: S608
            # of no certain time: the planner would leave out the partitions of others, and have no table to look at
            "e.recorded_at >= now() - interval '1 day' and e.recorded_at < now()"
            " and (e.recorded_at, e.id) > (now() - interval '1 day', 1) order by e.recorded_at, e.id limit 10"
        )
        with _bounded(connection):
            for name in ("enable_sort", "enable_incremental_sort", "enable_seqscan", "enable_bitmapscan"):
                connection.execute(sql.SQL("set local {} = off").format(sql.Identifier(name)))
            (plan,) = connection.execute(sql.SQL(query)).fetchone() or ([],)
        text = json.dumps(plan)
        ordered = '"Sort"' not in text and '"Incremental Sort"' not in text and '"Seq Scan"' not in text
        remedy = f"create index concurrently on the table that is written to, on its {columns}: without it every chunk is sorted."
        yield Step(title, True, columns if ordered else "", "" if ordered else remedy, advice=not ordered)


def _stamps(connection: psycopg.Connection, found: Sources) -> Iterator[Step]:
    """Whether rows are stamped at insertion: a default of `now()` stamps them with the beginning of their transaction."""
    for table in found.tables:
        row = connection.execute(
            sql.SQL(
                "select pg_get_expr(d.adbin, d.adrelid) from pg_attribute a"
                " left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum"
                " where a.attrelid = {}::regclass and a.attname = 'recorded_at' and not a.attisdropped"
            ).format(sql.Literal(table))
        ).fetchone()
        if row is None:
            continue  # a view gives the column its name
        default = str(row[0] or "").replace('"', "")  # quote_all_identifiers
        title = f"{table}.recorded_at is stamped at insertion"
        remedy = f"alter table {table} alter recorded_at set default clock_timestamp();"
        if "clock_timestamp()" in default:
            yield Step(title, True, default)
        elif default:
            yield Step(title, False, f"its default is {default}, an earlier time", remedy)
        else:
            detail = "it has no default"
            yield Step(title, True, detail, f"Writers must set it to clock_timestamp(), or: {remedy}", advice=True)


@contextmanager
def _bounded(connection: psycopg.Connection) -> Iterator[None]:
    """A transaction that reads only, changes nothing of the session, and ends in time."""
    with connection.transaction(force_rollback=True):
        connection.execute(f"set transaction read only; set local statement_timeout = {SAMPLE_MS}")
        yield
