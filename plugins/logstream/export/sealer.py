"""Sealing: deliveries that are complete get their manifests, in the ledger and, at object stores, beside the data."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from logstream.destinations.base import Destination
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.parcel import Part
from logstream.errors import DeliveryError, LogstreamError
from logstream.export.beside import ManifestFolder, ManifestOutdated
from logstream.export.send import RetryPolicy
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import Delivery
from logstream.proof.manifests import Listing, Manifest, Sealed, listings_of
from logstream.proof.signing import Signer

log = logging.getLogger("logstream")

AT_ONCE = 16
"""Destinations whose manifests are written at once."""

TROUBLES = 3
"""Superseded objects that could not be removed before the rest of them is left where it is."""

Opened = Callable[[str, int], Awaitable[Destination[Any]]]
"""Gives a destination, open, as a snapshot of the settings has it."""


@dataclass(frozen=True, slots=True)
class _Complete:
    """A delivery that is to be sealed."""

    delivery: Delivery
    destination: ObjectDestination[Any] | None
    """Where its objects are; `None` of services that keep none."""
    before: Manifest | None
    """The manifest that was in force when the ledger forgot what it lists."""

    @property
    def id(self) -> int:
        return self.delivery.id

    @property
    def name(self) -> str:
        return self.delivery.destination


class Sealer:
    """Gives complete deliveries their manifests, and removes what they supersede."""

    def __init__(self, ledger: Ledger, policy: RetryPolicy, signer: Signer | None, opened: Opened) -> None:
        self._ledger, self._policy, self._signer, self._opened = ledger, policy, signer, opened
        self._room = asyncio.Semaphore(AT_ONCE)

    async def seal(self, deliveries: Sequence[Delivery]) -> dict[int, str]:
        """Seal complete deliveries; return delivery id to what went wrong.

        One that went wrong has no manifest, or it is in the ledger only: sealing it again goes on from there.
        """
        destinations: dict[tuple[str, int], list[Delivery]] = {}
        for delivery in deliveries:
            destinations.setdefault((delivery.destination, delivery.snapshot_id), []).append(delivery)
        before = await asyncio.to_thread(self._ledger.before_pruning, [delivery.id for delivery in deliveries])
        wrong: dict[int, str] = {}
        ready: list[_Complete] = []
        await asyncio.gather(*(self._prepare(found, before, ready, wrong) for found in destinations.values()))
        manifests = await asyncio.to_thread(self._chain, ready)
        beside: dict[str, list[_Complete]] = {}
        for item in ready:
            if item.destination is not None and item.destination.options.manifests:
                beside.setdefault(item.name, []).append(item)
        left = await asyncio.to_thread(self._ledger.not_put, list(beside))
        put = [manifest for manifest in manifests.values() if manifest.destination not in beside]
        await asyncio.gather(
            *(self._put(found, [m for m in left if m.destination == name], manifests, put, wrong)
              for name, found in beside.items())
        )  # fmt: skip
        await asyncio.to_thread(self._ledger.note_put, put)
        await asyncio.gather(*(self._remove_superseded(item, wrong) for item in ready))
        return wrong

    async def _prepare(
        self, deliveries: Sequence[Delivery], before: dict[int, Manifest], ready: list[_Complete], wrong: dict[int, str]
    ) -> None:
        """Open the destination of some deliveries, and take over manifests that are there and not in the ledger."""
        name, snapshot_id = deliveries[0].destination, deliveries[0].snapshot_id
        async with self._room:
            try:
                destination = await self._opened(name, snapshot_id)
                objects = destination if isinstance(destination, ObjectDestination) else None
                if objects is not None and objects.options.manifests:
                    await self._catch_up(name, ManifestFolder(objects, self._policy))
            except LogstreamError as error:
                wrong.update({delivery.id: f"its manifest could not be written: {error}" for delivery in deliveries})
                return
        ready += [_Complete(delivery, objects, before.get(delivery.id)) for delivery in deliveries]

    async def _catch_up(self, name: str, folder: ManifestFolder) -> None:
        ends = await asyncio.to_thread(self._ledger.chain_ends, [name])
        end = ends.get(name)
        while found := await folder.ahead_of(end):
            await asyncio.to_thread(self._ledger.adopt, name, found)
            log.warning(
                "Manifests %s to %s of %s are at the destination and were not in the ledger, whose control database was "
                "restored from a backup or is new. The chain goes on after them.",
                found[0].sequence, found[-1].sequence, name,
            )  # fmt: skip
            end = (await asyncio.to_thread(self._ledger.chain_ends, [name]))[name]

    def _chain(self, deliveries: Sequence[_Complete]) -> dict[int, Manifest]:
        """Make the manifests in the ledger."""
        parts = self._ledger.parts(item.id for item in deliveries)
        grouped = itertools.groupby(parts, key=lambda item: item[0])
        listings = {
            number: [listing for listing, _ in listings_of(part for _, part in group)] for number, group in grouped
        }
        sealed = [
            Sealed(
                item.id, item.name, item.delivery.window, item.delivery.generation, item.delivery.snapshot_id,
                item.delivery.delivered_tally, item.delivery.rejected_tally, item.delivery.bytes,
                _carried(item.before, "listings") + listings.get(item.id, []),
                _carried(item.before, "superseded") + self._settle_superseded(item),
                item.destination.prefix if item.destination is not None else None,
            )
            for item in deliveries
        ]  # fmt: skip
        return {manifest.delivery_id: manifest for manifest in self._ledger.chain(sealed, self._signer)}

    def _settle_superseded(self, item: _Complete) -> list[Listing]:
        """List what earlier exports of the delivery made under other names, and forget the rest of it."""
        first = next(self._ledger.superseded([item.id]), None)
        if first is None:
            return []
        left = _superseded(self._ledger, item.id) if item.destination is not None else iter(())
        self._ledger.keep_superseded(item.id, left)
        kept = (part for _, part in self._ledger.superseded([item.id]))
        return [listing for listing, _ in listings_of(kept)]

    async def _put(
        self, items: Sequence[_Complete], left: Sequence[Manifest], manifests: Mapping[int, Manifest],
        put: list[Manifest], wrong: dict[int, str],
    ) -> None:  # fmt: skip
        """Put the manifests of one destination beside the data, in the order of their chain.

        Those that an earlier sealing has `left` go first, so that the chain beside the data never has a hole. Where one cannot
        be put, the later ones are not either: their deliveries are owed, and sealed again.
        """
        ours = {manifests[item.id].sequence: item for item in items}
        todo = {manifest.sequence: manifest for manifest in left}
        todo |= {sequence: manifests[item.id] for sequence, item in ours.items()}
        async with self._room:
            for sequence, manifest in sorted(todo.items()):
                destination = ours.get(sequence, items[0]).destination
                assert destination is not None  # noqa: S101 - they have manifests beside their data
                try:
                    await self._put_one(ManifestFolder(destination, self._policy), manifest)
                except LogstreamError as error:
                    later = [ours[number] for number in ours if number >= sequence]
                    wrong.update({item.id: f"its manifest could not be written: {error}" for item in later})
                    return
                put.append(manifest)

    async def _put_one(self, folder: ManifestFolder, manifest: Manifest) -> None:
        number = manifest.delivery_id
        before = await asyncio.to_thread(self._ledger.before_pruning, [number])
        parts = {
            False: (part for _, part in self._ledger.parts([number])),
            True: (part for _, part in self._ledger.superseded([number])),
        }
        try:
            await folder.put(manifest, parts, before.get(number))
        except ManifestOutdated as error:
            # a sealing was cut short before it was put, and its delivery was planned anew since
            if await asyncio.to_thread(self._ledger.drop_end, manifest.destination, manifest.sequence):
                raise DeliveryError(
                    f"manifest {manifest.sequence:,} was never put, and {error}; a new one is made when it is sealed again"
                ) from None
            raise

    async def _remove_superseded(self, item: _Complete, wrong: dict[int, str]) -> None:
        """Remove what a delivery supersedes. What cannot be removed is no fault: its manifest tells that it is superseded."""
        destination, failed = item.destination, 0
        if destination is None or item.id in wrong:
            return
        for name in await asyncio.to_thread(self._removable, item, destination):
            try:
                await destination.delete(name)
            except FileNotFoundError:
                continue
            except Exception as error:  # many credentials may write and not delete
                failed += 1
                log.info("%s stays at %s, superseded: it cannot be removed: %s", name, item.name, type(error).__name__)
                if failed >= TROUBLES:
                    return

    def _removable(self, item: _Complete, destination: ObjectDestination[Any]) -> list[str]:
        names = [part.name for _, part in self._ledger.superseded([item.id])]
        if not names or destination.names_are_its_own:
            return names
        # another window, or another destination in the same place, may have put an object of the same name
        if self._ledger.others_under_way(item.id):
            return []
        others = set(names).intersection(self._ledger.names_of_others(item.id))
        return [name for name in names if name not in others]


def _superseded(ledger: Ledger, delivery_id: int) -> Iterator[Part]:
    """What earlier exports made under names that the delivery has not now; of equal names the newest."""
    seen = {part.name for _, part in ledger.parts([delivery_id])}
    for _, part in ledger.superseded([delivery_id]):
        if part.name not in seen:
            seen.add(part.name)
            yield part


def _carried(before: Manifest | None, field: str) -> list[Listing]:
    """The listings of what the ledger has forgotten."""
    return [Listing(found["parts"], found["sha256"]) for found in before.fields[field]] if before else []
