"""Manifests beside the data: read, taken over and put at the destinations that keep objects. None is ever overwritten."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from logstream import clock
from logstream.destinations.objects import ObjectDestination, TooLarge
from logstream.destinations.outcome import Delivered, Retry
from logstream.destinations.parcel import sha256
from logstream.destinations.transport.compression import MEDIA_TYPE, Compression, compress
from logstream.errors import ChangedMeanwhile, DeliveryError
from logstream.export.refusals import LaneFailed
from logstream.export.send import RetryPolicy
from logstream.proof.chain import Link
from logstream.proof.listings import BESIDE_BYTES, NoListing, lines_beside
from logstream.proof.manifests import (
    BrokenManifest,
    Listing,
    Manifest,
    digest_of,
    fields_in,
    listing_suffix,
    manifest_key,
)

log = logging.getLogger("logstream")

AT_A_TIME = 100
"""Manifests that are taken over in one transaction."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A listing that a manifest takes over from an earlier one, because the ledger has forgotten what is in it."""

    prefix: str | None
    sequence: int
    suffix: str
    parts: int
    sha256: str


def listings_in(manifest: Manifest | None, *, superseded: bool) -> list[Carried]:
    """The listings of a manifest: of what it delivered, or of what that superseded."""
    if manifest is None:
        return []
    fields = manifest.fields
    return [
        Carried(
            fields["prefix"], manifest.sequence, listing_suffix(number, superseded=superseded), found["parts"],
            found["sha256"],
        )
        for number, found in enumerate(fields["superseded" if superseded else "listings"])
    ]  # fmt: skip


Made = Iterator[tuple[Listing, bytes]] | list[tuple[Listing, bytes]]
"""Listings with their lines: those in memory are a list."""


class ManifestTaken(DeliveryError):
    """Another manifest is where one must be put."""


class ManifestOutdated(ChangedMeanwhile):
    """What a manifest lists cannot be listed any more: its delivery was planned anew before it was put."""


class ManifestFolder:
    """`_manifests/` of one destination."""

    def __init__(self, destination: ObjectDestination[Any], policy: RetryPolicy) -> None:
        self._destination, self._policy = destination, policy

    def _key(self, prefix: str | None, sequence: int, suffix: str = ".json") -> str:
        return f"{prefix or ''}{manifest_key(self._destination.name, sequence, suffix)}"

    async def ahead_of(self, end: Manifest | None) -> list[Link]:
        """Some of the manifests that are there and follow the end of the ledger's chain; empty if there are none.

        Raises `ManifestTaken` for what is there and does not follow.
        """
        prefix = self._destination.prefix
        sequence, previous = (end.sequence, end.digest) if end else (0, None)
        found: list[Link] = []
        while len(found) < AT_A_TIME:
            sequence += 1
            key = self._key(prefix, sequence)
            body = await self._read(key)
            if body is None:
                break
            try:
                document = body.decode()
                fields = fields_in(document)
            except (BrokenManifest, UnicodeDecodeError):
                raise self._taken(key, "what is there is no manifest") from None
            if (fields["sequence"], fields["previous"]) != (sequence, previous):
                raise self._taken(key, "it does not follow the newest manifest that the ledger has")
            if fields.get("ledger_only"):
                raise self._taken(key, "it is of the chain that is in the ledger only")
            if fields["destination"] != self._destination.name:
                raise self._taken(key, f"it is of destination {fields['destination']}")
            signature = await self._read(self._key(prefix, sequence, ".sig")) if fields["key"] else None
            text = signature.decode("ascii", "replace") if signature is not None else None
            previous = digest_of(document)
            found.append(Link(sequence, document, previous, text))
        return found

    def _taken(self, key: str, why: str) -> ManifestTaken:
        name, prefix = self._destination.name, self._destination.prefix
        return ManifestTaken(
            f"{key} in {self._destination.place} holds another manifest ({why}); it is not overwritten. Either the control "
            f"database was restored from a backup, or two deployments export as `{name}` below the prefix `{prefix}`, or it "
            "was altered. Give the destination another name or prefix, where a chain begins that is its own, or restore "
            "what belongs together"
        )

    async def has(self, listings: Sequence[Carried]) -> bool:
        """Whether some listings of earlier manifests are there, as they were put."""
        for listing in listings:
            if await self._lines(self._key(listing.prefix, listing.sequence, listing.suffix)) != listing.sha256:
                return False
        return True

    async def put(
        self, manifest: Manifest, made: Mapping[bool, Made], earlier: Sequence[Carried]
    ) -> None:  # fmt: skip
        """Put a manifest with all its files, whatever of them is not there yet.

        `made` are its listings with their lines, by whether they are superseded, but for those that it has from `earlier`
        manifests, because the ledger was pruned; a list, where they are in memory.

        Raises `ManifestTaken` if another one is in its place, `ManifestOutdated` if those that it lists are not among them,
        `LaneFailed` for what the store may do.
        """
        fields = manifest.fields
        prefix, sequence = fields["prefix"], manifest.sequence
        key = self._key(prefix, sequence)
        if await self._put_new(manifest, made):
            return
        there = await self._read(key)
        if there is not None and there != manifest.document.encode():
            raise self._taken(key, "its bytes are not those of the ledger's")
        ours = key, manifest.document.encode()
        # the manifest comes last: where it is, all that it speaks of is
        left = False
        for superseded in (False, True):
            listings = fields["superseded" if superseded else "listings"]
            wanted = [
                (self._key(prefix, sequence, listing_suffix(number, superseded=superseded)), listing["sha256"])
                for number, listing in enumerate(listings)
            ]
            lines = iter(made[superseded])
            left |= await self._put_listings(wanted, lines, earlier, look=there is not None, manifest=ours)
        if manifest.signature is not None:
            signature = self._key(prefix, sequence, ".sig")
            if await self._read(signature) != manifest.signature.encode():
                await self._store(signature, manifest.signature.encode(), "text/plain")
        if there is None:
            if left or not fields["listings"]:
                await self._require_no_other(*ours)
                await self._remove_left(fields)
            await self._create(key, manifest.document.encode())

    async def _put_new(self, manifest: Manifest, made: Mapping[bool, Made]) -> bool:
        """Whether a manifest is put with its listings, of which none was there: nearly all are, and thousands at a time.

        Where any is there, or cannot be put, it is put once more with all that is to be looked at then.
        """
        fields, lines = manifest.fields, made[False]
        if not isinstance(lines, list) or not lines or fields["superseded"] or manifest.signature is not None:
            return False
        if [listing.sha256 for listing, _ in lines] != [listing["sha256"] for listing in fields["listings"]]:
            return False
        prefix, sequence = fields["prefix"], manifest.sequence

        def files() -> Iterator[tuple[str, bytes, str]]:
            for number, (_, text) in enumerate(lines):
                key = self._key(prefix, sequence, listing_suffix(number, superseded=False))
                yield key, compress(text, Compression.GZIP), MEDIA_TYPE[Compression.GZIP]
            yield self._key(prefix, sequence), manifest.document.encode(), "application/json"

        return await self._destination.put_new(self._key(prefix, sequence), files)

    async def _require_no_other(self, key: str, document: bytes) -> None:
        """Raise `ManifestTaken` if another manifest is there by now: its listings are no more ours to write over or remove."""
        there = await self._read(key)
        if there is not None and there != document:
            raise self._taken(key, "it was put meanwhile")

    async def _remove_left(self, fields: Mapping[str, Any]) -> None:
        """Remove listings that a sealing had put under this number and that was then cut short, if there were more of them.

        Looked for only where the manifest has none, or one was there already: elsewhere nothing was left.
        """
        for superseded in (False, True):
            for number in itertools.count(len(fields["superseded" if superseded else "listings"])):
                suffix = listing_suffix(number, superseded=superseded)
                key = self._key(fields["prefix"], fields["sequence"], suffix)
                if await self._read(key) is None:
                    break
                try:
                    await self._destination.delete(key)
                except Exception as error:  # many credentials may write and not delete
                    log.info(
                        "%s stays at %s: it cannot be removed: %s", key, self._destination.name, type(error).__name__
                    )
                    break

    async def _put_listings(
        self, wanted: Sequence[tuple[str, str]], made: Iterator[tuple[Listing, bytes]], earlier: Sequence[Carried], *,
        look: bool, manifest: tuple[str, bytes],
    ) -> bool:  # fmt: skip
        """Put listings, given as keys and digests. With `look` only those that are not there: their manifest is.

        Returns whether any was there before.
        """
        found = False
        carried = {listing.sha256: listing for listing in earlier}
        for key, digest in wanted:
            old = carried.get(digest)
            body = await asyncio.to_thread(_found, made, digest) if old is None else None
            if look and await self._lines(key) == digest:
                continue
            if old is not None:
                body = await self._read(self._key(old.prefix, old.sequence, old.suffix))
                if body is None or _digest(body) != digest:
                    raise DeliveryError(
                        f"listing {key} cannot be put again: the ledger was pruned, and that of manifest "
                        f"{old.sequence:,} is missing or altered"
                    )
            elif body is None:
                raise ManifestOutdated("what it lists has changed meanwhile: it was planned anew")
            found |= await self._put_listing(key, body, digest, manifest=manifest)
        return found

    async def _put_listing(self, key: str, body: bytes, digest: str, *, manifest: tuple[str, bytes]) -> bool:
        """Put a listing. One that a sealing has put and that was then cut short stays, where stores let nothing be replaced.

        One of another manifest that has taken the place of ours meanwhile is not written over: this sealing has paused for long.

        Returns whether one was there, as far as the store tells.
        """
        media_type = MEDIA_TYPE[Compression.GZIP]
        try:
            await self._store(key, body, media_type, new=True)
        except LaneFailed as error:
            there = await self._read(key) if error.permanent else None
            if there is None:
                raise
            if _digest(there) != digest:
                await self._require_no_other(*manifest)
                await self._store(key, body, media_type)
            return True
        return False

    async def _lines(self, key: str) -> str | None:
        body = await self._read(key)
        return None if body is None else _digest(body)

    async def _read(self, key: str) -> bytes | None:
        """What is there, `None` for nothing. What is larger than any file of ours is none of them, and read as empty."""
        try:
            return await self._destination.fetch(key, BESIDE_BYTES)
        except FileNotFoundError:
            return None
        except TooLarge:
            return b""

    async def _create(self, key: str, body: bytes) -> None:
        """Put a manifest where none is. Stores that know how refuse to overwrite what came in between."""
        try:
            await self._store(key, body, "application/json", new=True)
        except LaneFailed:
            there = await self._read(key)
            if there is None:
                raise
            if there != body:  # a try whose answer was lost may have put ours
                raise self._taken(key, "it was put meanwhile") from None

    async def _store(self, key: str, body: bytes, media_type: str, *, new: bool = False) -> None:
        for attempt in itertools.count(1):
            outcome = await self._destination.put(key, body, media_type, new=new)
            if isinstance(outcome, Delivered):
                return
            reason = getattr(outcome, "reason", "it was refused")
            if not isinstance(outcome, Retry) or attempt >= self._policy.attempts:
                raise LaneFailed(reason, permanent=not isinstance(outcome, Retry))
            await clock.sleep(max(outcome.after or 0.0, self._policy.delay(attempt)))


def _found(made: Iterator[tuple[Listing, bytes]], digest: str) -> bytes | None:
    """The next listing that has a digest, as it is put. Blocks where it comes from the ledger."""
    lines = next((lines for listing, lines in made if listing.sha256 == digest), None)
    return None if lines is None else compress(lines, Compression.GZIP)


def _digest(body: bytes) -> str | None:
    """The digest of a listing's lines; `None` for what is no listing."""
    try:
        return sha256(lines_beside(body))
    except NoListing:
        return None
