"""Plans: what a run will deliver, written down before anything is sent.

However many deliveries a plan has, it is written with the same few statements.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Protocol

import orjson
from sqlalchemy import Connection, select

from logstream.control.tables import SCHEMA, lanes
from logstream.database import database_errors
from logstream.destinations.parcel import Tally
from logstream.events import Cursor
from logstream.ledger.book import Book, any_of
from logstream.ledger.debts import ORPHANED
from logstream.ledger.losses import losses_of, note_losses
from logstream.ledger.records import Pending, PendingLane, PlannedLane, State, tally_document, tally_in
from logstream.ledger.replan import Fate, KnownLane, Replanned, losses_after, replan_lane, still_held
from logstream.window import Window


@dataclass(frozen=True, slots=True)
class PlannedDelivery:
    """What a run will deliver of a window to a destination, by a snapshot of the settings.

    `error` is why it cannot be delivered: then it is written down as failed, and its lanes say what is owed.
    """

    destination: str
    window: Window
    snapshot_id: int
    lanes: Sequence[PlannedLane] = ()
    error: str | None = None


class Stock(Protocol):
    """What the log store holds: asked where a plan finds less, or other events, than an earlier one did."""

    def held(self, window: Window, snapshot_id: int, destination: str) -> Tally:
        """Events of a window that a destination is to get by a snapshot's settings, by (workspace id, kind)."""

    def ahead(
        self, window: Window, snapshot_id: int, destination: str, workspace_ids: Collection[int], after: Cursor | None
    ) -> Tally:
        """Those of some workspaces that come after a place in the window."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a run plans.

    `carrier` names the run: its retry takes along what its first attempt has planned. With `again`, deliveries are exported
    again on purpose: complete ones begin afresh, and those that another run carries are taken over. Without, both are left
    alone, whatever they were when they were looked up.
    """

    carrier: str | None = None
    again: bool = False


_BEGIN = f"""
insert into {SCHEMA}.deliveries (window_start, window_end, destination, snapshot_id, state, carrier)
select n.window_start, n.window_end, n.destination, n.snapshot_id, '{State.PLANNED}', %s
from unnest(%s::timestamptz[], %s::timestamptz[], %s::text[], %s::bigint[])
    as n(window_start, window_end, destination, snapshot_id)
on conflict do nothing returning id
"""  # noqa: S608 - the schema is ours

# in one order, so that two runs of a window wait for each other and not each for the other
_LOCK = f"""
select d.id, d.window_start, d.window_end, d.destination, d.snapshot_id, d.state, d.carrier, {ORPHANED} as orphaned
from {SCHEMA}.deliveries d
join unnest(%s::timestamptz[], %s::timestamptz[], %s::text[]) as n(window_start, window_end, destination)
    using (window_start, window_end, destination)
order by d.window_start, d.window_end, d.destination
for update of d
"""  # noqa: S608 - the schema is ours

_PLAN_DELIVERIES = f"""
update {SCHEMA}.deliveries d set
    snapshot_id = n.snapshot_id, carrier = %s, state = '{State.PLANNED}', planned_at = clock_timestamp(),
    generation = d.generation + n.afresh, sealed_at = null, pruned_at = null
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
    delivery_id, lane, fingerprint, state, planned, planned_bytes, planned_events, first_error, last_error, permanent)
select delivery_id, lane, fingerprint, state, planned, planned_bytes, planned_events, error, error,
    case when error is null then 0 else 1 end
from json_to_recordset(%s::json) as n(
    delivery_id bigint, lane int, fingerprint text, state text, planned json, planned_bytes bigint, planned_events bigint,
    error text)
on conflict (delivery_id, lane) do update set
    state = excluded.state, planned = excluded.planned, planned_bytes = excluded.planned_bytes,
    planned_events = excluded.planned_events, permanent = excluded.permanent,
    -- a task that delivers by the older plan stops at its next write
    attempt = nextval('{SCHEMA}.lane_attempts'), leased_by = null, leased_until = null,
    first_error = coalesce(l.first_error, excluded.first_error),
    last_error = coalesce(excluded.last_error, l.last_error)
"""  # noqa: S608 - the schema is ours


@dataclass(slots=True)
class _Draft:
    """What a plan writes, gathered over all its deliveries."""

    deliveries: list[tuple[int, int, int]] = field(default_factory=list)
    """Id, snapshot, 1 if it begins afresh."""
    void: list[tuple[int, int]] = field(default_factory=list)
    rows: list[dict[str, object]] = field(default_factory=list)
    lost: dict[int, Tally] = field(default_factory=dict)
    pending: Pending = field(default_factory=lambda: Pending({}, []))


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
        with database_errors("planning deliveries"), self._engine.begin() as connection:
            if claim is not None:
                claim(connection)
            return self._plan(connection, planned, stock, terms or Terms())

    def _plan(self, connection: Connection, planned: Sequence[PlannedDelivery], stock: Stock, terms: Terms) -> Pending:
        draft = _Draft()
        taken = self._take(connection, planned, terms)
        known = _known_lanes(connection, [row.id for row, _ in taken])
        lost = losses_of(connection, [row.id for row, _ in taken])
        for row, item in taken:
            before = lost.get(row.id, Tally())
            if item.error is not None:
                _write_error(draft, row, item, known.get(row.id, {}))
            elif row.state == State.DELIVERED:
                _begin_afresh(draft, row, item, known.get(row.id, {}), before, stock)
            else:
                _go_on(draft, row, item, known.get(row.id, {}), before, stock)
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
            ours = row.id in new or (terms.carrier is not None and row.carrier == terms.carrier)
            carried = row.state == State.PLANNED and not row.orphaned and not ours
            if terms.again or (row.state != State.DELIVERED and not carried):
                taken.append((row, item))
        return taken


def _known_lanes(connection: Connection, delivery_ids: Sequence[int]) -> dict[int, dict[int, KnownLane]]:
    columns = (
        lanes.c.delivery_id, lanes.c.lane, lanes.c.state, lanes.c.fingerprint, lanes.c.planned, lanes.c.planned_bytes,
        lanes.c.delivered, lanes.c.rejected, lanes.c.counted_us, lanes.c.counted_id,
    )  # fmt: skip
    found: dict[int, dict[int, KnownLane]] = {}
    for row in connection.execute(select(*columns).where(any_of(lanes.c.delivery_id, delivery_ids))):
        counted = Cursor(row.counted_us, row.counted_id) if row.counted_us is not None else None
        found.setdefault(row.delivery_id, {})[row.lane] = KnownLane(
            row.delivery_id, row.lane, State(row.state), row.fingerprint, tally_in(row.planned),
            row.planned_bytes, tally_in(row.delivered), tally_in(row.rejected), counted,
        )  # fmt: skip
    return found


def _write_error(draft: _Draft, row: Any, item: PlannedDelivery, known: Mapping[int, KnownLane]) -> None:
    """It cannot be delivered: what it has got stays, and the rest is owed, with the reason."""
    if row.state == State.DELIVERED:
        draft.pending.left[row.id] = (
            f"{item.destination}, window {item.window}: it cannot be exported again: {item.error}"
        )
        return
    draft.deliveries.append((row.id, row.snapshot_id, 0))
    draft.pending.add(item.destination, row.id)
    for lane in known.values():
        if lane.state is not State.DELIVERED:
            told = lane.fingerprint, lane.planned, lane.planned_bytes, State.FAILED, item.error
            draft.rows.append(_row(row.id, lane.lane, *told))
    if not known:
        for new in item.lanes:
            # without a fingerprint: it begins anew when it can be delivered
            draft.rows.append(_row(row.id, new.lane, "", new.tally, new.bytes, State.FAILED, item.error))


def _begin_afresh(
    draft: _Draft, row: Any, item: PlannedDelivery, known: Mapping[int, KnownLane], lost: Tally, stock: Stock
) -> None:
    """It is complete, and exported again on purpose: from its beginning, unless fewer events would replace what is there."""
    done = Tally()
    for lane in known.values():
        done.update(lane.done)
    held = _held(row, item, stock)
    if not still_held(done, held):
        gone = (done - held).total()
        draft.pending.left[row.id] = (
            f"{item.destination}, window {item.window}: the log store no longer holds {gone:,} of its events; "
            "what was delivered stays"
        )
        return
    draft.deliveries.append((row.id, item.snapshot_id, 1))
    draft.pending.add(item.destination, row.id)
    draft.void += [(row.id, lane) for lane in known]
    for new in item.lanes:
        _plan_lane(draft, item, row.id, new.lane, Replanned(Fate.ANEW, new.tally), new)
    _note_lost(draft, row.id, lost, Tally(), done, held)


def _go_on(
    draft: _Draft, row: Any, item: PlannedDelivery, known: Mapping[int, KnownLane], lost: Tally, stock: Stock
) -> None:
    """It is not complete: go on with its lanes as far as can be."""
    draft.deliveries.append((row.id, item.snapshot_id, 0))
    draft.pending.add(item.destination, row.id)
    new_lanes = {lane.lane: lane for lane in item.lanes}
    newly: Tally = Tally()
    planned: Tally = Tally()
    for number in sorted(known.keys() | new_lanes.keys()):
        lane, new = known.get(number), new_lanes.get(number)
        if lane is None:
            assert new is not None  # noqa: S101 - it is one of the two
            _plan_lane(draft, item, row.id, number, Replanned(Fate.ANEW, new.tally), new)
            continue
        planned.update(lane.planned)
        fate = _replan(row, item, lane, new, stock)
        newly.update(fate.lost)
        if fate.fate in (Fate.ANEW, Fate.DROPPED):
            draft.void.append((row.id, number))
        unchanged = fate.fate is Fate.KEPT or (fate.fate is Fate.RESUMED and fate.planned == lane.planned)
        _plan_lane(draft, item, row.id, number, fate, new, unchanged=unchanged)
    if lost or newly:
        _note_lost(draft, row.id, lost, newly, planned, _held(row, item, stock))


def _held(row: Any, item: PlannedDelivery, stock: Stock) -> Tally:
    """What the log store holds of a delivery by the settings that it was planned by last."""
    if row.snapshot_id != item.snapshot_id:
        return stock.held(item.window, row.snapshot_id, item.destination)
    held = Tally()
    for lane in item.lanes:
        held.update(lane.tally)
    return held


def _replan(row: Any, item: PlannedDelivery, lane: KnownLane, new: PlannedLane | None, stock: Stock) -> Replanned:
    same = new is not None and new.fingerprint == lane.fingerprint and new.tally == lane.planned
    if new is not None and same:
        held = new.tally
    else:
        everything = _held(row, item, stock)
        held = Tally({key: everything[key] for key in lane.planned if everything[key]})
    workspaces = {workspace for workspace, _ in lane.planned.keys() | (new.tally.keys() if new else set())}
    return replan_lane(
        lane, new, held, lambda: stock.ahead(item.window, row.snapshot_id, item.destination, workspaces, lane.counted)
    )


def _plan_lane(
    draft: _Draft, item: PlannedDelivery, delivery_id: int, number: int, fate: Replanned, new: PlannedLane | None,
    *, unchanged: bool = False,
) -> None:  # fmt: skip
    pending = fate.fate in (Fate.ANEW, Fate.RESUMED)
    size = new.bytes if new else 0
    if pending:
        draft.pending.lanes.append(((delivery_id, number), item.destination, size))
    if fate.fate is Fate.DROPPED or unchanged:
        return
    state = State.PLANNED if pending else State.DELIVERED
    draft.rows.append(_row(delivery_id, number, new.fingerprint if new else "", fate.planned, size, state))


def _note_lost(draft: _Draft, delivery_id: int, before: Tally, newly: Tally, planned: Tally, held: Tally) -> None:
    after = losses_after(before, newly, planned, held)
    if after != before:
        draft.lost[delivery_id] = Tally({key: after[key] for key in before.keys() | after.keys()})


def _row(
    delivery_id: int, lane: int, fingerprint: str, planned: Tally, size: int, state: State, error: str | None = None
) -> dict[str, object]:
    return {
        "delivery_id": delivery_id, "lane": lane, "fingerprint": fingerprint, "state": state,
        "planned": tally_document(planned), "planned_bytes": size, "planned_events": planned.total(),
        "error": error and error.replace("\0", " "),
    }  # fmt: skip


def _write(connection: Connection, draft: _Draft, terms: Terms) -> None:
    """Write a plan: a few statements, however much there is."""
    if draft.deliveries:
        ids, snapshots, afresh = (list(column) for column in zip(*draft.deliveries, strict=True))
        connection.exec_driver_sql(_PLAN_DELIVERIES, (terms.carrier, ids, snapshots, afresh))
    if draft.void:
        names = tuple(list(column) for column in zip(*draft.void, strict=True))
        connection.exec_driver_sql(_SUPERSEDE, names)
        for table in ("rejections", "lanes"):
            connection.exec_driver_sql(_DELETE.format(schema=SCHEMA, table=table), names)
    if draft.rows:
        connection.exec_driver_sql(_PLAN_LANES, (orjson.dumps(draft.rows).decode(),))
    note_losses(connection, draft.lost)


__all__ = ["PendingLane", "PlannedDelivery", "Plans", "Stock", "Terms"]
