"""Plans: what a run will deliver, written down before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, case, delete, func, insert, select, tuple_, update

from logstream.control.tables import SCHEMA, deliveries, lane_parts, lanes, rejections, superseded_parts
from logstream.database import database_errors
from logstream.ledger.book import Book, any_of
from logstream.ledger.records import Pending, PendingLane, PlannedLane, State, tally_in
from logstream.ledger.windows import Claim, claim_window
from logstream.window import Window

_BEGIN = f"""
insert into {SCHEMA}.deliveries (window_start, window_end, snapshot_id, state, destination)
select %s, %s, %s, '{State.PLANNED}', unnest(%s::text[]) on conflict do nothing
"""


_PLAN = f"""
insert into {SCHEMA}.lanes (delivery_id, lane, fingerprint, state, planned, planned_bytes, planned_events)
select delivery_id, lane, fingerprint, '{State.PLANNED}', planned, planned_bytes, planned_events
from json_to_recordset(%s::json) as n(
    delivery_id bigint, lane int, fingerprint text, planned json, planned_bytes bigint, planned_events bigint)
"""  # noqa: S608 - the schema is ours


class Plans(Book):
    """Writes plans."""

    def plan(
        self, window: Window, snapshot_id: int, planned: Mapping[str, Sequence[PlannedLane]], claim: Claim | None = None
    ) -> Pending:
        """Write down what a run will deliver: destination to its lanes; and that the window is exported, with a `claim`.

        Without a claim it is what is owed of a window that is there. Raises `WindowTaken` where another run has meanwhile made
        a window of some of its time.

        A delivery that is complete is begun afresh: it is exported again on purpose. In one that is not, what is delivered
        stays so, and an unfinished lane keeps its checkpoint if nothing that decides its bytes has changed.
        """
        with database_errors("planning deliveries"), self._engine.begin() as connection:
            if claim is not None:
                claim_window(connection, window, snapshot_id, claim)
            begun = self._begin_deliveries(connection, window, snapshot_id, sorted(planned))
            known = self._known_lanes(connection, [number for number, afresh in begun.values() if not afresh])
            keep: list[tuple[int, int]] = []
            fresh: list[dict[str, object]] = []
            pending: list[PendingLane] = []
            for destination, (number, _) in begun.items():
                for lane in planned[destination]:
                    key = number, lane.lane
                    row = known.get(key)
                    if row is not None and row.fingerprint == lane.fingerprint and tally_in(row.planned) == lane.tally:
                        keep.append(key)
                        if row.state == State.DELIVERED:
                            continue
                    else:
                        fresh.append(lane.as_row(number))
                    pending.append((key, destination, lane.bytes))
            numbers = [number for number, _ in begun.values()]
            self._supersede(connection, numbers, keep)
            for table in (lanes, rejections):
                stale = delete(table).where(any_of(table.c.delivery_id, numbers))
                if keep:
                    stale = stale.where(tuple_(table.c.delivery_id, table.c.lane).not_in(keep))
                connection.execute(stale)
            connection.exec_driver_sql(_PLAN, (orjson.dumps(fresh).decode(),))
        return Pending({destination: number for destination, (number, _) in begun.items()}, pending)

    @staticmethod
    def _supersede(connection: Connection, delivery_ids: Sequence[int], keep: Sequence[tuple[int, int]]) -> None:
        """Keep the names of what lanes have delivered that are planned anew: it is still there, under whatever name."""
        columns = lane_parts.c.delivery_id, lane_parts.c.entries
        stale = select(*columns).where(any_of(lane_parts.c.delivery_id, delivery_ids))
        if keep:
            stale = stale.where(tuple_(lane_parts.c.delivery_id, lane_parts.c.lane).not_in(keep))
        stale = stale.order_by(lane_parts.c.delivery_id, lane_parts.c.lane, lane_parts.c.parcels)
        connection.execute(insert(superseded_parts).from_select(["delivery_id", "entries"], stale))

    def _begin_deliveries(
        self, connection: Connection, window: Window, snapshot_id: int, names: Sequence[str]
    ) -> dict[str, tuple[int, bool]]:
        """Destination to the id of its delivery, now planned, and whether it is begun afresh."""
        span = {"window_start": window.start, "window_end": window.end}
        connection.exec_driver_sql(_BEGIN, (window.start, window.end, snapshot_id, list(names)))
        # in one order, so that two runs of a window wait for each other and not each for the other
        query = select(deliveries.c.id, deliveries.c.destination, deliveries.c.state).filter_by(**span)
        query = query.where(any_of(deliveries.c.destination, names))
        rows = connection.execute(query.order_by(deliveries.c.destination).with_for_update()).all()
        connection.execute(
            update(deliveries)
            .where(any_of(deliveries.c.id, [row.id for row in rows]))
            .values(
                snapshot_id=snapshot_id,
                generation=deliveries.c.generation + case((deliveries.c.state == State.DELIVERED, 1), else_=0),
                state=State.PLANNED,
                planned_at=func.clock_timestamp(),
                sealed_at=None,
                pruned_at=None,
            )
        )
        return {row.destination: (row.id, row.state == State.DELIVERED) for row in rows}

    @staticmethod
    def _known_lanes(connection: Connection, delivery_ids: Sequence[int]) -> dict[tuple[int, int], Any]:
        query = select(lanes.c.delivery_id, lanes.c.lane, lanes.c.state, lanes.c.fingerprint, lanes.c.planned)
        rows = connection.execute(query.where(any_of(lanes.c.delivery_id, delivery_ids)))
        return {(row.delivery_id, row.lane): row for row in rows}
