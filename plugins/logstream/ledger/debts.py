"""Debts: what destinations have not got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from typing import Any

from sqlalchemy import delete, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert

from logstream.control.tables import deliveries, lanes, open_windows
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

    def note_open(self, window: Window, watch: Mapping[str, Sequence[str]]) -> None:
        """Note that a window was exported while writers might still add to it."""
        row = {"window_start": window.start, "window_end": window.end, "watch": dict(watch)}
        statement = insert(open_windows).values(row)
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["window_start", "window_end"], set_={"watch": row["watch"]}
                )
            )

    def open_windows(self) -> list[tuple[Window, Mapping[str, Sequence[str]]]]:
        """The windows that are still open, oldest first, with what was seen of their writers."""
        query = select(open_windows).order_by(open_windows.c.window_start, open_windows.c.window_end)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return [
                (Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC)), row.watch)
                for row in connection.execute(query)
            ]

    def note_closed(self, window: Window) -> None:
        """A window that was open is closed: its deliveries are owed what was added."""
        same = (deliveries.c.window_start == window.start) & (deliveries.c.window_end == window.end)
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            connection.execute(
                delete(open_windows).where(
                    open_windows.c.window_start == window.start, open_windows.c.window_end == window.end
                )
            )
            connection.execute(
                update(deliveries).where(same, deliveries.c.state == State.DELIVERED).values(state=State.OWED)
            )
