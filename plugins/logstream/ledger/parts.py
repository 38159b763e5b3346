"""Parts: what was delivered, object by object or request by request, as manifests list it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from datetime import datetime

from sqlalchemy import ColumnElement, case, delete, func, select, true, update
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert

from logstream.control.tables import deliveries, lane_parts, lanes, losses, manifests, rejections, superseded_parts
from logstream.database import database_errors
from logstream.destinations.parcel import Part
from logstream.ledger.book import Book, any_of
from logstream.ledger.locks import lock_deliveries
from logstream.ledger.losses import Why
from logstream.ledger.records import State
from logstream.proof.listings import pack, unpack
from logstream.window import Window


class Parts(Book):
    """Reads parts, keeps those that newer ones have replaced, and forgets old ones."""

    def parts(self, delivery_ids: Iterable[int]) -> Iterator[tuple[int, Part]]:
        """What was delivered, with its delivery's id, in order of deliveries, lanes and within them.

        A few thousand are in memory at a time.
        """
        query = (
            select(lane_parts.c.delivery_id, lane_parts.c.entries)
            .where(any_of(lane_parts.c.delivery_id, delivery_ids))
            .order_by(lane_parts.c.delivery_id, lane_parts.c.lane, lane_parts.c.parcels)
            .execution_options(yield_per=16)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            for number, entries in connection.execute(query):
                for part in unpack(entries):
                    yield number, part

    def small_parts(self, delivery_ids: Iterable[int], most_bytes: int) -> dict[int, list[bytes] | None]:
        """What deliveries delivered, packed, in order; `None` where that is more than some bytes. All in one statement."""
        some = lane_parts.c
        in_order = aggregate_order_by(some.entries, some.lane, some.parcels)
        small = func.sum(func.octet_length(some.entries)) <= most_bytes
        query = (
            select(some.delivery_id, case((small, func.array_agg(in_order))).label("packs"))
            .where(any_of(some.delivery_id, delivery_ids))
            .group_by(some.delivery_id)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return {row.delivery_id: row.packs for row in connection.execute(query)}

    def superseded(self, delivery_ids: Iterable[int]) -> Iterator[tuple[int, Part]]:
        """What was delivered under plans that a newer one has replaced, with its delivery's id, the newest first."""
        query = (
            select(superseded_parts.c.delivery_id, superseded_parts.c.entries)
            .where(any_of(superseded_parts.c.delivery_id, delivery_ids))
            .order_by(superseded_parts.c.delivery_id, superseded_parts.c.id.desc())
            .execution_options(yield_per=16)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            for number, entries in connection.execute(query):
                for part in unpack(entries):
                    yield number, part

    def with_superseded(self, delivery_ids: Iterable[int]) -> set[int]:
        """Those of some deliveries that have superseded parts: few have."""
        some = superseded_parts.c.delivery_id
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return set(connection.scalars(select(some).where(any_of(some, delivery_ids)).distinct()))

    def keep_superseded(self, delivery_id: int, left: Iterable[Part]) -> None:
        """What is left of the superseded parts of a delivery, in the order in which they will be read again."""
        of_delivery = superseded_parts.c.delivery_id == delivery_id
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            newest = connection.scalar(select(func.max(superseded_parts.c.id)).where(of_delivery))
        parts = iter(left)
        packs: list[bytes] = []
        while some := list(itertools.islice(parts, 5_000)):
            packs.append(pack(some))
        rows = [{"delivery_id": delivery_id, "entries": entries} for entries in reversed(packs)]
        with self._writing("writing the ledger") as connection:
            # what another run has noted since stays: it may be what that is about to put
            connection.execute(delete(superseded_parts).where(of_delivery, superseded_parts.c.id <= newest))
            for row in rows:  # one after the other: their order is that of their ids
                connection.execute(insert(superseded_parts), row)

    def keeps_superseded(self, delivery_id: int) -> bool:
        """Whether what a delivery supersedes may be the only copy of events: some are lost, or the log store has purged some."""
        lost = select(losses.c.delivery_id).where(losses.c.delivery_id == delivery_id)
        query = select(deliveries.c.keeps_superseded | lost.exists()).where(deliveries.c.id == delivery_id)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return bool(connection.execute(query).scalar())

    def keep_what_is_superseded(self, delivery_id: int) -> None:
        """Note that what a delivery supersedes may be the only copy of events."""
        noted = update(deliveries).where(deliveries.c.id == delivery_id).values(keeps_superseded=True)
        with self._writing("writing the ledger") as connection:
            connection.execute(noted)

    def standing(self, delivery_id: int, among: Window | None) -> tuple[object, ...] | None:
        """What tells one plan of a delivery from another; `None` while any delivery of the window `among` is being delivered.

        What is being delivered may have put objects that the ledger does not count yet. Without a window that is any delivery.
        """
        leased = lanes.c.leased_until > func.clock_timestamp()
        busy = select(lanes.c.delivery_id).where(leased, _among(lanes.c.delivery_id, among)).exists()
        some = deliveries.c
        query = select(some.state, some.sealed_at, some.generation, some.carrier, some.snapshot_id)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            row = connection.execute(query.where(some.id == delivery_id, ~busy)).first()
        return None if row is None else tuple(row)

    def names_in_force(self, among: Window | None) -> Iterator[str]:
        """The names of what deliveries of a window, or all, have delivered, as far as the ledger still has them."""
        query = select(lane_parts.c.entries).where(_among(lane_parts.c.delivery_id, among))
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            for (entries,) in connection.execute(query.execution_options(yield_per=16)):
                yield from (part.name for part in unpack(entries))

    def was_pruned(self, among: Window | None) -> bool:
        """Whether the ledger has forgotten names of any delivery of a window, or of any delivery."""
        query = select(deliveries.c.id).where(deliveries.c.pruned_at.is_not(None), _among(deliveries.c.id, among))
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def prune(self, before: datetime) -> int:
        """Forget the parts, and the settled rejections, of complete deliveries of windows that ended by then.

        Counts and manifests stay. One whose manifest is still to be put beside its data (it was written off while its place was
        away) keeps what that lists: no later manifest of its chain could be put without it. One that supersedes what may be the
        only copy of events keeps the names of those objects, which would be given to others. Returns how many were pruned.
        """
        to_be_put = select(manifests.c.sequence).where(
            manifests.c.delivery_id == deliveries.c.id, manifests.c.put_at.is_(None)
        )
        superseded = select(superseded_parts.c.id).where(superseded_parts.c.delivery_id == deliveries.c.id)
        purged = (losses.c.delivery_id == deliveries.c.id) & (losses.c.reason == Why.PURGED)
        lost = select(losses.c.delivery_id).where(purged)
        only_copies = superseded.exists() & (deliveries.c.keeps_superseded | lost.exists())
        old = (deliveries.c.window_end <= before) & (deliveries.c.state == State.DELIVERED)
        old &= ~to_be_put.exists() & ~only_copies
        with self._writing("pruning the ledger") as connection:
            ids = lock_deliveries(connection, old & deliveries.c.pruned_at.is_(None))
            pruned = update(deliveries).where(any_of(deliveries.c.id, ids))
            connection.execute(pruned.values(pruned_at=func.clock_timestamp(), forgotten=None))
            for table in (lane_parts, superseded_parts):
                connection.execute(delete(table).where(any_of(table.c.delivery_id, ids)))
            settled = any_of(rejections.c.delivery_id, ids) & rejections.c.redelivered_at.is_not(None)
            connection.execute(delete(rejections).where(settled))
        return len(ids)


def _among(delivery_id: ColumnElement[int], window: Window | None) -> ColumnElement[bool]:
    """The condition that a delivery is of a window; without one it is true of all."""
    if window is None:
        return true()
    of_window = (deliveries.c.window_start == window.start) & (deliveries.c.window_end == window.end)
    return delivery_id.in_(select(deliveries.c.id).where(of_window))
