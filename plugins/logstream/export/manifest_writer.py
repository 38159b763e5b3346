"""Manifests of complete deliveries, in the ledger and, at object stores, beside the data."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

from logstream.destinations.base import Destination
from logstream.destinations.compression import MEDIA_TYPE, Compression, compress
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.outcome import Delivered, Retry
from logstream.destinations.parcel import Part
from logstream.errors import LogstreamError
from logstream.export.refusals import LaneFailed
from logstream.export.send import RetryPolicy
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import Delivery
from logstream.proof.manifests import Manifest, Sealed, listing_key, listings_of, manifest_key
from logstream.proof.signing import Signer

AT_ONCE = 16
"""Destinations whose manifests are written at once."""


def make_manifests(ledger: Ledger, complete: Sequence[Delivery], signer: Signer | None) -> list[Manifest]:
    """Make the manifests of complete deliveries, in the ledger."""
    numbers = [delivery.id for delivery in complete]
    listings = {number: [listing for listing, _ in listings_of(parts)] for number, parts in _parts(ledger, numbers)}
    sealed = [
        Sealed(
            delivery.id, delivery.destination, delivery.window, delivery.generation, delivery.snapshot_id,
            delivery.delivered_tally, delivery.rejected_tally, delivery.bytes, listings.get(delivery.id, []),
        )
        for delivery in complete
    ]  # fmt: skip
    return ledger.chain(sealed, signer)


def _parts(ledger: Ledger, delivery_ids: Iterable[int]) -> Iterator[tuple[int, Iterator[Part]]]:
    for number, group in itertools.groupby(ledger.parts(delivery_ids), key=lambda item: item[0]):
        yield number, (part for _, part in group)


class ManifestWriter:
    """Puts manifests beside the data of the destinations that keep objects."""

    def __init__(self, ledger: Ledger, policy: RetryPolicy) -> None:
        self._ledger, self._policy = ledger, policy

    async def write(
        self, manifests: Sequence[Manifest], opened: Callable[[str], Awaitable[Destination[Any]]]
    ) -> dict[int, str]:
        """Write manifests; return delivery id to what went wrong. `opened` gives a destination, open, by its name."""
        room = asyncio.Semaphore(AT_ONCE)
        wrong: dict[int, str] = {}

        async def one(manifest: Manifest) -> None:
            async with room:
                try:
                    destination = await opened(manifest.destination)
                    if isinstance(destination, ObjectDestination) and destination.options.manifests:
                        await self._put_all(destination, manifest)
                except LogstreamError as error:
                    wrong[manifest.delivery_id] = f"its manifest could not be written: {error}"

        await asyncio.gather(*map(one, manifests))
        return wrong

    async def _put_all(self, destination: ObjectDestination[Any], manifest: Manifest) -> None:
        name, sequence = manifest.destination, manifest.sequence
        # the manifest comes last: where it is, all that it speaks of is
        async for number, lines in _listing_lines(self._ledger, manifest.delivery_id):
            body = await asyncio.to_thread(compress, lines, Compression.GZIP)
            await self._put(destination, listing_key(name, sequence, number), body, MEDIA_TYPE[Compression.GZIP])
        if manifest.signature:
            await self._put(
                destination, manifest_key(name, sequence, ".sig"), manifest.signature.encode(), "text/plain"
            )
        await self._put(destination, manifest_key(name, sequence), manifest.document.encode(), "application/json")

    async def _put(self, destination: ObjectDestination[Any], key: str, body: bytes, media_type: str) -> None:
        for attempt in itertools.count(1):
            outcome = await destination.put(f"{destination.prefix}{key}", body, media_type)
            if isinstance(outcome, Delivered):
                return
            reason = getattr(outcome, "reason", "it was refused")
            if not isinstance(outcome, Retry) or attempt >= self._policy.attempts:
                raise LaneFailed(reason, permanent=not isinstance(outcome, Retry))
            await asyncio.sleep(max(outcome.after or 0.0, self._policy.delay(attempt)))


async def _listing_lines(ledger: Ledger, delivery_id: int) -> AsyncIterator[tuple[int, bytes]]:
    listings = enumerate(lines for _, lines in listings_of(part for _, part in ledger.parts([delivery_id])))
    while (found := await asyncio.to_thread(next, listings, None)) is not None:
        yield found
