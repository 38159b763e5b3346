"""Manifests as the ledger keeps them: in two chains of each destination, of those beside its data and of those only here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from logstream.control.tables import SCHEMA, deliveries, lanes, manifests
from logstream.database import database_errors
from logstream.errors import ChangedMeanwhile
from logstream.ledger.book import Book, any_of
from logstream.ledger.locks import Plans, lock_plans
from logstream.proof.chain import Link
from logstream.proof.manifests import (
    Manifest,
    Sealed,
    end_named_by,
    fields_in,
    key_of,
    manifest_of,
    says_the_same,
    window_in,
)  # fmt: skip
from logstream.proof.signing import Signer
from logstream.window import Window

CHAIN_LOCK = 0x10957EA4
"""Key of the advisory lock that lets one process add manifests at a time."""


SPACE = 2**20
"""From one manifest's position to the next: room for those that are taken over later, and were made in between."""

Chain = tuple[str, bool]
"""One of the two chains of a destination: its name, and whether it is that beside the data."""

# in the order in which everything locks several of them: two that seal the same put them in orders of their own
_NOTE_PUT = f"""
with put as (
    select m.destination, m.position
    from {SCHEMA}.manifests m join unnest(%s::text[], %s::bigint[]) as n(destination, position) using (destination, position)
    where m.put_at is null order by m.destination, m.position for update of m)
update {SCHEMA}.manifests m set put_at = clock_timestamp()
from put where (m.destination, m.position) = (put.destination, put.position)
"""  # noqa: S608 - the schema is ours


# each by one look at the end of an index, however long a chain is
_ENDS = f"""
select m.* from unnest(%s::text[]) n(name) cross join (values (true), (false)) c(beside) cross join lateral (
    select * from {SCHEMA}.manifests m
    where m.destination = n.name and m.beside = c.beside and (%s or m.put_at is not null) order by m.sequence desc limit 1) m
"""  # noqa: S608 - the schema is ours

_NEWEST = f"""
select n.name, m.position from unnest(%s::text[]) n(name) cross join lateral (
    select m.position from {SCHEMA}.manifests m where m.destination = n.name order by m.position desc limit 1) m
"""  # noqa: S608 - the schema is ours


class Manifests(Book):
    """Reads and writes manifests."""

    def chain(
        self, sealed: Sequence[Sealed], signer: Signer | None = None, plans: Plans | None = None
    ) -> list[Manifest]:  # fmt: skip
        """Give deliveries their manifests, each at the end of a chain of its destination; return those.

        A delivery whose last manifest says the same already keeps it: sealed again, or exported again to the same objects.
        Where a key is there and the end of the chain is not signed with it, it gets a new one, so that all before is vouched
        for. Those get none that were planned again since they were looked at, when their `plans` were what is named.
        """
        if not sealed:
            return []
        with self._writing("writing manifests") as connection:
            others = lock_plans(connection, plans or {})
            sealed = [item for item in sealed if item.delivery_id not in others]
            _lock(connection)
            _require_counts(connection, sealed)
            made = self._in_force(connection, sealed)
            names = {item.destination for item in sealed}
            last, newest = self._ends(connection, names), _newest(connection, names)
            # one that is not put yet may be dropped: none that stays may hold its digest
            put = self._ends(connection, names, put=True) if not all(item.beside for item in sealed) else {}
            key = signer.public_key if signer else None
            now = connection.exec_driver_sql("select clock_timestamp()").scalar_one()
            kept: list[Manifest] = []
            new: list[Manifest] = []
            for item in sorted(sealed, key=lambda item: (item.destination, item.window)):
                old, end = made.get((item.destination, item.window)), last.get((item.destination, item.beside))
                other = (last if item.beside else put).get((item.destination, not item.beside))
                vouched = key is None or (end is not None and key_of(end) == key)
                if old is not None and vouched and says_the_same(old, item):
                    kept.append(replace(old, delivery_id=item.delivery_id))
                    continue
                sequence, previous = (end.sequence, end.digest) if end else (0, None)
                newest[item.destination] = position = (newest.get(item.destination, 0) // SPACE + 1) * SPACE
                manifest = replace(manifest_of(item, sequence + 1, previous, now, key, other), position=position)
                if signer:
                    manifest = replace(manifest, signature=signer.sign(manifest.document))
                last[(item.destination, item.beside)] = manifest
                new.append(manifest)
            if new:
                connection.execute(insert(manifests), [_manifest_row(manifest, now) for manifest in new])
            for manifest in sorted(kept, key=lambda manifest: (manifest.destination, manifest.position)):
                if manifest.delivery_id != made[(manifest.destination, manifest.window)].delivery_id:
                    same = (manifests.c.destination == manifest.destination) & (
                        manifests.c.position == manifest.position
                    )
                    connection.execute(update(manifests).where(same).values(delivery_id=manifest.delivery_id))
        return [*kept, *new]

    def adopt(self, destination: str, found: Sequence[Link]) -> None:
        """Take over manifests that are at the destination and follow the end of its chain there, unknown to the ledger.

        So it is after the control database was restored from a backup, or begun anew. Each gets the place that it had among
        those in the ledger only: after the one that it names, or, where that is gone, after what was sealed before it.
        """
        with self._writing("writing manifests") as connection:
            _lock(connection)
            rows = connection.execute(select(deliveries).where(deliveries.c.destination == destination))
            ids = {(row.window_start, row.window_end): row.id for row in rows}
            places = _Places(connection, destination)
            new = []
            for item in (manifest_from(link, destination) for link in found):
                window = item.window.start, item.window.end
                moment = datetime.fromisoformat(item.fields["sealed_at"])
                placed = replace(item, delivery_id=ids.get(window, 0), position=places.take(item, moment))
                new.append({**_manifest_row(placed, moment), "put_at": moment})
            same = [manifests.c.destination, manifests.c.beside, manifests.c.sequence]
            connection.execute(insert(manifests).on_conflict_do_nothing(index_elements=same), new)

    def not_put(self, destinations: Iterable[str]) -> list[Manifest]:
        """The manifests of some destinations that are not beside the data yet, oldest first: always the ends of chains."""
        query = select(manifests).where(any_of(manifests.c.destination, destinations), manifests.c.put_at.is_(None))
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return [manifest_in(row) for row in connection.execute(query.order_by(manifests.c.sequence))]

    def note_put(self, put: Iterable[Manifest]) -> None:
        """Note that manifests are where they must be."""
        names = [(manifest.destination, manifest.position) for manifest in put]
        if not names:
            return
        with self._writing("writing manifests") as connection:
            connection.exec_driver_sql(_NOTE_PUT, tuple(list(column) for column in zip(*names, strict=True)))

    def drop_end(self, destination: str, sequence: int) -> bool:
        """Take the end of the chain beside the data away, from a number on, if none of it was ever put; returns whether.

        What was never put was seen by no auditor. Its deliveries are not complete: they are sealed again.
        """
        end = (manifests.c.destination == destination) & manifests.c.beside & (manifests.c.sequence >= sequence)
        with self._writing("writing manifests") as connection:
            _lock(connection)
            # locked: another may note meanwhile that it has put one
            rows = select(manifests.c.put_at).where(end).order_by(manifests.c.position).with_for_update()
            if any(connection.execute(rows).scalars()):
                return False
            connection.execute(delete(manifests).where(end))
        return True

    @staticmethod
    def _in_force(connection: Connection, sealed: Sequence[Sealed]) -> dict[tuple[str, Window], Manifest]:
        """The newest manifest of each window and destination."""
        query = select(manifests).where(
            any_of(manifests.c.destination, {item.destination for item in sealed}),
            any_of(manifests.c.window_start, {item.window.start for item in sealed}),
        )
        rows = connection.execute(query.order_by(manifests.c.position))
        return {(item.destination, item.window): item for item in map(manifest_in, rows)}

    @staticmethod
    def _ends(connection: Connection, names: Iterable[str], *, put: bool = False) -> dict[Chain, Manifest]:
        rows = connection.exec_driver_sql(_ENDS, (list(names), not put))
        return {(row.destination, row.beside): manifest_in(row) for row in rows}

    def chain_ends(self, names: Iterable[str], *, put: bool = False) -> dict[Chain, Manifest]:
        """The newest manifest of each chain that some destinations have; with `put`, that is where it must be."""
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return self._ends(connection, names, put=put)

    def before_pruning(self, delivery_ids: Iterable[int]) -> dict[int, Manifest]:
        """Of deliveries that were pruned: the manifest that was in force then. Its listings tell what the ledger forgot."""
        query = (
            select(manifests, deliveries.c.id)
            .join(
                deliveries,
                (deliveries.c.destination == manifests.c.destination)
                & (deliveries.c.window_start == manifests.c.window_start)
                & (deliveries.c.window_end == manifests.c.window_end)
                & (deliveries.c.pruned_at >= manifests.c.sealed_at),
            )
            .where(any_of(deliveries.c.id, delivery_ids))
            .order_by(manifests.c.position)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return {row.id: manifest_in(row) for row in connection.execute(query)}

    def forgotten(self, delivery_ids: Iterable[int]) -> dict[int, Manifest]:
        """Of deliveries that were pruned and then begun afresh: the manifest that was in force. Its objects may be there."""
        query = (
            select(manifests, deliveries.c.id)
            .join(
                deliveries,
                (deliveries.c.destination == manifests.c.destination)
                & (deliveries.c.forgotten == manifests.c.position),
            )
            .where(any_of(deliveries.c.id, delivery_ids))
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return {row.id: manifest_in(row) for row in connection.execute(query)}

    def chained(self, delivery_ids: Iterable[int]) -> set[int]:
        """Those of some deliveries that have had a manifest since they were planned last."""
        query = (
            select(deliveries.c.id)
            .join(manifests, manifests.c.delivery_id == deliveries.c.id)
            .where(any_of(deliveries.c.id, delivery_ids), manifests.c.sealed_at >= deliveries.c.planned_at)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return set(connection.execute(query).scalars())

    def manifests_within(self, span: Window) -> list[Manifest]:
        """The manifests of the windows that lie in `span`, of each destination in the order in which they were made."""
        query = (
            select(manifests)
            .where((manifests.c.window_start >= span.start) & (manifests.c.window_end <= span.end))
            .order_by(manifests.c.destination, manifests.c.position)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return [manifest_in(row) for row in connection.execute(query)]

    def links_beside(self, destination: str) -> Iterator[Link]:
        """The whole chain beside the data of a destination, in order."""
        query = (
            select(manifests.c.sequence, manifests.c.document, manifests.c.digest, manifests.c.signature)
            .where(manifests.c.destination == destination, manifests.c.beside)
            .order_by(manifests.c.sequence)
            .execution_options(yield_per=200)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            for row in connection.execute(query):
                yield Link(*row)

    def links_of(self, destinations: Iterable[str]) -> Iterator[tuple[Chain, Link]]:
        """The whole chains of some destinations, one after another, each in order."""
        query = (
            select(
                manifests.c.destination, manifests.c.beside, manifests.c.sequence, manifests.c.document,
                manifests.c.digest, manifests.c.signature, manifests.c.position,
            )
            .where(any_of(manifests.c.destination, destinations))
            .order_by(manifests.c.destination, manifests.c.beside, manifests.c.sequence)
            .execution_options(yield_per=200)
        )  # fmt: skip
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            for destination, beside, *link in connection.execute(query):
                yield (destination, beside), Link(*link)

    def spans_of(self, destinations: Iterable[str]) -> dict[str, Window]:
        """From the begin of the first window of a destination to the end of its last."""
        name, start, end = (
            deliveries.c.destination,
            func.min(deliveries.c.window_start),
            func.max(deliveries.c.window_end),
        )
        query = select(name, start, end).where(any_of(name, destinations)).group_by(name)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return {row[0]: Window(row[1].astimezone(UTC), row[2].astimezone(UTC)) for row in connection.execute(query)}

    def chains_beside(self) -> list[str]:
        """The destinations that have a chain beside their data."""
        query = select(manifests.c.destination).where(manifests.c.beside).distinct()
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def deliveries_to(self, destinations: Iterable[str]) -> list[Row[Any]]:
        """All deliveries to some destinations: `id`, `destination`, `window_start`, `window_end`, `snapshot_id`, `pruned_at`."""
        query = select(deliveries).where(any_of(deliveries.c.destination, destinations))
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return list(connection.execute(query))

    def destinations_delivered(self) -> list[tuple[str, int]]:
        """Destinations that ever had a delivery, each with the snapshots of the settings by which it had them."""
        query = select(deliveries.c.destination, deliveries.c.snapshot_id).distinct()
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return [(row.destination, row.snapshot_id) for row in connection.execute(query)]


def manifest_in(row: Row[Any]) -> Manifest:
    """A manifest from its row."""
    window = Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC))
    return Manifest(
        row.destination, row.sequence, row.delivery_id, row.generation, window, row.document, row.digest, row.signature,
        row.beside, row.position,
    )  # fmt: skip


def manifest_from(link: Link, destination: str) -> Manifest:
    """A manifest from its bytes, of a delivery that is not known. Raises `BrokenManifest`."""
    fields = fields_in(link.document)
    return Manifest(
        destination,
        link.sequence,
        0,
        fields["generation"],
        window_in(fields),
        link.document,
        link.digest,
        link.signature,
    )


def _require_counts(connection: Connection, sealed: Sequence[Sealed]) -> None:
    """Raise `ChangedMeanwhile` where dead letters were sent again since a delivery was looked at.

    That needs no plan. Who has sent them counts first and seals then: a manifest of older counts would come behind that one's.
    """
    delivered, rejected = func.sum(lanes.c.delivered_events), func.sum(lanes.c.rejected_events)
    query = select(lanes.c.delivery_id, delivered, rejected).group_by(lanes.c.delivery_id)
    rows = connection.execute(query.where(any_of(lanes.c.delivery_id, [item.delivery_id for item in sealed])))
    counts = {number: (int(arrived), int(refused)) for number, arrived, refused in rows}
    for item in sealed:
        if counts.get(item.delivery_id, (0, 0)) != (item.delivered.total(), item.rejected.total()):
            raise ChangedMeanwhile("dead letters of it were sent again meanwhile; sealed again, it goes on from that")


def _newest(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """The highest position of each destination."""
    rows = connection.exec_driver_sql(_NEWEST, (list(names),))
    return {row.name: row.position for row in rows}


class _Places:
    """The positions of a destination that manifests may take which come later than they were made."""

    def __init__(self, connection: Connection, destination: str) -> None:
        columns = (
            manifests.c.position,
            manifests.c.beside,
            manifests.c.sequence,
            manifests.c.digest,
            manifests.c.sealed_at,
        )
        rows = connection.execute(select(*columns).where(manifests.c.destination == destination)).all()
        self._taken = {row.position for row in rows}
        self._named = {(row.sequence, row.digest): row.position for row in rows if not row.beside}
        self._sealed = sorted((row.sealed_at, row.position) for row in rows if not row.beside)
        self._last = max((row.position for row in rows if row.beside), default=0)

    def take(self, manifest: Manifest, sealed_at: datetime) -> int:
        """The position of the next one of the chain beside the data."""
        named = end_named_by(manifest.fields)
        after = self._named.get(named) if named else None
        if after is None:
            after = max((position for moment, position in self._sealed if moment < sealed_at), default=0)
        position = max(self._last, after) + 1
        while position in self._taken:
            position += 1
        self._taken.add(position)
        self._last = position
        return position


def _lock(connection: Connection) -> None:
    # one writer at a time: a chain has one end
    connection.exec_driver_sql("select pg_advisory_xact_lock(%s)", (CHAIN_LOCK,))


def _manifest_row(manifest: Manifest, sealed_at: datetime) -> dict[str, object]:
    return {
        "destination": manifest.destination,
        "position": manifest.position,
        "sequence": manifest.sequence,
        "beside": manifest.beside,
        "delivery_id": manifest.delivery_id,
        "generation": manifest.generation,
        "window_start": manifest.window.start,
        "window_end": manifest.window.end,
        "document": manifest.document,
        "digest": manifest.digest,
        "signature": manifest.signature,
        "sealed_at": sealed_at,
        # where it must be: in the ledger
        "put_at": None if manifest.beside else sealed_at,
    }
