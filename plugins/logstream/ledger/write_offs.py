"""Writing off: an administrator decides that a destination shall not get what it is owed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection, select, text, update
from sqlalchemy.dialects.postgresql import insert

from logstream.control.tables import SCHEMA, deliveries, lanes, losses
from logstream.database import database_errors
from logstream.ledger.book import Book, any_of
from logstream.ledger.debts import is_owed
from logstream.ledger.losses import Why
from logstream.ledger.records import State, lane_in, tally_document


def write_off_command(destination: str) -> str:
    """The command that writes off what a destination is owed."""
    return f'logstream owed --destination {destination} --write-off "WHY"'


@dataclass(frozen=True, slots=True)
class WrittenOff:
    """The deliveries that were owed to a destination and now are complete without it, and how many events they lack."""

    delivery_ids: list[int]
    events: int


class WriteOffs(Book):
    """Ends what is owed without delivering it."""

    def write_off(self, destination: str, by: str, note: str) -> WrittenOff:
        """Count all that a destination is owed as lost, with who decided that, and why. The deliveries are still to be sealed.

        What another run is delivering at this moment is not owed, and stays that run's.
        """
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            # in the order in which plans lock them
            owed = (
                select(deliveries.c.id)
                .where(is_owed(), deliveries.c.destination == destination)
                .order_by(deliveries.c.window_start, deliveries.c.window_end)
                .with_for_update()
            )
            ids = list(connection.execute(owed).scalars())
            events = _write_off_lanes(connection, ids, by, note)
        return WrittenOff(ids, events)


def _write_off_lanes(connection: Connection, delivery_ids: list[int], by: str, note: str) -> int:
    """End the lanes of some deliveries; return how many events they lacked."""
    query = (
        select(lanes, deliveries.c.destination, deliveries.c.window_start, deliveries.c.window_end)
        .add_columns(deliveries.c.snapshot_id, deliveries.c.pruned_at)
        .join(deliveries, deliveries.c.id == lanes.c.delivery_id)
        .where(any_of(lanes.c.delivery_id, delivery_ids))
        .order_by(lanes.c.delivery_id, lanes.c.lane)
        .with_for_update(of=lanes)
    )
    now = connection.exec_driver_sql("select clock_timestamp()").scalar_one()
    found = [lane_in(row) for row in connection.execute(query)]
    lost: Counter[tuple[int, int, str]] = Counter()
    for lane in found:
        missing = {key: events for key, events in lane.missing().items() if events > 0}
        lost.update({(lane.delivery_id, *key): events for key, events in missing.items()})
        if lane.state is not State.DELIVERED or missing:
            done = lane.delivered + lane.rejected
            ended = {
                "planned": tally_document(done), "planned_events": done.total(), "state": State.DELIVERED,
                # a task that still delivers the lane stops at its next write
                "attempt": text(f"nextval('{SCHEMA}.lane_attempts')"), "leased_by": None, "leased_until": None,
                "last_error": None, "permanent": 0, "finished_at": now,
            }  # fmt: skip
            of_it = (lanes.c.delivery_id == lane.delivery_id) & (lanes.c.lane == lane.lane)
            connection.execute(update(lanes).where(of_it).values(ended))
    if lost:
        said = {"reason": Why.WRITTEN_OFF, "noted_at": now, "acknowledged_at": now, "acknowledged_by": by, "note": note}
        noted = insert(losses)
        again = {name: noted.excluded[name] for name in said} | {"events": losses.c.events + noted.excluded.events}
        connection.execute(
            noted.on_conflict_do_update(index_elements=["delivery_id", "workspace_id", "kind", "reason"], set_=again),
            [
                {"delivery_id": number, "workspace_id": workspace, "kind": kind, "events": events, **said}
                for (number, workspace, kind), events in lost.items()
            ],
        )
    return sum(lost.values())
