"""Objects against manifests: is each there as it was delivered, and no other beside them?"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import itertools
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from logstream.destinations.objects import ObjectDestination, Packaging
from logstream.destinations.parcel import Part, sha256
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import Lane
from logstream.proof.listings import parts_in
from logstream.proof.manifests import Manifest, listing_key, manifest_key
from logstream.verify.findings import Finding, Verification

T = TypeVar("T")

AT_ONCE = 16
"""Objects that are read at once."""


class ObjectVerifier:
    """Compares what the ledger says was delivered to an object store with what is there."""

    def __init__(self, ledger: Ledger, destination: ObjectDestination[Any], result: Verification) -> None:
        self._ledger, self._destination, self._result = ledger, destination, result
        self._room = asyncio.Semaphore(AT_ONCE)

    async def verify(self, sealed: Sequence[tuple[Manifest, list[Lane]]]) -> None:
        """Read every object of some deliveries, and look for objects that are none of theirs."""
        known: set[bytes] = set()
        for manifest, lanes in sealed:
            parts = self._listed(manifest) if lanes[0].pruned else self._kept(manifest)
            async with asyncio.TaskGroup() as tasks:
                async for part in parts:
                    known.add(_mark(part.name))
                    await self._room.acquire()  # no more are waiting in memory than are read
                    tasks.create_task(self._object(manifest, part))
            if self._destination.options.manifests:
                await self._manifest(manifest)
        await self._extra(sealed, known)

    def _kept(self, manifest: Manifest) -> AsyncIterator[Part]:
        """What the ledger says was delivered."""
        return _aside(part for _, part in self._ledger.parts([manifest.delivery_id]))

    async def _listed(self, manifest: Manifest) -> AsyncIterator[Part]:
        """The same from the listings at the destination, where the ledger was pruned; what is wrong with them is told apart."""
        if not self._destination.options.manifests:
            return
        for number in range(len(manifest.fields["listings"])):
            key = f"{self._destination.prefix}{listing_key(manifest.destination, manifest.sequence, number)}"
            try:
                for part in parts_in(gzip.decompress(await self._destination.fetch(key))):
                    yield part
            except (OSError, EOFError, zlib.error, msgspec.MsgspecError):
                continue

    def _find(self, manifest: Manifest, what: str) -> None:
        self._result.findings.append(Finding(manifest.window, manifest.destination, what))

    async def _object(self, manifest: Manifest, part: Part) -> None:
        try:
            body = await self._destination.fetch(part.name)
        except FileNotFoundError:
            self._find(manifest, f"object {part.name} is missing ({part.events:,} events)")
        else:
            self._result.objects += 1
            if len(body) != part.bytes:
                self._find(manifest, f"object {part.name} was altered: it has {len(body):,} bytes, not {part.bytes:,}")
            elif await asyncio.to_thread(sha256, body) != part.sha256:
                self._find(manifest, f"object {part.name} was altered: its SHA-256 is not that of the manifest")
        finally:
            self._room.release()

    async def _manifest(self, manifest: Manifest) -> None:
        key = f"{self._destination.prefix}{manifest_key(manifest.destination, manifest.sequence)}"
        try:
            found = await self._destination.fetch(key)
        except FileNotFoundError:
            self._find(manifest, f"manifest {key} is missing at the destination")
            return
        if found != manifest.document.encode():
            self._find(manifest, f"manifest {key} at the destination was altered: it is not that of the ledger")
        for number, listing in enumerate(manifest.fields["listings"]):
            key = f"{self._destination.prefix}{listing_key(manifest.destination, manifest.sequence, number)}"
            try:
                lines = gzip.decompress(await self._destination.fetch(key))
            except FileNotFoundError:
                self._find(manifest, f"listing {key} is missing at the destination")
            except (OSError, EOFError, zlib.error):
                self._find(manifest, f"listing {key} at the destination was altered: it is no gzip")
            else:
                if sha256(lines) != listing["sha256"]:
                    self._find(manifest, f"listing {key} at the destination was altered")

    async def _extra(self, sealed: Sequence[tuple[Manifest, list[Lane]]], known: set[bytes]) -> None:
        """Objects where only ours may be, that no delivery made: in a window's folder of batches, a workspace's of files."""
        destination = self._destination
        windows = {manifest.window: manifest for manifest, _ in sealed}
        if destination.options.packaging is Packaging.BATCH:
            folders = {destination.folder_of(window): manifest for window, manifest in windows.items()}
        elif destination.options.layout is not None:
            folders = {destination.prefix: sealed[-1][0]}
        else:
            workspaces = {workspace for _, lanes in sealed for lane in lanes for workspace in lane.workspace_ids}
            folders = {f"{destination.prefix}{workspace}/": sealed[-1][0] for workspace in sorted(workspaces)}
        shared = destination.options.packaging is Packaging.FILE or destination.options.layout is not None
        strange: dict[bytes, tuple[str, Manifest]] = {}
        for folder, manifest in folders.items():
            async for key in destination.listed(folder):
                if _mark(key) not in known and "_manifests/" not in key and "_logstream_check/" not in key:
                    strange[_mark(key)] = key, manifest
        if strange and shared:
            if not self._ledger.knows_all_names():
                return  # what another window put into the same folder could not be told from what nobody did
            # such a folder holds what other windows, and destinations that share the place, delivered
            async for name in _aside(self._ledger.names_delivered()):
                strange.pop(_mark(name), None)
        for key, manifest in strange.values():
            self._find(manifest, f"object {key} is extra: no delivery made it")


def _mark(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=12).digest()


async def _aside(items: Iterator[T]) -> AsyncIterator[T]:
    """Iterate over what blocks, some hundreds at a time in a thread."""
    while some := await asyncio.to_thread(lambda: list(itertools.islice(items, 512))):
        for item in some:
            yield item
