"""The ledger against its manifests: the same counts, the same lists, unbroken chains, valid signatures."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

from logstream.destinations.parcel import Tally
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import Lane, State
from logstream.proof.manifests import Manifest, broken_links, by_workspace, listings_of
from logstream.proof.signing import is_signed
from logstream.verify.findings import Finding, Verification
from logstream.verify.places import PlaceVerifier
from logstream.window import Window


class ManifestVerifier:
    """Compares what the ledger says of deliveries with what their manifests say."""

    def __init__(
        self, ledger: Ledger, places: PlaceVerifier, result: Verification, public_key: str | None = None
    ) -> None:
        self._ledger, self._places, self._result, self._public_key = ledger, places, result, public_key

    def verify(self, span: Window, lanes: Sequence[Lane]) -> dict[str, list[tuple[Manifest, list[Lane]]]]:
        """Verify the manifests of a span, and the chains they are in; return destination to its sealed deliveries."""
        result = self._result
        deliveries: dict[int, list[Lane]] = defaultdict(list)
        for lane in lanes:
            deliveries[lane.delivery_id].append(lane)
        manifests = {manifest.delivery_id: manifest for manifest in self._ledger.manifests_within(span)}
        everything = Window(span.start, span.end)
        names = {found[0].destination for found in deliveries.values()} | {m.destination for m in manifests.values()}
        for destination in sorted(names):
            for what in broken_links(self._ledger.links(destination)):
                result.findings.append(Finding(everything, destination, what))
        complete: dict[str, list[tuple[Manifest, list[Lane]]]] = defaultdict(list)
        for number, found in deliveries.items():
            lane = found[0]
            if any(item.state is not State.DELIVERED for item in found):
                continue
            manifest = manifests.get(number)
            if manifest is None:
                result.findings.append(
                    Finding(
                        lane.window,
                        lane.destination,
                        "it has no manifest: it was removed, or the delivery never sealed",
                    )
                )
                continue
            for what in itertools.chain(self._against_ledger(manifest, found), self._places.verify(number, found)):
                result.findings.append(Finding(lane.window, lane.destination, what))
            complete[lane.destination].append((manifest, found))
        for number, manifest in manifests.items():
            if number not in deliveries:
                what = f"manifest {manifest.sequence:,} speaks of a delivery that the ledger no longer holds"
                result.findings.append(Finding(manifest.window, manifest.destination, what))
        return complete

    def _against_ledger(self, manifest: Manifest, lanes: Sequence[Lane]) -> Iterator[str]:
        says = manifest.fields
        delivered, rejected = Tally(), Tally()
        for lane in lanes:
            delivered.update(lane.delivered)
            rejected.update(lane.rejected)
        for name, tally in (("delivered", delivered), ("rejected", rejected)):
            if says[f"{name}_by_workspace"] != by_workspace(tally):
                yield f"the ledger's count of {name} events is not that of manifest {manifest.sequence:,}"
        listings = [
            {"parts": listing.parts, "sha256": listing.sha256}
            for listing, _ in listings_of(part for _, part in self._ledger.parts([manifest.delivery_id]))
        ]
        if not lanes[0].pruned and listings != says["listings"]:
            yield f"the ledger's list of what was delivered is not that of manifest {manifest.sequence:,}"
        key = says.get("key")
        if key and not is_signed(manifest.document, manifest.signature, key):
            yield f"the signature of manifest {manifest.sequence:,} is not valid"
        if key and self._public_key and key != self._public_key:
            yield f"manifest {manifest.sequence:,} is signed by another key than that of connection `logstream_signing`"
