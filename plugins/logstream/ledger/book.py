"""What all parts of the ledger share: an engine over the control database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, Engine, func, literal
from sqlalchemy.dialects.postgresql import ARRAY


class Book:
    """One part of the ledger, over an engine of the control database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine


def any_of(column: Column[Any], values: Iterable[object]) -> Any:
    """The condition that a column's value is one of some."""
    # one parameter, however many values: `in` would make one of each
    return column == func.any(literal(list(values), ARRAY(column.type)))
