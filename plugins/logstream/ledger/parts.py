"""Parts: what was delivered, object by object or request by request, as manifests list it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from sqlalchemy import ColumnElement, case, delete, func, select, true, update
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert

from logstream.control.tables import deliveries, lane_parts, lanes, losses, superseded_parts
from logstream.database import database_errors
from logstream.destinations.parcel import Part
from logstream.ledger.book import Book, any_of
from logstream.proof.listings import pack, unpack
from logstream.window import Window

READINGS = 3
"""How often superseded parts are read to be written anew, where others write them meanwhile."""


class Parts(Book):
    """Reads parts, and keeps those that newer ones have replaced."""

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

    def keep_superseded(self, delivery_id: int, still: Callable[[Iterator[Part]], Iterable[Part]]) -> None:
        """Write the superseded parts of a delivery anew: those that `still` gives of the ones that it is given, in their order.

        Exactly the rows that were read are replaced, if all of them are there still. Others stay, whatever their numbers: another
        run may have noted in them what it is about to put, or what its plan supersedes, and committed that late. Where nothing
        would change nothing is written.
        """
        for _ in range(READINGS):
            read = _Read()
            parts = iter(still(read.parts(self._superseded_rows(delivery_id))))
            packs: list[bytes] = []
            kept = 0
            while some := list(itertools.islice(parts, 5_000)):
                packs.append(pack(some))
                kept += len(some)
            if kept == read.count and len(read.ids) <= len(packs):
                return
            rows = [{"delivery_id": delivery_id, "entries": entries} for entries in reversed(packs)]
            with suppress(_Changed), self._writing("writing the ledger") as connection:
                gone = connection.execute(delete(superseded_parts).where(any_of(superseded_parts.c.id, read.ids)))
                if gone.rowcount != len(read.ids):
                    raise _Changed
                for row in rows:  # one after the other: their order is that of their ids
                    connection.execute(insert(superseded_parts), row)
                return
        # what changes all the time is settled by who seals last: a name too many is no harm

    def _superseded_rows(self, delivery_id: int) -> Iterator[tuple[int, bytes]]:
        query = select(superseded_parts.c.id, superseded_parts.c.entries)
        query = query.where(superseded_parts.c.delivery_id == delivery_id).order_by(superseded_parts.c.id.desc())
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            for row in connection.execute(query.execution_options(yield_per=16)):
                yield row.id, row.entries

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
        """How a delivery stands, its `planned_at` first; `None` while any delivery of the window `among` is being delivered.

        What is being delivered may have put objects that the ledger does not count yet. Without a window that is any delivery.
        """
        leased = lanes.c.leased_until > func.clock_timestamp()
        busy = select(lanes.c.delivery_id).where(leased, _among(lanes.c.delivery_id, among)).exists()
        some = deliveries.c
        query = select(some.planned_at, some.state, some.sealed_at)
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


class _Changed(Exception):
    """Rows that were read are no more there."""


class _Read:
    """What was read of superseded parts: the numbers of the rows, and how many parts are in them."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.count = 0

    def parts(self, rows: Iterable[tuple[int, bytes]]) -> Iterator[Part]:
        """The parts in rows."""
        for number, entries in rows:
            self.ids.append(number)
            for part in unpack(entries):
                self.count += 1
                yield part


def _among(delivery_id: ColumnElement[int], window: Window | None) -> ColumnElement[bool]:
    """The condition that a delivery is of a window; without one it is true of all."""
    if window is None:
        return true()
    of_window = (deliveries.c.window_start == window.start) & (deliveries.c.window_end == window.end)
    return delivery_id.in_(select(deliveries.c.id).where(of_window))
