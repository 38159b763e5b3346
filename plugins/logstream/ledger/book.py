"""What all parts of the ledger share: an engine over the control database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, Connection, Engine, func, literal
from sqlalchemy.dialects.postgresql import ARRAY

from logstream.database import STATEMENT_SECONDS, database_errors

PAUSE_SECONDS = 60.0
"""How long a process may pause in the middle of a transaction that writes.

One that is frozen, or cut off from the network, would else hold its rows until it is back, and every run that wants them with
it. The database ends such a transaction: nothing of it is written, and the process finds its connection closed.
"""

PLANNING_SECONDS = STATEMENT_SECONDS
"""The same for a transaction that asks the log store in between."""


class Book:
    """One part of the ledger, over an engine of the control database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def _writing(self, doing: str, *, asks_store: bool = False) -> Iterator[Connection]:
        """A transaction that writes, and in which a process must not pause for long."""
        seconds = PLANNING_SECONDS if asks_store else PAUSE_SECONDS
        with database_errors(doing), self._engine.begin() as connection:
            # of the transaction, not of the session: behind a pooler that is another's afterwards
            connection.exec_driver_sql(f"set local idle_in_transaction_session_timeout = {round(seconds * 1000)}")
            yield connection


def any_of(column: Column[Any], values: Iterable[object]) -> Any:
    """The condition that a column's value is one of some."""
    # one parameter, however many values: `in` would make one of each
    return column == func.any(literal(list(values), ARRAY(column.type)))
