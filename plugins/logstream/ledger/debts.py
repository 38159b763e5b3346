"""Debts: what destinations have not got."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

from sqlalchemy import exists, func, literal_column, select

from logstream.control.tables import SCHEMA, deliveries, lanes
from logstream.database import database_errors
from logstream.ledger.book import Book, any_of
from logstream.ledger.carriers import spellings
from logstream.ledger.health import Owed
from logstream.ledger.records import State
from logstream.window import Window

ORPHAN_AFTER = timedelta(minutes=30)
"""A delivery that was planned so long ago, and none of whose lanes has a lease that is alive, has no run any more.

A run may wait that long for a worker before it takes its first lease. One that waits longer loses nothing: what another run
takes up meanwhile, it finds delivered or leased.
"""

_LEASED = f"exists (select from {SCHEMA}.lanes l where l.delivery_id = d.id and l.leased_until > clock_timestamp())"

ORPHANED = f"(d.planned_at < clock_timestamp() - interval '{ORPHAN_AFTER.total_seconds()} seconds' and not {_LEASED})"
"""The condition on `deliveries d` for that, where its state is `planned`."""


def is_owed(carrier: str | None = None) -> Any:
    """The condition on `deliveries` that something is owed: it failed, was set aside, or its run never ended.

    To a run that is tried again, all is owed that it carries, too.
    """
    leased = exists().where(lanes.c.delivery_id == deliveries.c.id, lanes.c.leased_until > func.clock_timestamp())
    orphaned = (deliveries.c.planned_at < func.clock_timestamp() - ORPHAN_AFTER) & ~leased.correlate(deliveries)
    ours = orphaned if carrier is None else orphaned | any_of(deliveries.c.carrier, spellings(carrier))
    # the first condition is that of the index `deliveries_open`
    return (deliveries.c.state != literal_column("'delivered'")) & (
        any_of(deliveries.c.state, [State.FAILED, State.OWED]) | ((deliveries.c.state == State.PLANNED) & ours)
    )


class Debts(Book):
    """Tells what is owed."""

    def owed(self, destination: str | None = None, *, carrier: str | None = None) -> list[Owed]:
        """What destinations have not got, oldest first: deliveries that failed, were set aside, or whose run never ended.

        With `carrier`, what that run has planned and not delivered, too.
        """
        left = lanes.c.planned_events - lanes.c.delivered_events - lanes.c.rejected_events
        query = (
            select(
                deliveries,
                func.coalesce(
                    func.max(lanes.c.last_error).filter(lanes.c.state != State.DELIVERED),
                    deliveries.c.error,
                    func.max(lanes.c.last_error),
                    func.max(lanes.c.first_error),
                ).label("reason"),
                func.coalesce(func.sum(left), 0).label("events"),
            )
            .outerjoin(lanes, lanes.c.delivery_id == deliveries.c.id)
            .where(is_owed(carrier))
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
                int(row.events),
                row.reason,
                row.carrier if row.state == State.PLANNED else None,
            )
            for row in rows
        ]
