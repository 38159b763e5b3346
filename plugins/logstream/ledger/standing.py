"""How destinations stand: their failures in a row, who is suspended or held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Row, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from logstream.control.tables import deliveries, destinations
from logstream.database import database_errors
from logstream.ledger.debts import Debts
from logstream.ledger.health import Change, Health, Outcome, judge


class Standing(Debts):
    """Keeps what the rules of `health` say."""

    def destination_names(self) -> set[str]:
        """The destinations that have deliveries, those that the settings no longer have included."""
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return set(connection.scalars(select(deliveries.c.destination).distinct()))

    def health(self) -> dict[str, Health]:
        """How the destinations are that have failed of late."""
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return {row.name: _health(row) for row in connection.execute(select(destinations))}

    def suspended(self) -> dict[str, Health]:
        """The destinations that are suspended."""
        return {name: health for name, health in self.health().items() if health.suspended}

    def note(self, outcomes: Mapping[str, Outcome], suspend_after: int) -> list[Change]:
        """Take note of what became of destinations in a window; return what people should hear of."""
        changes = []
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            now = connection.exec_driver_sql("select clock_timestamp()").scalar_one()
            known = {
                row.name: _health(row)
                for row in connection.execute(select(destinations).order_by(destinations.c.name).with_for_update())
            }
            for name, outcome in sorted(outcomes.items()):
                before = known.get(name, Health())
                after, turn = judge(before, outcome, now, suspend_after)
                if turn:
                    changes.append(Change(name, turn, outcome.error))
                if after == Health():
                    if name in known:
                        connection.execute(delete(destinations).where(destinations.c.name == name))
                elif after != before:
                    row = {"failures": after.failures, "last_window": after.last_window,
                           "suspended_at": after.suspended_at,
                           "error": after.error and after.error.replace("\0", " ")}  # fmt: skip
                    statement = insert(destinations).values(name=name, **row)
                    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))
        if not changes:
            return []
        owed = Counter(item.destination for item in self.owed())
        return [replace(change, owed=owed[change.destination]) for change in changes]

    def suspend(self, destination: str, reason: str) -> None:
        """Hold a destination: nothing is sent to it, what it would have got is owed, until a person resumes it."""
        row = {"suspended_at": func.clock_timestamp(), "error": reason.replace("\0", " "), "held": True}
        statement = insert(destinations).values(name=destination, **row)
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))

    def resume(self, destination: str) -> bool:
        """Forget that a destination failed, so that the next run delivers to it. Returns whether it was suspended."""
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            gone = delete(destinations).where(destinations.c.name == destination).returning(destinations.c.suspended_at)
            row = connection.execute(gone).first()
        return row is not None and row.suspended_at is not None


def _health(row: Row[Any]) -> Health:
    return Health(row.failures, row.last_window, row.suspended_at, row.error, row.held)
