"""Who writes to the log store: transactions that commit at once, that stay open over windows, and prepared ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import psycopg

from tests.simulation.moments import START
from tests.simulation.script import Row

INSERT = (
    "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload) values (%s, %s, %s, %s, %s, %s)"
)


class Writers:
    """The platform's transactions in one world."""

    def __init__(self, dsn: str, world: str) -> None:
        self._dsn, self._world = dsn, world
        self._connection = psycopg.connect(dsn, autocommit=True, application_name="writer")
        self._open: dict[str, tuple[psycopg.Connection | None, Sequence[Row]]] = {}

    def write(self, rows: Sequence[Row], writer: str = "", *, prepared: bool = False) -> None:
        """Insert rows: committed at once, or, of a named writer, in a transaction that stays open or is prepared."""
        if not writer:
            _insert(self._connection, rows)
        elif prepared:
            with psycopg.connect(self._dsn, autocommit=True, application_name="writer") as connection:
                connection.execute("begin")
                _insert(connection, rows)
                connection.execute(f"prepare transaction '{self._world}-{writer}'")
            self._open[writer] = None, rows
        else:
            connection = psycopg.connect(self._dsn, autocommit=True, application_name="writer")
            connection.execute("begin")
            _insert(connection, rows)
            self._open[writer] = connection, rows

    def settle(self, writer: str, *, commits: bool = True) -> Sequence[Row]:
        """End a writer's transaction, if it is open; return the rows that it committed."""
        if writer not in self._open:
            return ()
        connection, rows = self._open.pop(writer)
        verb = "commit" if commits else "rollback"
        if connection is None:
            self._connection.execute(f"{verb} prepared '{self._world}-{writer}'")
        else:
            connection.execute(verb)
            connection.close()
        return rows if commits else ()

    def settle_all(self) -> list[Row]:
        """Commit all that is open."""
        return [row for writer in list(self._open) for row in self.settle(writer)]

    def close(self) -> None:
        """Leave nothing behind."""
        self.settle_all()
        self._connection.close()


def _insert(connection: psycopg.Connection, rows: Sequence[Row]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            INSERT,
            [(row.id, row.workspace, row.kind, (moment := START + timedelta(seconds=row.second)) - timedelta(seconds=row.age),
              moment, row.payload) for row in rows],
        )  # fmt: skip
