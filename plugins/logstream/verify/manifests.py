"""The ledger against its manifests: the same counts, the same lists, unbroken chains, valid signatures."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from logstream.destinations.parcel import Tally
from logstream.ledger.ledger import Ledger
from logstream.ledger.losses import Loss, Why
from logstream.ledger.manifests import Chain
from logstream.ledger.records import Lane, State
from logstream.proof.chain import chain_problems
from logstream.proof.manifests import BrokenManifest, Manifest, by_workspace, listings_of, names_end
from logstream.verify.findings import Finding, Verification
from logstream.verify.parts import PartsReader
from logstream.verify.places import PlaceVerifier
from logstream.window import Window


@dataclass(frozen=True, slots=True)
class SealedDelivery:
    """A complete delivery, the manifest that is in force for it, and what that says."""

    manifest: Manifest
    fields: Mapping[str, Any]
    lanes: Sequence[Lane]

    @property
    def delivery_id(self) -> int:
        """Its id in the ledger, which is not always that in the manifest's row."""
        return self.lanes[0].delivery_id


class ManifestVerifier:
    """Compares what the ledger says of deliveries with what their manifests say."""

    def __init__(
        self, ledger: Ledger, places: PlaceVerifier, result: Verification, public_key: str | None = None
    ) -> None:
        self._ledger, self._places, self._result, self._public_key = ledger, places, result, public_key
        self._losses: dict[int, list[Loss]] = defaultdict(list)
        for loss in result.lost:
            self._losses[loss.delivery_id].append(loss)

    def verify(self, span: Window, lanes: Sequence[Lane]) -> dict[str, list[SealedDelivery]]:
        """Verify the manifests of a span, and the chains they are in; return destination to its sealed deliveries."""
        deliveries: dict[int, list[Lane]] = defaultdict(list)
        for lane in lanes:
            deliveries[lane.delivery_id].append(lane)
        manifests: dict[tuple[str, Window], Manifest] = {}
        numbers: dict[Chain, set[int]] = defaultdict(set)
        for manifest in self._ledger.manifests_within(span):  # in order: the newest of a window is in force
            manifests[(manifest.destination, manifest.window)] = manifest
            numbers[(manifest.destination, manifest.beside)].add(manifest.sequence)
        names = {lane.destination for lane in lanes} | {destination for destination, _ in numbers}
        ends = self._ledger.chain_ends(names)
        for key, chain in groupby(self._ledger.links_of(names), key=itemgetter(0)):
            destination, beside = key
            links = (link for _, link in chain)
            # the other one is newer where the destination has become of another kind: it vouches for this one
            goes_on = key not in ends or (other := ends.get((destination, not beside))) is None or (
                ends[key].position > other.position
            )  # fmt: skip
            look_at = numbers[key].__contains__
            for what in chain_problems(links, self._public_key, look_at, beside=beside, goes_on=goes_on):
                self._find(span, destination, what)
        for destination in names:
            self._ended_chain(span, destination, ends)
        sealed: dict[str, list[SealedDelivery]] = defaultdict(list)
        self._parts = PartsReader(self._ledger, list(deliveries))
        self._places.expect(list(deliveries.values()))
        for found in deliveries.values():
            place = found[0].destination, found[0].window
            if all(lane.state is State.DELIVERED for lane in found):
                delivery = self._delivery(manifests.get(place), found)
                if delivery is not None:
                    sealed[delivery.manifest.destination].append(delivery)
            manifests.pop(place, None)
        for manifest in manifests.values():
            what = f"{manifest.name} speaks of a delivery that the ledger no longer holds"
            self._find(manifest.window, manifest.destination, what)
        return sealed

    def _find(self, window: Window, destination: str, what: str) -> None:
        self._result.findings.append(Finding(window, destination, what))

    def _delivery(self, manifest: Manifest | None, lanes: Sequence[Lane]) -> SealedDelivery | None:
        """Verify the manifest of a complete delivery; return both, if it is one."""
        window, destination = lanes[0].window, lanes[0].destination
        if manifest is None:
            self._find(window, destination, "it has no manifest: it was removed, or the delivery never sealed")
            return None
        try:
            delivery = SealedDelivery(manifest, manifest.fields, lanes)
        except BrokenManifest:
            return None  # told with the chain
        for what in itertools.chain(
            self._against_ledger(delivery),
            self._places.verify(delivery.delivery_id, self._parts.parts(delivery.delivery_id)),
        ):
            self._find(window, destination, what)
        return delivery

    def _ended_chain(self, span: Window, destination: str, ends: Mapping[Chain, Manifest]) -> None:
        """The newest manifest of a destination holds the digest of the end of its other chain."""
        both = [ends[key] for key in ((destination, True), (destination, False)) if key in ends]
        if len(both) == 2:
            ended, newest = sorted(both, key=lambda manifest: manifest.position)
            if not names_end(newest, ended):
                what = f"{newest.name} does not vouch for {ended.name}, the end of the other chain"
                self._find(span, destination, f"{what}: that was rewritten, cut off or continued unseen")

    def _against_ledger(self, delivery: SealedDelivery) -> Iterator[str]:
        name = delivery.manifest.name
        delivered, rejected = Tally(), Tally()
        for lane in delivery.lanes:
            delivered.update(lane.delivered)
            rejected.update(lane.rejected)
        lost = {why: Tally() for why in Why}
        for loss in self._losses.get(delivery.delivery_id, ()):
            lost[loss.why][(loss.workspace_id, loss.kind)] += loss.events
        counts = {"delivered": delivered, "rejected": rejected, "written_off": lost[Why.WRITTEN_OFF]}
        if "lost" in delivery.fields:  # manifests of older versions say nothing of it
            counts["lost"] = lost[Why.PURGED]
        for what, tally in counts.items():
            if delivery.fields.get(f"{what}_by_workspace", {}) != by_workspace(tally):
                words = what.replace("_", " ")
                yield f"the ledger's count of {words} events is not that of {name}"
        if delivery.lanes[0].pruned:
            return
        parts = self._parts.parts(delivery.delivery_id)
        listings = [{"parts": listing.parts, "sha256": listing.sha256} for listing, _ in listings_of(parts)]
        if listings != delivery.fields["listings"]:
            yield f"the ledger's list of what was delivered is not that of {name}"
