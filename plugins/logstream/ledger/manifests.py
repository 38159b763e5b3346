"""Manifests as the ledger keeps them: chained by destination, with the parts they list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from logstream.control.tables import deliveries, lane_parts, manifests, rejections
from logstream.database import database_errors
from logstream.destinations.parcel import Part
from logstream.ledger.book import Book, any_of
from logstream.ledger.records import State
from logstream.proof.listings import unpack
from logstream.proof.manifests import Manifest, Sealed, manifest_of, says_the_same
from logstream.proof.signing import Signer
from logstream.window import Window

CHAIN_LOCK = 0x10957EA4
"""Key of the advisory lock that lets one process add manifests at a time."""


class Manifests(Book):
    """Reads and writes manifests and the parts that they list."""

    def seal(self, outcomes: Mapping[int, State]) -> None:
        """Write the outcomes of deliveries, by id, in one transaction."""
        with database_errors("sealing deliveries"), self._engine.begin() as connection:
            for state in set(outcomes.values()):
                connection.execute(
                    update(deliveries)
                    .where(any_of(deliveries.c.id, [number for number, found in outcomes.items() if found is state]))
                    .values(state=state, sealed_at=func.clock_timestamp() if state is State.DELIVERED else None)
                )

    def chain(self, sealed: Sequence[Sealed], signer: Signer | None = None) -> list[Manifest]:
        """Give deliveries their manifests, each at the end of its destination's chain; return those.

        A delivery whose last manifest says the same already keeps it: sealed again, or exported again to the same objects.
        """
        if not sealed:
            return []
        with database_errors("writing manifests"), self._engine.begin() as connection:
            # one writer at a time: a chain has one end
            connection.exec_driver_sql("select pg_advisory_xact_lock(%s)", (CHAIN_LOCK,))
            found = select(manifests).where(any_of(manifests.c.delivery_id, [item.delivery_id for item in sealed]))
            rows = connection.execute(found.order_by(manifests.c.sequence))
            made = {row.delivery_id: manifest_in(row) for row in rows}
            names = {item.destination for item in sealed}
            ends = (
                select(manifests.c.destination, manifests.c.sequence, manifests.c.digest)
                .where(any_of(manifests.c.destination, names))
                .distinct(manifests.c.destination)
                .order_by(manifests.c.destination, manifests.c.sequence.desc())
            )
            last = {row.destination: (row.sequence, row.digest) for row in connection.execute(ends)}
            now = connection.exec_driver_sql("select clock_timestamp()").scalar_one()
            new: list[Manifest] = []
            for item in sorted(sealed, key=lambda item: (item.destination, item.window)):
                if item.delivery_id in made and says_the_same(made[item.delivery_id], item):
                    continue
                made.pop(item.delivery_id, None)
                sequence, previous = last.get(item.destination, (0, None))
                key = signer.public_key if signer else None
                manifest = manifest_of(item, sequence + 1, previous, now, key)
                if signer:
                    manifest = replace(manifest, signature=signer.sign(manifest.document))
                last[item.destination] = manifest.sequence, manifest.digest
                new.append(manifest)
            if new:
                connection.execute(insert(manifests), [_manifest_row(manifest, now) for manifest in new])
        return [*made.values(), *new]

    def manifests_within(self, span: Window) -> list[Manifest]:
        """The manifests of the windows that lie in `span`, in the order of their chains."""
        query = (
            select(manifests)
            .where((manifests.c.window_start >= span.start) & (manifests.c.window_end <= span.end))
            .order_by(manifests.c.destination, manifests.c.sequence)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return [manifest_in(row) for row in connection.execute(query)]

    def links(self, destination: str) -> Iterator[tuple[int, str, str]]:
        """A destination's whole chain, in order: sequence, document, digest."""
        query = (
            select(manifests.c.sequence, manifests.c.document, manifests.c.digest)
            .where(manifests.c.destination == destination)
            .order_by(manifests.c.sequence)
            .execution_options(yield_per=200)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            for row in connection.execute(query):
                yield row.sequence, row.document, row.digest

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

    def names_delivered(self) -> Iterator[str]:
        """The names of all parts that were ever delivered, as far as the ledger still has them."""
        query = select(lane_parts.c.entries).execution_options(yield_per=16)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            for (entries,) in connection.execute(query):
                yield from (part.name for part in unpack(entries))

    def knows_all_names(self) -> bool:
        """Whether nothing was pruned yet."""
        query = select(deliveries.c.id).where(deliveries.c.pruned_at.is_not(None)).limit(1)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return connection.execute(query).first() is None

    def prune(self, before: datetime) -> int:
        """Forget the parts, and the settled rejections, of complete deliveries of windows that ended by then.

        Counts and manifests stay. Returns how many deliveries were pruned.
        """
        old = (deliveries.c.window_end <= before) & (deliveries.c.state == State.DELIVERED)
        with database_errors("pruning the ledger"), self._engine.begin() as connection:
            pruned = update(deliveries).where(old, deliveries.c.pruned_at.is_(None)).returning(deliveries.c.id)
            ids = list(connection.execute(pruned.values(pruned_at=func.clock_timestamp())).scalars())
            connection.execute(delete(lane_parts).where(any_of(lane_parts.c.delivery_id, ids)))
            settled = any_of(rejections.c.delivery_id, ids) & rejections.c.redelivered_at.is_not(None)
            connection.execute(delete(rejections).where(settled))
        return len(ids)


def manifest_in(row: Row[Any]) -> Manifest:
    """A manifest from its row."""
    window = Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC))
    return Manifest(
        row.destination, row.sequence, row.delivery_id, row.generation, window, row.document, row.digest, row.signature
    )


def _manifest_row(manifest: Manifest, sealed_at: datetime) -> dict[str, object]:
    return {
        "destination": manifest.destination,
        "sequence": manifest.sequence,
        "delivery_id": manifest.delivery_id,
        "generation": manifest.generation,
        "window_start": manifest.window.start,
        "window_end": manifest.window.end,
        "document": manifest.document,
        "digest": manifest.digest,
        "signature": manifest.signature,
        "sealed_at": sealed_at,
    }
