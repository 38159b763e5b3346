"""Sealing: deliveries that are complete get their manifests, in the ledger and, at object stores, beside the data."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from logstream.destinations.base import Destination
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.parcel import Part, Tally
from logstream.errors import ChangedMeanwhile, ours
from logstream.export.beside import Carried, Made, ManifestFolder, ManifestOutdated, listings_in
from logstream.export.isolation import Isolation
from logstream.export.send import RetryPolicy
from logstream.export.superseded import remove_superseded, still_superseded
from logstream.ledger.ledger import Ledger
from logstream.ledger.losses import Why
from logstream.ledger.manifests import Chain
from logstream.ledger.records import Delivery
from logstream.proof.manifests import Listing, Manifest, Sealed, listings_of
from logstream.proof.signing import Signer

log = logging.getLogger("logstream")

AT_ONCE = 16
"""Destinations whose manifests are written at once."""

KEPT_BYTES = 32 * 1024 * 1024
"""Lines of listings that are kept until they are put; those of larger windows are read from the ledger again."""

UNWRITTEN = "its manifest could not be written"

Opened = Callable[[str, int], Awaitable[Destination[Any]]]
"""Gives a destination, open, as a snapshot of the settings has it."""


Homes = dict[tuple[str, int], ObjectDestination[Any] | None]
"""Name and settings snapshot to the destination where objects are; `None` of services that keep none."""


@dataclass(frozen=True, slots=True)
class _Complete:
    """A delivery that is to be sealed."""

    delivery: Delivery
    destination: ObjectDestination[Any] | None
    """Where its objects are; `None` of services that keep none."""
    before: Manifest | None
    """The manifest that was in force when the ledger forgot what it lists."""
    forgotten: Manifest | None
    """The same, of a delivery that has begun afresh since: what that lists is superseded."""
    lost: Mapping[Why, Tally]
    beside: bool
    """Whether its manifest is to be beside its data."""
    supersedes: bool
    """Whether an earlier export of it made objects under other names."""

    @property
    def listed(self) -> list[Carried]:
        """Listings of what was delivered that the ledger has forgotten."""
        return listings_in(self.before, superseded=False)

    @property
    def earlier(self) -> list[Carried]:
        """All listings that its manifest may have from earlier ones."""
        return _carried(self.before, self.forgotten)


class Sealer:
    """Gives complete deliveries their manifests, and removes what they supersede.

    What goes wrong with one delivery is in `isolation.wrong`, and stops no other. Such a delivery has no manifest, or it is in
    the ledger only: sealing it again goes on from there.
    """

    def __init__(
        self, ledger: Ledger, policy: RetryPolicy, signer: Signer | None, opened: Opened, isolation: Isolation
    ) -> None:
        self._ledger, self._policy, self._signer, self._opened = ledger, policy, signer, opened
        self._isolation = isolation
        self._room = asyncio.Semaphore(AT_ONCE)
        self._lines = _Lines()
        self._listed: dict[int, int] = {}
        """The events of the parts that were read of deliveries, by id."""

    async def seal(self, deliveries: Sequence[Delivery]) -> None:
        """Seal complete deliveries."""
        homes: dict[tuple[str, int], list[Delivery]] = {}
        for delivery in deliveries:
            homes.setdefault((delivery.destination, delivery.snapshot_id), []).append(delivery)
        destinations: Homes = {}
        ends: dict[Chain, Manifest] = {}
        await asyncio.to_thread(self._isolation.together, UNWRITTEN, deliveries, partial(self._read_ends, ends))
        await asyncio.gather(
            *(
                self._isolation.run(UNWRITTEN, found, partial(self._prepare, key, destinations, ends))
                for key, found in homes.items()
            )
        )
        ready = await asyncio.to_thread(self._described, self._isolation.sound(deliveries), destinations)
        superseded: dict[int, list[Carried]] = {}
        await asyncio.gather(
            *(self._isolation.run(UNWRITTEN, [item.delivery], partial(self._carry, item, superseded)) for item in ready)
        )
        manifests = await asyncio.to_thread(self._chain, ready, superseded)
        ready = [item for item in ready if item.delivery.id in manifests]
        await self._put_all(ready, manifests)
        await asyncio.gather(
            *(
                self._isolation.run(
                    UNWRITTEN, [item.delivery],
                    partial(remove_superseded, self._ledger, item.delivery, item.destination),
                )
                for item in ready
                if item.supersedes and item.destination is not None and item.delivery.id not in self._isolation.wrong
            )
        )  # fmt: skip

    async def seal_in_ledger(self, deliveries: Sequence[Delivery], homes: Homes) -> None:
        """Give complete deliveries their manifests in the ledger alone: their destination cannot be opened, or not written.

        They are put if it ever gets another window.
        """
        ready = await asyncio.to_thread(self._described, deliveries, homes)
        await asyncio.to_thread(self._chain, ready, {})

    def _described(self, deliveries: Sequence[Delivery], destinations: Homes) -> list[_Complete]:
        """Deliveries with what the ledger has of each beside its lanes, read for all at once."""
        ready: list[_Complete] = []

        def read(some: Sequence[Delivery]) -> None:
            ids = [delivery.id for delivery in some]
            before, forgotten = self._ledger.before_pruning(ids), self._ledger.forgotten(ids)
            lost, superseded = self._ledger.lost_of(ids), self._ledger.with_superseded(ids)
            for delivery in some:
                number, home = delivery.id, destinations.get((delivery.destination, delivery.snapshot_id))
                beside = home is not None and home.options.manifests and _may_be_listed(before.get(number))
                complete = before.get(number), forgotten.get(number), lost.get(number, {}), beside, number in superseded
                ready.append(_Complete(delivery, home, *complete))

        self._isolation.together(UNWRITTEN, deliveries, read)
        return ready

    def _read_ends(self, ends: dict[Chain, Manifest], deliveries: Sequence[Delivery]) -> None:
        ends |= self._ledger.chain_ends({delivery.destination for delivery in deliveries})

    async def _prepare(self, key: tuple[str, int], destinations: Homes, ends: Mapping[Chain, Manifest]) -> None:
        """Open a destination, and take over manifests that are there and not in the ledger."""
        async with self._room:
            destination = await self._opened(*key)
            objects = destination if isinstance(destination, ObjectDestination) else None
            if objects is not None and objects.options.manifests:
                await self._catch_up(key[0], ManifestFolder(objects, self._policy), ends.get((key[0], True)))
            destinations[key] = objects

    async def _catch_up(self, name: str, folder: ManifestFolder, end: Manifest | None) -> None:
        while found := await folder.ahead_of(end):
            await asyncio.to_thread(self._ledger.adopt, name, found)
            log.warning(
                "Manifests %s to %s of %s are at the destination and were not in the ledger, whose control database was "
                "restored from a backup or is new. The chain goes on after them.",
                found[0].sequence, found[-1].sequence, name,
            )  # fmt: skip
            end = (await asyncio.to_thread(self._ledger.chain_ends, [name]))[(name, True)]

    async def _carry(self, item: _Complete, superseded: dict[int, list[Carried]]) -> None:
        """Find the listings of superseded objects that the ledger has forgotten and that are at the destination."""
        carried = listings_in(item.before, superseded=True)
        if item.forgotten is not None and item.forgotten.beside and item.destination is not None and item.beside:
            old = listings_in(item.forgotten, superseded=False)
            listings = (await asyncio.to_thread(self._listings, [item.delivery]))[item.delivery.id]
            if [(listing.parts, listing.sha256) for listing in old] == [(some.parts, some.sha256) for some in listings]:
                old = []  # exported again to the same objects: they are not superseded
            old += listings_in(item.forgotten, superseded=True)
            # what lies below another prefix, or whose listings are gone, cannot be spoken of
            async with self._room:
                if item.forgotten.fields["prefix"] == item.destination.prefix and (
                    await ManifestFolder(item.destination, self._policy).has(old)
                ):
                    carried += old
        superseded[item.delivery.id] = carried

    def _listings(self, deliveries: Sequence[Delivery]) -> dict[int, list[Listing]]:
        """The listings of deliveries, by id, read for all at once."""
        found: dict[int, list[Listing]] = {delivery.id: [] for delivery in deliveries}
        for number, parts in groupby(self._ledger.parts(found), key=itemgetter(0)):
            self._listed[number] = 0
            for listing, lines in listings_of(self._counted(parts)):
                found[number].append(listing)
                self._lines.keep(listing, lines)
        return found

    def _counted(self, parts: Iterable[tuple[int, Part]]) -> Iterator[Part]:
        for number, part in parts:
            self._listed[number] += part.events
            yield part

    def _chain(self, ready: Sequence[_Complete], superseded: Mapping[int, Sequence[Carried]]) -> dict[int, Manifest]:
        """Make the manifests in the ledger; return them by delivery id."""
        listings: dict[int, list[Listing]] = {}
        pruned = set[int]()

        def read(deliveries: Sequence[Delivery]) -> None:
            listings.update(self._listings(deliveries))
            pruned.update(self._ledger.pruned([delivery.id for delivery in deliveries]))

        self._isolation.together(UNWRITTEN, self._isolation.sound([item.delivery for item in ready]), read)
        sealed: dict[int, Sealed] = {}
        for item in ready:
            number = item.delivery.id
            if number in self._isolation.wrong:
                continue
            with self._isolation.step(UNWRITTEN, item.delivery), ours():
                if number in pruned and item.before is None:  # what was to be listed may have been gone by then
                    raise ChangedMeanwhile(
                        "the ledger was pruned of it meanwhile; sealed again, it goes on from its last one"
                    )
                # counts were read before: by now another run may have planned the window again
                if item.before is None and self._listed.get(number, 0) != item.delivery.events:
                    raise ChangedMeanwhile(
                        "another run has planned it again meanwhile; sealed again, it goes on from that"
                    )
                sealed[number] = self._sealed(item, listings[number], superseded.get(number, ()))
        made: dict[int, Manifest] = {}

        def chain(deliveries: Sequence[Delivery]) -> None:
            some = [sealed[delivery.id] for delivery in deliveries]
            # one that was planned again by now gets none: its outcome is not written either
            plans = {delivery.id: delivery.planned_at for delivery in deliveries}
            made.update({manifest.delivery_id: manifest for manifest in self._ledger.chain(some, self._signer, plans)})

        described = [item.delivery for item in ready if item.delivery.id in sealed]
        self._isolation.together(UNWRITTEN, described, chain)
        return made

    def _sealed(self, item: _Complete, listings: Sequence[Listing], superseded: Sequence[Carried]) -> Sealed:
        """What the manifest of a delivery says."""
        delivery = item.delivery
        return Sealed(
            delivery.id, delivery.destination, delivery.window, delivery.generation, delivery.snapshot_id,
            delivery.delivered_tally, delivery.rejected_tally, delivery.bytes,
            [*(Listing(old.parts, old.sha256) for old in item.listed), *listings],
            [Listing(old.parts, old.sha256) for old in superseded] + self._settle_superseded(item),
            item.destination.prefix if item.destination is not None else None,
            item.lost.get(Why.PURGED, Tally()), item.lost.get(Why.WRITTEN_OFF, Tally()), item.beside,
        )  # fmt: skip

    def _settle_superseded(self, item: _Complete) -> list[Listing]:
        """List what earlier exports of the delivery made under other names, and forget the rest of it.

        A service lists none. Objects of the time before it was one stay in the ledger: settings may go back to those.
        """
        if not item.supersedes:
            return []
        number = item.delivery.id
        self._ledger.keep_superseded(number, partial(still_superseded, self._ledger, number))
        if item.destination is None:
            return []
        kept = (part for _, part in self._ledger.superseded([number]))
        return [listing for listing, _ in listings_of(kept)]

    async def _put_all(self, items: Sequence[_Complete], manifests: Mapping[int, Manifest]) -> None:
        """Put manifests beside the data, and note which are where they must be."""
        beside: dict[str, list[_Complete]] = {}
        for item in items:
            if item.beside:
                beside.setdefault(item.delivery.destination, []).append(item)
        left: dict[str, list[Manifest]] = {}
        for manifest in await asyncio.to_thread(self._ledger.not_put, list(beside)):
            left.setdefault(manifest.destination, []).append(manifest)
        put: list[Manifest] = []
        await asyncio.gather(
            *(
                self._isolation.run(
                    UNWRITTEN, [item.delivery for item in found],
                    partial(self._put, found, left.get(name, ()), manifests, put),
                )
                for name, found in beside.items()
            )
        )  # fmt: skip
        await asyncio.to_thread(self._ledger.note_put, put)

    async def _put(
        self, items: Sequence[_Complete], left: Sequence[Manifest], manifests: Mapping[int, Manifest],
        put: list[Manifest],
    ) -> None:  # fmt: skip
        """Put the manifests of one destination beside the data, in the order of their chain.

        Those that an earlier sealing has `left` go first, so that the chain beside the data never has a hole. Where one cannot
        be put, the later ones are not either: their deliveries are owed, and sealed again.
        """
        ours = {manifests[item.delivery.id].sequence: item for item in items}
        todo = {manifest.sequence: manifest for manifest in left}
        todo |= {sequence: manifests[item.delivery.id] for sequence, item in ours.items()}
        async with self._room:
            for sequence, manifest in sorted(todo.items()):
                destination = ours.get(sequence, items[0]).destination
                assert destination is not None  # noqa: S101 - they have manifests beside their data
                is_put = False  # other destinations put theirs meanwhile: what all have put tells nothing of this one
                with self._isolation.step(UNWRITTEN, *(ours[number].delivery for number in ours if number >= sequence)):
                    item = ours.get(sequence)
                    earlier = await self._earlier(manifest) if item is None else item.earlier
                    await self._put_one(ManifestFolder(destination, self._policy), manifest, earlier)
                    put.append(manifest)
                    is_put = True
                if not is_put:
                    return

    async def _earlier(self, manifest: Manifest) -> list[Carried]:
        """All listings that a manifest which an earlier sealing has left may have from those before it."""
        number = manifest.delivery_id
        before = await asyncio.to_thread(self._ledger.before_pruning, [number])
        forgotten = await asyncio.to_thread(self._ledger.forgotten, [number])
        return _carried(before.get(number), forgotten.get(number))

    async def _put_one(self, folder: ManifestFolder, manifest: Manifest, earlier: Sequence[Carried]) -> None:
        number, fields = manifest.delivery_id, manifest.fields
        kept, old = self._lines.of(fields["listings"]), self._lines.of(fields["superseded"])
        made: dict[bool, Made] = {
            False: kept if kept is not None else listings_of(part for _, part in self._ledger.parts([number])),
            True: old if old is not None else listings_of(part for _, part in self._ledger.superseded([number])),
        }
        try:
            await folder.put(manifest, made, earlier)
        except ManifestOutdated as error:
            # a sealing was cut short before it was put, and its delivery was planned anew since
            if await asyncio.to_thread(self._ledger.drop_end, manifest.destination, manifest.sequence):
                raise ChangedMeanwhile(
                    f"manifest {manifest.sequence:,} was never put, and {error}; a new one is made when it is sealed again"
                ) from None
            raise


class _Lines:
    """The lines of the listings that were made, by their digests, as far as there is room for them."""

    def __init__(self) -> None:
        self._found: dict[str, bytes] = {}
        self._free = KEPT_BYTES

    def keep(self, listing: Listing, lines: bytes) -> None:
        """Keep some lines if there is room."""
        if listing.sha256 not in self._found and len(lines) <= self._free:
            self._free -= len(lines)
            self._found[listing.sha256] = lines

    def of(self, listings: Iterable[Mapping[str, Any]]) -> list[tuple[Listing, bytes]] | None:
        """The listings that a manifest names, with their lines; `None` unless all are kept."""
        wanted = [Listing(listing["parts"], listing["sha256"]) for listing in listings]
        if not all(listing.sha256 in self._found for listing in wanted):
            return None
        return [(listing, self._found[listing.sha256]) for listing in wanted]


def _carried(*earlier: Manifest | None) -> list[Carried]:
    return [
        listing
        for old in earlier
        for superseded in (False, True)
        if old is not None and old.beside  # those of one that is in the ledger only are nowhere
        for listing in listings_in(old, superseded=superseded)
    ]


def _may_be_listed(before: Manifest | None) -> bool:
    """Whether what the ledger has forgotten of a delivery may be listed beside the data: it must be already."""
    return before is None or before.beside
