"""The order in which rows of the ledger are locked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, select

from logstream.control.tables import deliveries
from logstream.ledger.book import any_of
from logstream.ledger.records import State

Plans = Mapping[int, datetime | None]
"""Delivery id to when it had been planned, when it was looked at: `planned_at` tells its plans apart."""


def lock_deliveries(connection: Connection, chosen: ColumnElement[bool]) -> list[int]:
    """Lock deliveries that a transaction will write, in the order in which everything locks several of them; return their ids.

    Two that did so in orders of their own would each wait for a row of the other's, and PostgreSQL would end one of them. A
    transaction that locks lanes, too, locks these first. What belongs to a delivery, as a dead letter does, may be written
    meanwhile: who writes that has its lane, and would wait here for one who waits for the lane.
    """
    query = select(deliveries.c.id).where(chosen)
    order = deliveries.c.window_start, deliveries.c.window_end, deliveries.c.destination
    return list(connection.execute(query.order_by(*order).with_for_update(key_share=True)).scalars())


def lock_plans(connection: Connection, plans: Plans) -> dict[int, State]:
    """Lock deliveries, and return those that were planned again since they were looked at, with what they are now.

    Of those nothing may be written that was found out before. The others cannot be planned before this transaction ends. Who adds
    to a chain of manifests, too, locks the deliveries first: a plan may take long, and all chains would wait for it.
    """
    lock_deliveries(connection, any_of(deliveries.c.id, plans))
    query = select(deliveries.c.id, deliveries.c.state, deliveries.c.planned_at)
    rows = connection.execute(query.where(any_of(deliveries.c.id, plans)))
    return {row.id: State(row.state) for row in rows if row.planned_at != plans[row.id]}
