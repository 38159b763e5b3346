"""Which tables feed the log store: those whose writers close windows.

A window is closed when the transactions have ended that wrote to its tables (`closing`). Where the log store is a view, its
tables are found in PostgreSQL's catalogue, through views of views and partitions. What cannot be followed is refused, because a
writer that is not seen would be a row that is lost: functions that may read tables of their own, foreign tables (their writers
hold no lock here) and materialized views (their rows come when they are refreshed, whatever `recorded_at` says).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from logstream.errors import DatabaseError
from logstream.store.catalogue import KINDS, identifier

# Everything below some relations: what views read, and partitions and other children of tables. `child` is true of what is only
# reached as a child. A view's reads are recorded as dependencies of its rule; sequences and indexes are no sources of rows.
_BELOW = """
with recursive below as (
    select c.oid, c.relkind, false as child from pg_class c where c.oid = any(%(roots)s::oid[])
    union
    select next.oid, c.relkind, next.child from below b
    cross join lateral (
        select d.refobjid as oid, false as child from pg_rewrite r
        join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
            and d.refclassid = 'pg_class'::regclass and d.refobjid <> b.oid
        where b.relkind = 'v' and r.ev_class = b.oid and r.ev_type = '1'
        union all
        select i.inhrelid, true from pg_inherits i where i.inhparent = b.oid
    ) next join pg_class c on c.oid = next.oid
    where c.relkind in ('r', 'p', 'v', 'm', 'f')
)
"""

_RELATIONS = (
    _BELOW
    + """
select format('%%I.%%I', n.nspname, c.relname), b.relkind::text, bool_and(b.child)
from below b join pg_class c on c.oid = b.oid join pg_namespace n on n.oid = c.relnamespace
group by 1, 2 order by 1
"""
)

# PostgreSQL's own functions are no dependencies. One that is declared immutable reads no table.
_FUNCTIONS = (
    _BELOW
    + """
select distinct p.oid::regprocedure::text from below b
join pg_rewrite r on r.ev_class = b.oid and b.relkind = 'v'
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
left join pg_operator o on d.refclassid = 'pg_operator'::regclass and o.oid = d.refobjid
join pg_proc p on p.oid = case d.refclassid when 'pg_proc'::regclass then d.refobjid
    when 'pg_operator'::regclass then o.oprcode::oid end
where p.provolatile <> 'i' or p.prokind = 'a' order by 1
"""
)

TABLES = frozenset("rp")
"""Kinds of relation that rows are written to."""

_REMEDY = "name in `log_store.written_tables` the tables that are written to"


@dataclass(frozen=True, slots=True)
class Sources:
    """What feeds a log store. `tables` are those whose writers close windows; `others` are read beside them, and are not watched
    because `written_tables` leaves them out. Names are qualified and quoted."""

    tables: tuple[str, ...]
    others: tuple[str, ...] = ()


def sources(connection: psycopg.Connection, events: str, written: Sequence[str] = ()) -> Sources:
    """The tables that feed `events`, or of these the ones named in `written`.

    Raises `DatabaseError`, with the remedy, for a view whose tables cannot be known.
    """
    found = _relations(connection, [events])
    refused = {"m": "its rows come when it is refreshed, not when they are recorded",
               "f": "its writers are on another server, and hold no lock here"}  # fmt: skip
    for name, kind, _ in (*found, *(_relations(connection, written) if written else ())):
        if kind in refused:
            raise DatabaseError(
                f"no window of {events} can be known closed: {name} is a {KINDS[kind]} ({refused[kind]}); stream from the tables "
                "themselves, or from a view of them"
            )
    tables = tuple(name for name, kind, child in found if kind in TABLES and not child)
    if written:
        named = _named(connection, written)
        return Sources(named, tuple(name for name in tables if name not in named))
    hidden = [name for (name,) in connection.execute(_FUNCTIONS, {"roots": _oids(connection, [events])})]
    if hidden:
        raise DatabaseError(
            f"the tables behind the view {events} cannot be known: it calls {', '.join(hidden[:3])}, "
            f"which may read tables; {_REMEDY}"
        )
    if not tables:
        raise DatabaseError(f"there is no table behind the view {events}; {_REMEDY}")
    return Sources(tables)


def _relations(connection: psycopg.Connection, names: Sequence[str]) -> list[tuple[str, str, bool]]:
    return connection.execute(_RELATIONS, {"roots": _oids(connection, names)}).fetchall()


def _oids(connection: psycopg.Connection, names: Sequence[str]) -> list[int]:
    oids = []
    for name in names:
        quoted = identifier(name).as_string(connection)
        row = connection.execute(sql.SQL("select to_regclass({})::oid").format(sql.Literal(quoted))).fetchone()
        if row is None or row[0] is None:
            raise DatabaseError(f'the log store has no table "{name}" (or it is not on the search path)')
        oids.append(row[0])
    return oids


def _named(connection: psycopg.Connection, written: Sequence[str]) -> tuple[str, ...]:
    rows = connection.execute(
        "select format('%%I.%%I', n.nspname, c.relname), c.relkind::text"
        " from unnest(%(roots)s::oid[]) with ordinality as r(oid, i)"
        " join pg_class c on c.oid = r.oid join pg_namespace n on n.oid = c.relnamespace order by r.i",
        {"roots": _oids(connection, written)},
    ).fetchall()
    for name, kind in rows:
        if kind not in TABLES:
            raise DatabaseError(
                f"{name} of `log_store.written_tables` is a {KINDS.get(kind, kind)}; name the tables that are written to"
            )
    return tuple(name for name, _ in rows)
