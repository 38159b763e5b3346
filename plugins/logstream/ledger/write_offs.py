"""Writing off: an administrator decides that a destination shall not get what it is owed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, text, update
from sqlalchemy.dialects.postgresql import insert

from logstream.control.tables import SCHEMA, deliveries, lanes, losses
from logstream.database import database_errors
from logstream.ledger.book import Book, any_of
from logstream.ledger.debts import is_owed
from logstream.ledger.locks import lock_deliveries
from logstream.ledger.losses import Why
from logstream.ledger.records import State, lane_in, tally_document


def write_off_command(destination: str) -> str:
    """The command that writes off what a destination is owed."""
    return f'logstream owed --destination {destination} --write-off "WHY"'


@dataclass(frozen=True, slots=True)
class WrittenOff:
    """The deliveries that were owed to a destination and now are complete without it, and how many events they lack.

    `plans` is delivery id to when it had been planned: one that is planned again since is that run's, and not written off any
    more. `lost` is delivery id to events.
    """

    plans: Mapping[int, datetime]
    lost: Mapping[int, int]

    @property
    def delivery_ids(self) -> list[int]:
        """The deliveries."""
        return list(self.plans)

    @property
    def events(self) -> int:
        """How many events they lack."""
        return sum(self.lost.values())

    def only(self, delivery_ids: Collection[int]) -> WrittenOff:
        """Some of them."""
        return WrittenOff(
            {number: planned_at for number, planned_at in self.plans.items() if number in delivery_ids},
            {number: events for number, events in self.lost.items() if number in delivery_ids},
        )


# the condition on the row itself is looked at again where it has waited for a plan to be written
_SEAL = f"""
update {SCHEMA}.deliveries d set state = '{State.DELIVERED}', sealed_at = clock_timestamp(), error = null
from unnest(%s::bigint[], %s::timestamptz[]) as n(id, planned_at)
where d.id = n.id and d.planned_at = n.planned_at
returning d.id
"""  # noqa: S608 - the schema is ours


class WriteOffs(Book):
    """Ends what is owed without delivering it."""

    def write_off(self, destination: str, by: str, note: str) -> WrittenOff:
        """Count all that a destination is owed as lost, with who decided that, and why. The deliveries are still to be sealed.

        What another run is delivering at this moment is not owed, and stays that run's.
        """
        with self._writing("writing the ledger") as connection:
            ids = lock_deliveries(connection, is_owed() & (deliveries.c.destination == destination))
            owed = select(deliveries.c.id, deliveries.c.planned_at).where(any_of(deliveries.c.id, ids))
            plans = {row.id: row.planned_at for row in connection.execute(owed)}
            lost = _write_off_lanes(connection, list(plans), by, note)
        return WrittenOff(plans, lost)

    def still_written_off(self, written_off: WrittenOff) -> WrittenOff:
        """Those that no run has planned again since."""
        query = select(deliveries.c.id, deliveries.c.planned_at).where(any_of(deliveries.c.id, written_off.plans))
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return written_off.only({row.id for row in rows if row.planned_at == written_off.plans[row.id]})

    def seal_written_off(self, written_off: WrittenOff) -> WrittenOff:
        """Write down that deliveries are complete, without those that a run has planned again since; return which are."""
        plans = written_off.plans
        with self._writing("sealing deliveries") as connection:
            lock_deliveries(connection, any_of(deliveries.c.id, plans))
            sealed = connection.exec_driver_sql(_SEAL, (list(plans), list(plans.values()))).scalars()
            return written_off.only(set(sealed))


def _write_off_lanes(connection: Connection, delivery_ids: list[int], by: str, note: str) -> dict[int, int]:
    """End the lanes of some deliveries; return how many events each lacked that lacked any."""
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
    lacked: Counter[int] = Counter()
    for (number, _, _), events in lost.items():
        lacked[number] += events
    return dict(lacked)
