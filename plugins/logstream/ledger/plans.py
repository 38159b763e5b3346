"""Plans: what a run will deliver, written down before anything is sent.

However many deliveries a plan has, it is written with the same few statements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from typing import Any

import orjson
from sqlalchemy import Connection, select, update

from logstream.control.tables import SCHEMA, deliveries, lanes, rejections
from logstream.destinations.parcel import Tally
from logstream.events import Cursor
from logstream.ledger.book import Book, any_of
from logstream.ledger.carriers import is_carrier
from logstream.ledger.debts import ORPHANED
from logstream.ledger.losses import Why, losses_of, note_losses, write_off_less
from logstream.ledger.plan_draft import (
    Draft,
    Lost,
    PlannedDelivery,
    Stock,
    begin_afresh,
    go_on,
    plan_written_off,
    write_error,
)
from logstream.ledger.records import Pending, PendingLane, State, tally_in
from logstream.ledger.replan import KnownLane
from logstream.window import Window


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a run plans.

    `carrier` names the run: its retry takes along what its first attempt has planned. With `again`, deliveries are exported
    again on purpose: complete ones begin afresh, and those that another run carries are taken over. Without, both are left
    alone, whatever they were when they were looked up.
    """

    carrier: str | None = None
    again: bool = False


KnownLanes = dict[int, dict[int, KnownLane]]
"""Lanes as earlier plans left them, by delivery and number."""

_BEGIN = f"""
insert into {SCHEMA}.deliveries (window_start, window_end, destination, snapshot_id, state, carrier)
select n.window_start, n.window_end, n.destination, n.snapshot_id, '{State.PLANNED}', %s
from unnest(%s::timestamptz[], %s::timestamptz[], %s::text[], %s::bigint[])
    as n(window_start, window_end, destination, snapshot_id)
on conflict do nothing returning id
"""  # noqa: S608 - the schema is ours

# as `locks.lock_deliveries` does, so that two runs of a window wait for each other and not each for the other
_LOCK = f"""
select d.id, d.window_start, d.window_end, d.destination, d.snapshot_id, d.state, d.carrier, {ORPHANED} as orphaned
from {SCHEMA}.deliveries d
join unnest(%s::timestamptz[], %s::timestamptz[], %s::text[]) as n(window_start, window_end, destination)
    using (window_start, window_end, destination)
order by d.window_start, d.window_end, d.destination
for no key update of d
"""  # noqa: S608 - the schema is ours

_PLAN_DELIVERIES = f"""
update {SCHEMA}.deliveries d set
    snapshot_id = n.snapshot_id, carrier = %s, state = '{State.PLANNED}', planned_at = clock_timestamp(),
    generation = d.generation + n.afresh, sealed_at = null, pruned_at = null,
    forgotten = case when d.pruned_at is null then d.forgotten else (
        select max(position) from {SCHEMA}.manifests m
        where (m.destination, m.window_start, m.window_end) = (d.destination, d.window_start, d.window_end)) end
from unnest(%s::bigint[], %s::bigint[], %s::int[]) as n(id, snapshot_id, afresh)
where d.id = n.id
"""  # noqa: S608 - the schema is ours

_DELETE = """
delete from {schema}.{table} t using unnest(%s::bigint[], %s::int[]) as n(delivery_id, lane)
where t.delivery_id = n.delivery_id and t.lane = n.lane
"""

# the names of what lanes have delivered that begin anew: it is still there, under whatever name
_SUPERSEDE = f"""
insert into {SCHEMA}.superseded_parts (delivery_id, entries)
select p.delivery_id, p.entries from {SCHEMA}.lane_parts p
join unnest(%s::bigint[], %s::int[]) as n(delivery_id, lane) using (delivery_id, lane)
order by p.delivery_id, p.lane, p.parcels
"""  # noqa: S608 - the schema is ours

_PLAN_LANES = f"""
insert into {SCHEMA}.lanes as l (
    delivery_id, lane, fingerprint, state, planned, planned_bytes, planned_events, first_error, last_error, permanent,
    blameless)
select delivery_id, lane, fingerprint, state, planned, planned_bytes, planned_events, error, error,
    case when error is null then 0 else 1 end, blameless
from json_to_recordset(%s::json) as n(
    delivery_id bigint, lane int, fingerprint text, state text, planned json, planned_bytes bigint, planned_events bigint,
    error text, blameless boolean)
on conflict (delivery_id, lane) do update set
    state = excluded.state, planned = excluded.planned, planned_bytes = excluded.planned_bytes,
    planned_events = excluded.planned_events, permanent = excluded.permanent,
    blameless = case when excluded.last_error is null then l.blameless else excluded.blameless end,
    -- a task that delivers by the older plan stops at its next write
    attempt = nextval('{SCHEMA}.lane_attempts'), leased_by = null, leased_until = null,
    first_error = coalesce(l.first_error, excluded.first_error),
    last_error = coalesce(excluded.last_error, l.last_error)
"""  # noqa: S608 - the schema is ours


class Plans(Book):
    """Writes plans."""

    def plan(
        self, planned: Sequence[PlannedDelivery], stock: Stock, terms: Terms | None = None,
        claim: Callable[[Connection], None] | None = None,
    ) -> Pending:  # fmt: skip
        """Write down what a run will deliver; return what is left to be done. `claim` claims its window in the same transaction.

        In a delivery that is not complete, what is delivered stays so, and an unfinished lane keeps its checkpoint if nothing
        that decides its bytes has changed. What was planned and is no longer in the log store is noted as lost. A delivery
        that is complete is exported again only on purpose, and only if the log store still holds all of it.

        Raises what `claim` raises: `WindowTaken` where another run has meanwhile made a window of some of its time.
        """
        with self._writing("planning deliveries", asks_store=True) as connection:
            if claim is not None:
                claim(connection)
            return self._plan(connection, planned, stock, terms or Terms())

    def _plan(self, connection: Connection, planned: Sequence[PlannedDelivery], stock: Stock, terms: Terms) -> Pending:
        taken = self._take(connection, planned, terms)
        ids = [row.id for row, _ in taken]
        known = _known_lanes(connection, ids)
        draft = _draft(connection, taken, known, stock)
        # To ask the log store may take long, and attempts by an older plan count what arrives meanwhile. What that has changed is
        # planned once more, with the lanes locked: else the names of those objects would be deleted with their lanes.
        held = _known_lanes(connection, ids, lock=True)
        if held != known:
            draft = _draft(connection, taken, held, stock)
        _write(connection, draft, terms)
        return draft.pending

    @staticmethod
    def _take(
        connection: Connection, planned: Sequence[PlannedDelivery], terms: Terms
    ) -> list[tuple[Any, PlannedDelivery]]:
        """The rows of the deliveries that are this run's to plan, locked until it has: what they are is looked up now."""
        items = {(item.window, item.destination): item for item in planned}
        if not items:
            return []
        starts = [window.start for window, _ in items]
        ends = [window.end for window, _ in items]
        names = [name for _, name in items]
        snapshots = [item.snapshot_id for item in items.values()]
        made = connection.exec_driver_sql(_BEGIN, (terms.carrier, starts, ends, names, snapshots))
        new = set(made.scalars())
        taken = []
        for row in connection.exec_driver_sql(_LOCK, (starts, ends, names)):
            item = items[(Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC)), row.destination)]
            ours = row.id in new or is_carrier(row.carrier, terms.carrier)
            carried = row.state == State.PLANNED and not row.orphaned and not ours
            if terms.again or (row.state != State.DELIVERED and not carried):
                taken.append((row, item))
        return taken


def _draft(
    connection: Connection, taken: Sequence[tuple[Any, PlannedDelivery]], lanes_of: KnownLanes, stock: Stock
) -> Draft:
    draft, ids = Draft(), [row.id for row, _ in taken]
    lost, written_off = losses_of(connection, ids), losses_of(connection, ids, Why.WRITTEN_OFF)
    for row, item in taken:
        known = lanes_of.get(row.id, {})
        before = Lost(lost.get(row.id, Tally()), written_off.get(row.id, Tally()))
        if item.error is not None:
            write_error(draft, row, item, known)
        elif row.state == State.DELIVERED:
            begin_afresh(draft, row, item, known, before, stock)
        else:
            go_on(draft, row, item, known, before, stock, partial(_refused, connection))
        if row.id in written_off:
            plan_written_off(draft, row.id, known, written_off[row.id])
    return draft


def _known_lanes(connection: Connection, delivery_ids: Sequence[int], *, lock: bool = False) -> KnownLanes:
    columns = (
        lanes.c.delivery_id, lanes.c.lane, lanes.c.state, lanes.c.fingerprint, lanes.c.planned, lanes.c.planned_bytes,
        lanes.c.delivered, lanes.c.rejected, lanes.c.counted_us, lanes.c.counted_id,
    )  # fmt: skip
    query = select(*columns).where(any_of(lanes.c.delivery_id, delivery_ids))
    if lock:
        query = query.order_by(lanes.c.delivery_id, lanes.c.lane).with_for_update()
    found: dict[int, dict[int, KnownLane]] = {}
    for row in connection.execute(query):
        counted = Cursor(row.counted_us, row.counted_id) if row.counted_us is not None else None
        found.setdefault(row.delivery_id, {})[row.lane] = KnownLane(
            row.delivery_id, row.lane, State(row.state), row.fingerprint, tally_in(row.planned),
            row.planned_bytes, tally_in(row.delivered), tally_in(row.rejected), counted,
        )  # fmt: skip
    return found


def _refused(connection: Connection, delivery_id: int, lane: int) -> dict[int, tuple[int, str]]:
    columns = rejections.c.event_id, rejections.c.workspace_id, rejections.c.kind
    of_lane = (rejections.c.delivery_id == delivery_id) & (rejections.c.lane == lane)
    query = select(*columns).where(of_lane, rejections.c.redelivered_at.is_(None))
    return {row.event_id: (row.workspace_id, row.kind) for row in connection.execute(query)}


def _write(connection: Connection, draft: Draft, terms: Terms) -> None:
    """Write a plan: a few statements, however much there is."""
    if draft.deliveries:
        ids, snapshots, afresh = (list(column) for column in zip(*draft.deliveries, strict=True))
        connection.exec_driver_sql(_PLAN_DELIVERIES, (terms.carrier, ids, snapshots, afresh))
    if draft.fewer:
        connection.execute(update(deliveries).where(any_of(deliveries.c.id, draft.fewer)).values(keeps_superseded=True))
    if draft.superseded:
        connection.exec_driver_sql(_SUPERSEDE, tuple(list(column) for column in zip(*draft.superseded, strict=True)))
    if draft.void:
        names = tuple(list(column) for column in zip(*draft.void, strict=True))
        for table in ("rejections", "lanes"):
            connection.exec_driver_sql(_DELETE.format(schema=SCHEMA, table=table), names)
    if draft.rows:
        connection.exec_driver_sql(_PLAN_LANES, (orjson.dumps(draft.rows).decode(),))
    note_losses(connection, draft.lost)
    write_off_less(connection, draft.written_off)


__all__ = ["PendingLane", "PlannedDelivery", "Plans", "Stock", "Terms"]
