"""Manifests: the sealed record of a delivery, chained per destination (docs/manifests.md has the format for auditors).

A manifest is one JSON document; its digest is the SHA-256 of its very bytes, and the next manifest of its chain holds it. A
destination has two chains: of the manifests beside its data, and of those that are in the ledger only. What was delivered,
object by object or request by request, is in listings: NDJSON of at most `LISTING_PARTS` lines each, whose digests the manifest
holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from logstream.destinations.parcel import Part, Tally
from logstream.destinations.transport.keys import MANIFESTS, safe
from logstream.errors import DeliveryError
from logstream.proof.listings import lines_of
from logstream.window import Window

FORMAT = "logstream-manifest/1"
LISTING_PARTS = 50_000


ADDED: Mapping[str, Any] = {
    "lost": 0, "lost_by_workspace": {}, "written_off": 0, "written_off_by_workspace": {}, "ledger_only": False,
}  # fmt: skip
"""Fields that a manifest has only where they say something, and what they mean where they are missing: older ones lack them."""


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
    superseded: Sequence[Listing] = ()
    """Of objects that an earlier export of the window made under other names."""
    prefix: str | None = None
    """What stands before every key at an object store; `None` of services that keep no objects."""
    lost: Tally = field(default_factory=Tally)
    """Events that the log store purged before they could be delivered."""
    written_off: Tally = field(default_factory=Tally)
    """Events that an administrator decided not to deliver."""
    beside: bool = True
    """Whether its manifest is to be beside its data."""


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
    beside: bool = True
    """Whether it is in the chain beside the data; else it is in that of the ledger only."""
    position: int = 0
    """Its place among all manifests of its destination: the newest of a window is in force."""

    @property
    def name(self) -> str:
        """What it is called in findings."""
        return name_of(self.sequence, beside=self.beside)

    @property
    def fields(self) -> dict[str, Any]:
        """The document, parsed. Raises `BrokenManifest`."""
        return fields_in(self.document)


def name_of(sequence: int, *, beside: bool) -> str:
    """What a manifest is called in findings: a destination may have two with one number."""
    return f"manifest {sequence:,}" if beside else f"manifest {sequence:,} in the ledger"


def manifest_of(
    sealed: Sealed, sequence: int, previous: str | None, sealed_at: datetime, key: str | None = None,
    other: Manifest | None = None,
) -> Manifest:  # fmt: skip
    """The manifest of a delivery at its place in the chain. `key` is the public key it will be signed with.

    `other` is the end of the destination's other chain, if there is one: it vouches for that, too.
    """
    place: dict[str, Any] = {
        "sequence": sequence,
        "previous": previous,
        "generation": sealed.generation,
        "sealed_at": sealed_at.isoformat(),
        "key": key,
    }
    if other is not None:
        place["other_chain"] = {"sequence": other.sequence, "sha256": other.digest}
    content = {name: value for name, value in _content(sealed).items() if value or name not in ADDED}
    document = json.dumps({**content, **place}, sort_keys=True, separators=(",", ":"))
    return Manifest(
        sealed.destination,
        sequence,
        sealed.delivery_id,
        sealed.generation,
        sealed.window,
        document,
        digest_of(document),
        beside=sealed.beside,
    )


class BrokenManifest(DeliveryError):
    """A document is no manifest: why, in words."""


class _Window(msgspec.Struct):
    start: str
    end: str


class _Listing(msgspec.Struct):
    parts: int
    sha256: str


class _End(msgspec.Struct):
    sequence: int
    sha256: str


class _Fields(msgspec.Struct):
    """What every manifest has, and of what type; there may be more."""

    format: Literal["logstream-manifest/1"]
    destination: str
    sequence: int
    previous: str | None
    window: _Window
    generation: int
    settings_snapshot: int
    events: int
    delivered_by_workspace: dict[str, dict[str, int]]
    rejected_by_workspace: dict[str, dict[str, int]]
    listings: list[_Listing]
    superseded: list[_Listing]
    prefix: str | None
    key: str | None
    lost: int = 0
    lost_by_workspace: dict[str, dict[str, int]] = {}
    written_off: int = 0
    written_off_by_workspace: dict[str, dict[str, int]] = {}
    ledger_only: bool = False
    other_chain: _End | None = None


_checked = msgspec.json.Decoder(_Fields)


def fields_in(document: str | bytes) -> dict[str, Any]:
    """A manifest's fields, of the types that they must have. Raises `BrokenManifest`."""
    try:
        _checked.decode(document)
        found: dict[str, Any] = json.loads(document)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise BrokenManifest(f"it is no manifest: {error}") from None
    return found


def window_in(fields: Mapping[str, Any]) -> Window:
    """The window that a manifest is of. Raises `BrokenManifest`."""
    try:
        return Window(*(datetime.fromisoformat(fields["window"][name]).astimezone(UTC) for name in ("start", "end")))
    except ValueError as error:
        raise BrokenManifest(f"it is no manifest: {error}") from None


def key_of(manifest: Manifest) -> str | None:
    """The public key that a manifest says it is signed with; `None` for what is no manifest."""
    try:
        key: str | None = manifest.fields["key"]
    except BrokenManifest:
        return None
    return key


def end_named_by(fields: Mapping[str, Any]) -> tuple[int, str] | None:
    """The end of its destination's other chain that a manifest names: its number there, and its digest."""
    named = fields.get("other_chain")
    return (named["sequence"], named["sha256"]) if named else None


def says_the_same(manifest: Manifest, sealed: Sealed) -> bool:
    """Whether a manifest says of a delivery what its new one would: the same events in the same objects.

    Which version of the settings made them, and how much was sent until they were there, makes no other delivery of it. It must
    be in the chain that the new one would be in; older ones do not say in which they are.
    """
    if manifest.beside is not sealed.beside:
        return False
    left_out = "settings_snapshot", "bytes", "ledger_only"
    content = {name: value for name, value in _content(sealed).items() if name not in left_out}
    try:
        fields = manifest.fields
    except BrokenManifest:
        return False
    return {name: fields.get(name, ADDED.get(name)) for name in content} == content


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
        "lost": sealed.lost.total(),
        "lost_by_workspace": by_workspace(sealed.lost),
        "written_off": sealed.written_off.total(),
        "written_off_by_workspace": by_workspace(sealed.written_off),
        "prefix": sealed.prefix,
        "listings": _as_json(sealed.listings),
        "superseded": _as_json(sealed.superseded),
        "ledger_only": not sealed.beside,
    }


def _as_json(listings: Iterable[Listing]) -> list[dict[str, object]]:
    return [{"parts": listing.parts, "sha256": listing.sha256} for listing in listings]


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
    return f"{MANIFESTS}/{safe(destination)}/{sequence:08d}{suffix}"


def listing_key(destination: str, sequence: int, number: int) -> str:
    """Where a listing is beside the data."""
    return manifest_key(destination, sequence, listing_suffix(number))


def listing_suffix(number: int, *, superseded: bool = False) -> str:
    """How the names of listings end, after the manifest's number."""
    return f"{'-superseded' if superseded else ''}-{number:05d}.ndjson.gz"


def file_suffixes(fields: Mapping[str, Any]) -> Iterator[str]:
    """How the names of all files of a manifest end, after its number."""
    yield ".json"
    if fields["key"]:
        yield ".sig"
    yield from (listing_suffix(number) for number in range(len(fields["listings"])))
    yield from (listing_suffix(number, superseded=True) for number in range(len(fields["superseded"])))


def by_workspace(tally: Tally) -> dict[str, dict[str, int]]:
    """Counts as a manifest has them."""
    found: dict[str, dict[str, int]] = {}
    for (workspace, kind), events in sorted(tally.items()):
        if events:
            found.setdefault(str(workspace), {})[kind] = events
    return found
