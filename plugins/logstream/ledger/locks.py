"""The order in which rows of the ledger are locked."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, select

from logstream.control.tables import deliveries


def lock_deliveries(connection: Connection, chosen: ColumnElement[bool]) -> list[int]:
    """Lock deliveries that a transaction will write, in the order in which everything locks several of them; return their ids.

    Two that did so in orders of their own would each wait for a row of the other's, and PostgreSQL would end one of them. A
    transaction that locks lanes, too, locks these first. What belongs to a delivery, as a dead letter does, may be written
    meanwhile: who writes that has its lane, and would wait here for one who waits for the lane.
    """
    query = select(deliveries.c.id).where(chosen)
    order = deliveries.c.window_start, deliveries.c.window_end, deliveries.c.destination
    return list(connection.execute(query.order_by(*order).with_for_update(key_share=True)).scalars())
