"""What people were told, and what is to be told to whom: in the control database, so that a notice is told once.

A look compares and writes in one transaction that no other look is in: two at once tell nothing twice. What is to be told lies
there until it was told, whatever ends the task that tells it. One that ended between telling and writing that down is the one
case in which a receiver hears something again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from logstream.control.tables import SCHEMA, checks, noticed, notices
from logstream.database import database_errors
from logstream.ledger.audiences import Audience, heard, plain
from logstream.ledger.book import Book, any_of
from logstream.ledger.news import Known, News, Notice, Told
from logstream.ledger.records import storable

TAKEN_FOR = timedelta(minutes=5)
"""A task that tells something has so long; after that another may."""

STALE_AFTER = timedelta(days=1)
"""What could not be told for so long is told no more."""

KEPT_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Pending:
    """Something to be told to one audience. `id` stays the same however often it is tried."""

    id: int
    receiver: str
    document: Mapping[str, Any]


class Notices(Book):
    """Keeps what was told, and what is to be told."""

    def note(self, compare: Callable[[Known], News], audiences: Sequence[Audience]) -> int:
        """Look, and put down what is to be told to whom. Returns how many notices that are, the same for two audiences being two.

        `compare` is given what was told last by subject, and looks at the ledger while no other look does.
        """
        with self._writing("writing notices") as connection:
            connection.execute(text(f"lock table {SCHEMA}.noticed in share row exclusive mode"))
            before = {row.subject: Told.from_json(row.told) for row in connection.execute(select(noticed))}
            found = compare(before)
            changed = {subject: told for subject, told in found.told.items() if before.get(subject) != told}
            gone = [*before.keys() - found.told.keys()]
            if gone:
                connection.execute(delete(noticed).where(any_of(noticed.c.subject, gone)))
            if changed:
                row = upsert(noticed)
                connection.execute(
                    row.on_conflict_do_update(index_elements=["subject"], set_={"told": row.excluded.told}),
                    [{"subject": subject, "told": told.as_json()} for subject, told in changed.items()],
                )
            return _add(connection, found.notices, audiences)

    def add(self, found: Sequence[Notice], audiences: Sequence[Audience]) -> int:
        """Put down news that no look finds, for the next `take`."""
        with self._writing("writing notices") as connection:
            return _add(connection, found, audiences)

    def take(self, receivers: Collection[str]) -> dict[str, list[Pending]]:
        """What is to be told to some audiences, by audience and oldest first. It is this task's for `TAKEN_FOR`.

        What is stale, or for audiences that there are no more, is forgotten.
        """
        now = func.clock_timestamp()
        untold = notices.c.told_at.is_(None)
        free = untold & (func.coalesce(notices.c.taken_until, now) <= now)
        with self._writing("reading notices") as connection:
            stale = untold & ((notices.c.noted_at < now - STALE_AFTER) | ~any_of(notices.c.receiver, receivers))
            connection.execute(delete(notices).where(stale | (notices.c.told_at < now - KEPT_FOR)))
            chosen = select(notices.c.id).where(free).with_for_update(skip_locked=True).scalar_subquery()
            taken = (
                update(notices)
                .where(notices.c.id.in_(chosen))
                .values(taken_until=now + TAKEN_FOR, attempts=notices.c.attempts + 1)
                .returning(notices.c.id, notices.c.receiver, notices.c.document)
            )
            rows = sorted(connection.execute(taken), key=lambda row: row.id)
        found: dict[str, list[Pending]] = {}
        for row in rows:
            found.setdefault(row.receiver, []).append(Pending(row.id, row.receiver, row.document))
        return found

    def tell_done(self, notice_id: int) -> None:
        """Put down that something was told."""
        done = update(notices).where(notices.c.id == notice_id).values(told_at=func.clock_timestamp(), error=None)
        with self._writing("writing notices") as connection:
            connection.execute(done)

    def tell_later(self, notice_ids: Collection[int], error: str) -> None:
        """Give back what could not be told: the next look tries it again."""
        again = update(notices).where(any_of(notices.c.id, notice_ids)).values(taken_until=None, error=error)
        with self._writing("writing notices") as connection:
            connection.execute(again)

    def failed_checks(self) -> dict[str, str]:
        """Why the last daily check of some destinations failed."""
        failed = select(checks.c.destination, checks.c.error).where(checks.c.error.is_not(None))
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return {row.destination: row.error for row in connection.execute(failed)}

    def note_check(self, destination: str, error: str | None) -> None:
        """Put down how the check of one destination ended that a person asked for."""
        row = {"destination": destination, "error": error and storable(error), "checked_at": func.clock_timestamp()}
        statement = upsert(checks).values(row)
        with self._writing("writing the ledger") as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["destination"], set_=row))

    def note_checks(self, results: Mapping[str, str | None]) -> None:
        """Put down how the check of every destination ended: the reason of one that failed. Others are forgotten."""
        with self._writing("writing the ledger") as connection:
            # two at once would each insert what the other has
            connection.execute(text(f"lock table {SCHEMA}.checks in share row exclusive mode"))
            connection.execute(delete(checks))
            if results:
                rows = [
                    {"destination": name, "error": error and storable(error)} for name, error in sorted(results.items())
                ]
                connection.execute(insert(checks), rows)


def _add(connection: Connection, found: Sequence[Notice], audiences: Sequence[Audience]) -> int:
    rows = [
        {"receiver": audience.key, "document": plain(notice)}
        for audience in audiences
        for notice in heard(audience, found)
    ]
    if rows:
        connection.execute(insert(notices), rows)
    return len(rows)
