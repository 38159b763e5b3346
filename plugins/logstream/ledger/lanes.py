"""Lanes: how far each has come."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC
from typing import Any

from sqlalchemy import Connection, delete, exists, select, text
from sqlalchemy.dialects.postgresql import insert

from logstream.control.tables import SCHEMA, deliveries, lane_parts, lanes, superseded_parts
from logstream.database import database_errors
from logstream.destinations.parcel import Tally
from logstream.ledger.book import Book, any_of
from logstream.ledger.lane_writes import ANNOUNCE, REDELIVERED, STEP, WRITE, Announcement, LaneWrite
from logstream.ledger.losses import note_more_losses
from logstream.ledger.records import Delivery, Lane, State, lane_in
from logstream.window import Window

_WAS_TAKEN = text(
    """
    with before as (
        select distinct deliveries.snapshot_id as id
        from logstream.deliveries join logstream.lanes on lanes.delivery_id = deliveries.id
        where deliveries.destination = :destination and lanes.delivered_events > 0
    )
    select exists (
        select 1
        from before join logstream.settings_snapshots as those using (id), logstream.settings_snapshots as these
        where these.id = :snapshot
          and cast(those.document as jsonb) -> 'destinations' -> cast(:destination as text)
              = cast(these.document as jsonb) -> 'destinations' -> cast(:destination as text)
    )
    """
)


_ADD_PARTS = insert(lane_parts).on_conflict_do_nothing()

# one statement for thousands: what comes row by row takes more time than a write has, where half a million come at once
_REJECT = f"""
insert into {SCHEMA}.rejections as r (delivery_id, lane, event_id, workspace_id, kind, reason, request)
select * from unnest(%s::bigint[], %s::int[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[])
on conflict (delivery_id, event_id) do update set
    -- what is refused again is refused for its newest reason, and is no more what a person has discarded
    reason = excluded.reason, request = excluded.request, rejected_at = clock_timestamp(),
    discarded_at = null, discarded_by = null, note = null
where r.redelivered_at is null
"""  # noqa: S608 - the schema is ours
"""An event that was delivered after all stays so, whatever an attempt that was late says."""


_LETTER = "delivery_id", "lane", "event_id", "workspace_id", "kind", "reason", "request"

REJECTED_IN_ONE_STATEMENT = 10_000


class Lanes(Book):
    """Reads lanes, and writes what became of them."""

    def lanes(self, keys: Iterable[tuple[int, int]]) -> list[Lane]:
        """The lanes with these names, in their order."""
        wanted = list(keys)
        found = {lane.key: lane for lane in self._lanes(any_of(lanes.c.delivery_id, {key[0] for key in wanted}))}
        return [found[key] for key in wanted if key in found]

    def lanes_of(self, delivery_ids: Iterable[int]) -> list[Lane]:
        """All lanes of some deliveries."""
        return self._lanes(any_of(lanes.c.delivery_id, delivery_ids))

    def lanes_in(self, window: Window) -> list[Lane]:
        """All lanes of a window."""
        return self._lanes((deliveries.c.window_start == window.start) & (deliveries.c.window_end == window.end))

    def lanes_within(self, span: Window) -> list[Lane]:
        """All lanes of the windows that lie in `span`."""
        return self._lanes((deliveries.c.window_start >= span.start) & (deliveries.c.window_end <= span.end))

    def _lanes(self, condition: Any) -> list[Lane]:
        query = (
            # names are many, and wanted by those alone who deliver (lane_names.py)
            select(*(column for column in lanes.c if column is not lanes.c.names))
            .add_columns(deliveries.c.destination, deliveries.c.window_start, deliveries.c.window_end)
            .add_columns(deliveries.c.snapshot_id, deliveries.c.pruned_at)
            .join(deliveries, deliveries.c.id == lanes.c.delivery_id)
            .where(condition)
            .order_by(lanes.c.delivery_id, lanes.c.lane)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return [lane_in(row) for row in connection.execute(query)]

    def write(self, writes: Sequence[LaneWrite]) -> set[tuple[int, int]]:
        """Write what became of some lanes, in one transaction; return the names of lanes that are another attempt's by now.

        A transaction of checkpoints alone does not wait for the disk: should the database itself crash, what is lost is
        sent again under the same keys.
        """
        rejected = [row for write in writes for row in write.rejections]
        parts = [write.parts for write in writes if write.parts]
        done: set[tuple[int, int]] = set()
        with self._writing("writing the ledger") as connection:
            if all(write.state is State.DELIVERING for write in writes):
                connection.exec_driver_sql("set local synchronous_commit = off")
            lock_in_order(connection, [write.key for write in writes])
            for statement, some in (
                (STEP, [write.row for write in writes if write.steps]),
                (WRITE, [write.row for write in writes if not write.steps]),
            ):
                if some:
                    document = (b"[" + b",".join(some) + b"]").decode()
                    done |= {(row[0], row[1]) for row in connection.exec_driver_sql(statement, (document,))}
            # a lane that is another attempt's by now takes nothing of this one
            _reject(connection, [row for row in rejected if (row["delivery_id"], row["lane"]) in done])
            if ours := [row for row in parts if (row["delivery_id"], row["lane"]) in done]:
                connection.execute(_ADD_PARTS, ours)
            _write_ends(connection, [write for write in writes if write.key in done])
            if settled := [number for write in writes if write.key in done for number in write.announced]:
                connection.execute(delete(superseded_parts).where(any_of(superseded_parts.c.id, settled)))
        return {write.key for write in writes} - done

    def announce(self, announcements: Sequence[Announcement]) -> dict[int, int]:
        """Note what is about to be put, as superseded until it is counted; return index to the number of each announcement.

        Those are missing that were made for lanes that are another attempt's by now: what they name must not be put.
        """
        columns: tuple[list[Any], ...] = (
            [item.key[0] for item in announcements], [item.key[1] for item in announcements],
            [item.attempt for item in announcements], [item.entries for item in announcements],
        )  # fmt: skip
        with self._writing("writing the ledger") as connection:
            return {row[0]: row[1] for row in connection.exec_driver_sql(ANNOUNCE, columns)}

    def was_taken(self, destination: str, snapshot_id: int) -> bool:
        """Whether a destination, as a snapshot of the settings has it, has taken any event."""
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            names = {"destination": destination, "snapshot": snapshot_id}
            return bool(connection.execute(_WAS_TAKEN, names).scalar())

    def has_taken_of(self, delivery_id: int) -> bool:
        """Whether any event of a delivery has arrived. By its present settings: a lane under others begins anew."""
        arrived = (lanes.c.delivery_id == delivery_id) & (lanes.c.delivered_events > 0)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return bool(connection.scalar(select(exists().where(arrived))))

    def deliveries(self, delivery_ids: Iterable[int]) -> list[Delivery]:
        """Some deliveries, each with all of its lanes, in order of their ids.

        One whose events have all gone elsewhere, or from the log store, has no lanes left.
        """
        numbers = list(delivery_ids)
        # before the lanes: `planned_at` must never be of a later plan than they are, else what they say would pass for that one's
        query = select(deliveries).where(any_of(deliveries.c.id, numbers)).order_by(deliveries.c.id)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            rows = connection.execute(query).all()
        found: dict[int, list[Lane]] = {}
        for lane in self.lanes_of(numbers):
            found.setdefault(lane.delivery_id, []).append(lane)
        return [
            Delivery(
                row.id, row.destination, Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC)),
                row.snapshot_id, State(row.state), row.generation, found.get(row.id, []), carrier=row.carrier,
                planned_at=row.planned_at,
            )
            for row in rows
        ]  # fmt: skip


_LOCK = f"""
select from {SCHEMA}.lanes l join unnest(%s::bigint[], %s::int[]) as n(delivery_id, lane) using (delivery_id, lane)
order by l.delivery_id, l.lane for update of l
"""


def lock_in_order(connection: Connection, keys: Collection[tuple[int, int]]) -> None:
    """Lock lanes that a statement of this transaction will write, in the order in which everything locks several of them.

    Two that did so in orders of their own would each wait for a row of the other's, and PostgreSQL would end one of them. A
    lane alone has no order.
    """
    if len(keys) > 1:
        connection.exec_driver_sql(_LOCK, tuple(list(column) for column in zip(*keys, strict=True)))


def _reject(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write dead letters. Of two with one id the later one counts: a statement takes each once."""
    for start in range(0, len(rows), REJECTED_IN_ONE_STATEMENT):
        some = rows[start : start + REJECTED_IN_ONE_STATEMENT]
        once = {(row["delivery_id"], row["event_id"]): row for row in some}
        columns = [[row[name] for row in once.values()] for name in _LETTER]
        connection.exec_driver_sql(_REJECT, tuple(columns))


def _write_ends(connection: Connection, writes: Sequence[LaneWrite]) -> None:
    """Note, in the transaction that writes their counts, dead letters that have arrived and events that are lost."""
    arrived = [(write.key[0], event_id) for write in writes for event_id in write.redelivered]
    if arrived:
        connection.exec_driver_sql(REDELIVERED, tuple(list(column) for column in zip(*arrived, strict=True)))
    lost: dict[int, Tally] = {}
    for write in writes:
        if write.lost:
            lost.setdefault(write.key[0], Tally()).update(write.lost)
    note_more_losses(connection, lost)
