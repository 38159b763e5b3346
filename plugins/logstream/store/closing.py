"""When a window is closed: no transaction that could still add a row to it is running.

`recorded_at` is stamped at insertion (`clock_timestamp()`), and an INSERT or COPY holds a ROW EXCLUSIVE lock on the
table from before it stamps its first row until its transaction ends. So once the database's clock has passed the end
of the window, note every transaction that holds such a lock; when all of those have ended, nothing can be added to the
window any more. No safety lag to guess, no privilege needed; readers, and writers of other tables, delay nothing.

Which modes count: ROW EXCLUSIVE itself (PostgreSQL records it beside any stronger mode the transaction also holds), and
SHARE ROW EXCLUSIVE, EXCLUSIVE, ACCESS EXCLUSIVE, which rewriting commands take. Not SHARE UPDATE EXCLUSIVE and SHARE:
VACUUM, ANALYZE and CREATE INDEX hold those for hours and add no row.

The one subtlety is two-phase commit. PREPARE TRANSACTION hands a transaction's locks to a record with another name, so a
noted transaction can vanish without having ended. `Watch` follows it: see `observe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psycopg

from logstream.database import database_errors
from logstream.errors import DatabaseError
from logstream.window import Window


@dataclass(frozen=True, slots=True)
class Writer:
    """A transaction that holds a writer's lock. `prepared`: it waits for COMMIT PREPARED and has no process."""

    key: str
    prepared: bool
    pid: int | None = None
    application: str | None = None
    since: datetime | None = None

    def __str__(self) -> str:
        if self.prepared:
            return f"prepared transaction {self.key.rpartition('/')[2]} (COMMIT or ROLLBACK PREPARED it)"
        since = f", in a transaction since {self.since:%H:%M:%S}" if self.since else ""
        return f"process {self.pid} ({self.application or 'unnamed'}{since})"


@dataclass(slots=True)
class Watch:
    """Follows the writers that were running when a window's end had passed."""

    waiting: dict[str, Writer] = field(default_factory=dict)
    _prepared_before: set[str] = field(default_factory=set)
    _started: bool = False

    def observe(self, writers: Sequence[Writer]) -> bool:
        """Take one look at the locks; return whether the window is closed.

        The first look notes everyone. Later looks strike out those that are gone. One that is gone may have been
        prepared since: every prepared transaction that was not there at the look before is then waited for as well.
        That may wait for one that never wrote to the window, never the other way round.
        """
        now = {writer.key: writer for writer in writers}
        prepared = {key for key, writer in now.items() if writer.prepared}
        if not self._started:
            self._started = True
            self.waiting = now
        else:
            gone = [writer for key, writer in self.waiting.items() if key not in now]
            if any(not writer.prepared for writer in gone):
                for key in prepared - self._prepared_before:
                    self.waiting[key] = now[key]
            self.waiting = {key: now[key] for key in self.waiting if key in now}
        self._prepared_before = prepared
        return not self.waiting


# Partitions inherit; a lock on any of them, or on the parent, is a writer's.
WRITERS = """
with recursive tables as (
    select c.oid from pg_class c where c.oid = any(%(tables)s::regclass[]::oid[])
    union
    select i.inhrelid from pg_inherits i join tables t on i.inhparent = t.oid
)
select l.virtualtransaction as key,
       l.pid is null as prepared, l.pid, a.application_name, a.xact_start
from (
    select distinct virtualtransaction, pid from pg_locks
    where locktype = 'relation' and granted
      and mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
      and database = (select oid from pg_database where datname = current_database())
      and relation in (select oid from tables)
      and pid is distinct from pg_backend_pid()
) l left join pg_stat_activity a on a.pid = l.pid
"""
PAST = "select clock_timestamp() >= %(end)s"
STANDBY = "select pg_is_in_recovery()"


def refuse_standby(in_recovery: bool) -> None:
    """Raise `DatabaseError` on a standby: it shows no locks of the writers on its primary."""
    if in_recovery:
        raise DatabaseError(
            "the log store is a standby (pg_is_in_recovery): writers' locks are not visible there, so no window can "
            "be known closed; name the primary"
        )


def writer_of(row: Sequence[object]) -> Writer:
    """A `Writer` from a row of `WRITERS`."""
    return Writer(*row)  # type: ignore[arg-type]


class ClosedWindow:
    """Asks a database, look by look, whether a window is closed. `tables` are those whose writers count.

    `digits` are those of a second that `recorded_at` keeps. With fewer than six a row is stamped up to half a unit early, so
    it may enter a window that has just ended: the database's clock must pass `until`, a whole unit later.
    """

    def __init__(
        self, connection: psycopg.Connection, window: Window, tables: Sequence[str], *, digits: int = 6
    ) -> None:
        self._connection, self.tables = connection, list(tables)
        self.until = window.end + (timedelta(microseconds=10 ** (6 - digits)) if digits < 6 else timedelta())
        self.watch = Watch()
        self.past = False

    @property
    def waiting(self) -> list[Writer]:
        """The writers still waited for."""
        return list(self.watch.waiting.values())

    def look(self) -> bool:
        """Take one look; return whether the window is closed. Each look is a few statements of their own."""
        with database_errors("looking for writers of the log store"):
            if not self.past:
                refuse_standby(bool(self._one(STANDBY)))
                # the clock first, the locks after it: a writer that stamps before the end already holds its lock
                self.past = bool(self._one(PAST, end=self.until))
            if not self.past:
                return False
            rows = self._connection.execute(WRITERS, {"tables": self.tables}).fetchall()
        return self.watch.observe([writer_of(row) for row in rows])

    def _one(self, query: str, **parameters: object) -> object:
        row = self._connection.execute(query, parameters).fetchone()
        assert row is not None  # noqa: S101 - these queries always give one row
        return row[0]
