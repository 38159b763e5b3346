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
from logstream.proof.chain import Place, chain_problems, order_problems
from logstream.proof.manifests import BrokenManifest, Manifest, by_workspace, end_named_by, listings_of
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
        ends = self._ledger.chain_ends(names, put=True)
        for destination, chains in groupby(self._ledger.links_of(names), key=lambda item: item[0][0]):
            places: list[Place] = []
            for key, chain in groupby(chains, key=itemgetter(0)):
                links = (link for _, link in chain)
                problems = chain_problems(
                    links, self._public_key, numbers[key].__contains__, beside=key[1],
                    vouched_for=_is_vouched_for(key, ends), places=places,
                )  # fmt: skip
                for what in problems:
                    self._find(span, destination, what)
            for what in order_problems(places):
                self._find(span, destination, what)
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


def _is_vouched_for(key: Chain, ends: Mapping[Chain, Manifest]) -> bool:
    """Whether the newest manifest of the other chain names the end of this one, which is the last that was put."""
    end, other = ends.get(key), ends.get((key[0], not key[1]))
    if end is None or other is None:
        return False
    try:
        return end_named_by(other.fields) == (end.sequence, end.digest)
    except BrokenManifest:
        return False
