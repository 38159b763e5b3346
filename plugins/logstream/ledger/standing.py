"""How destinations stand: their failures in a row, who is suspended or held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import Row, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from logstream.control.tables import SCHEMA, deliveries, destinations
from logstream.database import database_errors
from logstream.ledger.book import any_of
from logstream.ledger.debts import Debts
from logstream.ledger.health import Change, Health, Outcome, judge
from logstream.ledger.records import storable

_NOTE = f"""
insert into {SCHEMA}.destinations (name, failures, last_window, suspended_at, error)
select * from json_to_recordset(%s::json)
    as n(name text, failures int, last_window timestamptz, suspended_at timestamptz, error text)
on conflict (name) do update set
    failures = excluded.failures, last_window = excluded.last_window, suspended_at = excluded.suspended_at,
    error = excluded.error
"""  # noqa: S608 - the schema is ours


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
        with self._writing("writing the ledger") as connection:
            now = connection.exec_driver_sql("select clock_timestamp()").scalar_one()
            known = {
                row.name: _health(row)
                for row in connection.execute(select(destinations).order_by(destinations.c.name).with_for_update())
            }
            well: list[str] = []
            rows: list[dict[str, object]] = []
            for name, outcome in sorted(outcomes.items()):
                before = known.get(name, Health())
                after, turn = judge(before, outcome, now, suspend_after)
                if turn:
                    changes.append(Change(name, turn, outcome.error))
                if after == Health():
                    well += [name] if name in known else []
                elif after != before:
                    rows.append(
                        {"name": name, "failures": after.failures, "last_window": after.last_window,
                         "suspended_at": after.suspended_at,
                         "error": after.error and storable(after.error)}
                    )  # fmt: skip
            if well:
                connection.execute(delete(destinations).where(any_of(destinations.c.name, well)))
            if rows:
                connection.exec_driver_sql(_NOTE, (orjson.dumps(rows).decode(),))
        if not changes:
            return []
        owed = Counter(item.destination for item in self.owed())
        return [replace(change, owed=owed[change.destination]) for change in changes]

    def suspend(self, destination: str, reason: str) -> None:
        """Hold a destination: nothing is sent to it, what it would have got is owed, until a person resumes it."""
        row = {"suspended_at": func.clock_timestamp(), "error": storable(reason), "held": True}
        statement = insert(destinations).values(name=destination, **row)
        with self._writing("writing the ledger") as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))

    def resume(self, destination: str) -> bool:
        """Forget that a destination failed, so that the next run delivers to it. Returns whether it was suspended."""
        with self._writing("writing the ledger") as connection:
            gone = delete(destinations).where(destinations.c.name == destination).returning(destinations.c.suspended_at)
            row = connection.execute(gone).first()
        return row is not None and row.suspended_at is not None


def _health(row: Row[Any]) -> Health:
    return Health(row.failures, row.last_window, row.suspended_at, row.error, row.held)
