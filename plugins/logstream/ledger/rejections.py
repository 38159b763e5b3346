"""Dead letters: events that were rejected, and what became of them later."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func, select, tuple_, update

from logstream.control.tables import deliveries, rejections
from logstream.database import database_errors
from logstream.ledger.book import Book, any_of
from logstream.ledger.records import RejectedEvent
from logstream.window import Window


class Rejections(Book):
    """Reads dead letters. That one has arrived after all is written with its lane's counts (`Lanes.write`)."""

    def with_dead_letters(self, delivery_ids: Iterable[int]) -> set[int]:
        """Those of some deliveries that have had events rejected, delivered later or not."""
        some = rejections.c.delivery_id
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return set(connection.scalars(select(some).where(any_of(some, delivery_ids)).distinct()))

    def redelivered(self, delivery_id: int) -> dict[int, datetime]:
        """The dead letters of a delivery that were delivered later: event id to when, the same for all of one parcel."""
        query = select(rejections.c.event_id, rejections.c.redelivered_at).where(
            rejections.c.delivery_id == delivery_id, rejections.c.redelivered_at.is_not(None)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return {row.event_id: row.redelivered_at for row in connection.execute(query)}

    def count_rejected(self, limit: int) -> int:
        """How many dead letters there are, counted up to a limit."""
        some = select(rejections.c.event_id).where(is_open()).limit(limit).subquery()
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(some)) or 0

    def discard(self, keys: Collection[tuple[int, int]], author: str, note: str) -> int:
        """Note that a person decided that some dead letters, (delivery id, event id), are not to be delivered.

        They stay rejected: they are neither listed nor sent again any more. Return how many there were of them.
        """
        chosen = is_open() & tuple_(rejections.c.delivery_id, rejections.c.event_id).in_(list(keys))
        row = {"discarded_at": func.clock_timestamp(), "discarded_by": author, "note": note}
        with self._writing("writing the ledger") as connection:
            return connection.execute(update(rejections).where(chosen).values(row)).rowcount

    def rejected(
        self,
        delivery_ids: Iterable[int] | None = None,
        destination: str | None = None,
        *,
        limit: int | None = None,
        keys: Collection[tuple[int, int]] | None = None,
        discarded: bool = False,
    ) -> list[RejectedEvent]:
        """The dead letters: rejected events that were not delivered later, by window and event.

        `keys` are (delivery id, event id) of those that are wanted. Those that a person has discarded are left out, but with
        `discarded`: they are rejected all the same.
        """
        query = (
            select(rejections, deliveries.c.destination, deliveries.c.window_start, deliveries.c.window_end)
            .join(deliveries, deliveries.c.id == rejections.c.delivery_id)
            .where(rejections.c.redelivered_at.is_(None) if discarded else is_open())
            .order_by(deliveries.c.window_start, rejections.c.delivery_id, rejections.c.event_id)
            .limit(limit)
        )
        if delivery_ids is not None:
            query = query.where(any_of(rejections.c.delivery_id, delivery_ids))
        if destination is not None:
            query = query.where(deliveries.c.destination == destination)
        if keys is not None:
            query = query.where(tuple_(rejections.c.delivery_id, rejections.c.event_id).in_(list(keys)))
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [
            RejectedEvent(
                row.event_id, row.workspace_id, row.kind, row.reason, row.request, row.rejected_at, row.destination,
                Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC)), row.delivery_id, row.lane,
            )
            for row in rows
        ]  # fmt: skip


def is_open() -> ColumnElement[bool]:
    """Whether a dead letter is neither delivered later nor discarded: it may be sent again."""
    return rejections.c.redelivered_at.is_(None) & rejections.c.discarded_at.is_(None)
