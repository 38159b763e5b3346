"""Manifests: the sealed record of a delivery, chained per destination (docs/manifests.md has the format for auditors).

A manifest is one JSON document; its digest is the SHA-256 of its very bytes, and the next manifest of the destination holds
it. What was delivered, object by object or request by request, is in listings: NDJSON of at most `LISTING_PARTS` lines each,
whose digests the manifest holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from logstream.destinations.keys import safe
from logstream.destinations.parcel import Part, Tally
from logstream.proof.listings import lines_of
from logstream.window import Window

FORMAT = "logstream-manifest/1"
LISTING_PARTS = 50_000
FOLDER = "_manifests"


@dataclass(frozen=True, slots=True)
class Listing:
    """The digest of some lines of what was delivered."""

    parts: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a manifest says of one delivery, before it has its place in the chain."""

    delivery_id: int
    destination: str
    window: Window
    generation: int
    snapshot_id: int
    delivered: Tally
    rejected: Tally
    bytes: int
    listings: Sequence[Listing]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest in its chain."""

    destination: str
    sequence: int
    delivery_id: int
    generation: int
    window: Window
    document: str
    digest: str
    signature: str | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The document, parsed."""
        found: dict[str, Any] = json.loads(self.document)
        return found


def manifest_of(
    sealed: Sealed, sequence: int, previous: str | None, sealed_at: datetime, key: str | None = None
) -> Manifest:
    """The manifest of a delivery at its place in the chain. `key` is the public key it will be signed with."""
    place = {
        "sequence": sequence,
        "previous": previous,
        "generation": sealed.generation,
        "sealed_at": sealed_at.isoformat(),
        "key": key,
    }
    document = json.dumps({**_content(sealed), **place}, sort_keys=True, separators=(",", ":"))
    return Manifest(
        sealed.destination,
        sequence,
        sealed.delivery_id,
        sealed.generation,
        sealed.window,
        document,
        digest_of(document),
    )


def says_the_same(manifest: Manifest, sealed: Sealed) -> bool:
    """Whether a manifest says of a delivery what its new one would, but for its place in the chain."""
    content = _content(sealed)
    return {name: manifest.fields.get(name) for name in content} == content


def _content(sealed: Sealed) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "destination": sealed.destination,
        "window": sealed.window.as_json(),
        "settings_snapshot": sealed.snapshot_id,
        "events": sealed.delivered.total(),
        "rejected": sealed.rejected.total(),
        "bytes": sealed.bytes,
        "delivered_by_workspace": by_workspace(sealed.delivered),
        "rejected_by_workspace": by_workspace(sealed.rejected),
        "listings": [{"parts": listing.parts, "sha256": listing.sha256} for listing in sealed.listings],
    }


def digest_of(document: str) -> str:
    """The digest of a manifest."""
    return hashlib.sha256(document.encode()).hexdigest()


def listings_of(parts: Iterable[Part]) -> Iterator[tuple[Listing, bytes]]:
    """The listings of what was delivered, each with its lines. One is in memory at a time."""
    some: list[Part] = []
    for part in parts:
        some.append(part)
        if len(some) == LISTING_PARTS:
            yield _listing(some)
            some = []
    if some:
        yield _listing(some)


def _listing(parts: list[Part]) -> tuple[Listing, bytes]:
    lines = lines_of(parts)
    return Listing(len(parts), hashlib.sha256(lines).hexdigest()), lines


def manifest_key(destination: str, sequence: int, suffix: str = ".json") -> str:
    """Where a manifest is beside the data, below the destination's prefix. Listings are `-00000.ndjson.gz` and so on."""
    return f"{FOLDER}/{safe(destination)}/{sequence:08d}{suffix}"


def listing_key(destination: str, sequence: int, number: int) -> str:
    """Where a listing is beside the data."""
    return manifest_key(destination, sequence, f"-{number:05d}.ndjson.gz")


def broken_links(chain: Iterable[tuple[int, str, str]]) -> Iterator[str]:
    """What is wrong with a chain, in words: its manifests' sequence, document and digest, in order of `sequence`."""
    expected, previous = 1, None
    for sequence, document, digest in chain:
        if sequence != expected:
            missing = f"{expected:,}" if sequence == expected + 1 else f"{expected:,} to {sequence - 1:,}"
            yield f"manifest {missing} of the chain is removed"
            previous = None
        says = json.loads(document)
        if digest_of(document) != digest:
            yield f"manifest {sequence:,} was altered: its digest is not that of its bytes"
        if says["sequence"] != sequence:
            yield f"manifest {sequence:,} is in another's place: it says it is {says['sequence']:,}"
        elif (previous is not None or sequence == 1) and says["previous"] != previous:
            yield f"the chain is broken at manifest {sequence:,}: it does not hold the digest of the one before it"
        expected, previous = sequence + 1, digest


def by_workspace(tally: Tally) -> dict[str, dict[str, int]]:
    """Counts as a manifest has them."""
    found: dict[str, dict[str, int]] = {}
    for (workspace, kind), events in sorted(tally.items()):
        if events:
            found.setdefault(str(workspace), {})[kind] = events
    return found
