"""The outcomes of deliveries that were sealed, as the ledger keeps them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import func, select, update

from logstream.control.tables import SCHEMA, deliveries, lanes
from logstream.ledger.book import Book, any_of
from logstream.ledger.locks import Plans, lock_deliveries, lock_plans
from logstream.ledger.records import State, storable

_SAY_WHY = f"""
update {SCHEMA}.deliveries d set error = case when d.state = '{State.DELIVERED}' then null else n.error end
from unnest(%s::bigint[], %s::text[]) as n(id, error) where d.id = n.id
"""  # noqa: S608 - the schema is ours


# in the order in which everything locks lanes: see `lanes.lock_in_order`
_EXCUSE = f"""
with told as (
    select l.delivery_id, l.lane, n.blameless
    from {SCHEMA}.lanes l join unnest(%s::bigint[], %s::boolean[]) as n(delivery_id, blameless) using (delivery_id)
    where l.state = '{State.DELIVERED}' and l.blameless <> n.blameless
    order by l.delivery_id, l.lane for update of l)
update {SCHEMA}.lanes l set blameless = told.blameless
from told where (l.delivery_id, l.lane) = (told.delivery_id, told.lane)
"""  # noqa: S608 - the schema is ours


class Outcomes(Book):
    """Writes what has become of deliveries."""

    def seal(
        self, outcomes: Mapping[int, State], errors: Mapping[int, str | None] | None = None, plans: Plans | None = None,
        *, arrived: Collection[int] = (), excused: Collection[int] = (),
    ) -> dict[int, State]:  # fmt: skip
        """Write the outcomes of deliveries, by id, in one transaction; with `errors`, why those failed that did.

        An outcome holds for the plan that was looked at, which `plans` names: nothing changes of what another run has planned
        again since, whatever that has made of it by now. Returns those, and what they are now.

        Of those whose lanes have all `arrived` and that failed, those in `excused` could not be sealed by no fault of their
        destinations: as no lane of them has failed, their delivered lanes are marked `blameless`.
        """
        left = select(lanes.c.lane).where(lanes.c.delivery_id == deliveries.c.id, lanes.c.state != State.DELIVERED)
        with self._writing("sealing deliveries") as connection:
            lock_deliveries(connection, any_of(deliveries.c.id, outcomes))
            others = lock_plans(connection, plans or {})
            outcomes = {number: found for number, found in outcomes.items() if number not in others}
            for state in set(outcomes.values()):
                statement = update(deliveries).where(
                    any_of(deliveries.c.id, [number for number, found in outcomes.items() if found is state])
                )
                if state is State.DELIVERED:
                    statement = statement.where(~left.exists())
                else:
                    statement = statement.where((deliveries.c.state != State.DELIVERED) | left.exists())
                connection.execute(
                    statement.values(
                        state=state, sealed_at=func.clock_timestamp() if state is State.DELIVERED else None
                    )
                )
            if told := {number: error for number, error in (errors or {}).items() if number in outcomes}:
                texts = [error and storable(error) for error in told.values()]
                connection.exec_driver_sql(_SAY_WHY, (list(told), texts))
            if unsealed := [number for number in arrived if outcomes.get(number) is State.FAILED]:
                connection.exec_driver_sql(_EXCUSE, (unsealed, [number in excused for number in unsealed]))
            return others
