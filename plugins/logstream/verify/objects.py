"""Objects against manifests: is each there as it was delivered, and no other beside them?"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from logstream.destinations.object_options import Packaging
from logstream.destinations.objects import ObjectDestination, TooLarge
from logstream.destinations.parcel import Part, sha256
from logstream.destinations.transport.keys import MANIFESTS
from logstream.proof.listings import BESIDE_BYTES, NoListing, lines_beside, parts_in
from logstream.proof.manifests import BrokenManifest, Manifest, file_suffixes, listing_suffix, manifest_key
from logstream.units import counted
from logstream.verify.aside import aside
from logstream.verify.findings import Finding, Verification
from logstream.verify.known import KnownObjects, mark_of
from logstream.verify.manifests import SealedDelivery
from logstream.verify.parts import PartsReader

SMALL_BYTES = 64 * 1024
"""What is smaller has its digest sooner than a thread begins."""

AT_ONCE = 16
"""Objects that are read at once."""

CHECK_FILE = re.compile(r"_logstream_check/[0-9a-f]{16}")
"""What `check` writes, and cannot always remove. It may hold `{}` and nothing else."""


class ObjectVerifier:
    """Compares what was delivered to one place with what is there."""

    def __init__(
        self, kept: PartsReader, known: KnownObjects, destination: ObjectDestination[Any], result: Verification,
        room: asyncio.Semaphore,
    ) -> None:  # fmt: skip
        """`room`: for the objects that are read at once, here and elsewhere."""
        self._kept, self._known, self._destination, self._result = kept, known, destination, result
        self._room = room
        self._manifest_files: set[str] = set()
        self._in_force: set[bytes] = set()
        self._superseded: set[bytes] = set()
        self._altered: dict[bytes, tuple[SealedDelivery, str]] = {}
        self._as_superseded: set[bytes] = set()
        """Superseded objects that are as one of the attempts that may have put them would have."""

    async def verify(self, sealed: Sequence[SealedDelivery], manifests: Sequence[Manifest], *, whole: bool) -> None:
        """Read every object of some deliveries, and their manifests, and look for objects that no delivery made.

        The manifests are those that are to be beside the data here. With `whole`, nothing that this destination delivered lies
        outside them: everything below its prefix is judged.
        """
        for delivery in sealed:
            self._result.unlisted += self._is_unlisted(delivery)
            async with asyncio.TaskGroup() as tasks:
                async for part in self._parts(delivery):
                    self._in_force.add(self._mark(part.name))
                    await self._room.acquire()  # no more are waiting in memory than are read
                    tasks.create_task(self._object(delivery, part))
        looked_at = set[tuple[bytes, str]]()
        for delivery in sealed:
            async with asyncio.TaskGroup() as tasks:
                async for part in self._parts(delivery, superseded=True):
                    mark = self._mark(part.name)
                    if mark not in self._in_force and (mark, part.sha256) not in looked_at:
                        looked_at.add((mark, part.sha256))
                        self._superseded.add(mark)
                        await self._room.acquire()
                        tasks.create_task(self._superseded_object(delivery, part))
        self._result.superseded += len(self._as_superseded | self._altered.keys())
        self._altered = {mark: found for mark, found in self._altered.items() if mark not in self._as_superseded}
        for manifest in manifests:
            await self._manifest(manifest)
        await self._extra(sealed, whole=whole)

    @staticmethod
    def _is_unlisted(delivery: SealedDelivery) -> bool:
        """Whether what was delivered is not known any more: the ledger was pruned of it, and no list is beside the data."""
        return delivery.lanes[0].pruned and not delivery.manifest.beside

    def _mark(self, key: str) -> bytes:
        return mark_of(self._destination.location(key))

    def _find(self, manifest: Manifest, what: str) -> None:
        self._result.findings.append(Finding(manifest.window, manifest.destination, what))

    async def _parts(self, delivery: SealedDelivery, *, superseded: bool = False) -> AsyncIterator[Part]:
        """What was delivered: as the ledger has it or, where that was pruned, the listings at the destination.

        What is wrong with listings is told with the manifests.
        """
        if not delivery.lanes[0].pruned:
            kept = self._kept.superseded if superseded else self._kept.parts
            async for part in aside(kept(delivery.delivery_id)):
                yield part
            if not superseded or not delivery.fields["superseded"]:
                return
            # the ledger has forgotten what was superseded after it was pruned
        try:
            async for part in self._listed(delivery.manifest, superseded=superseded):
                yield part
        except LookupError:
            return

    async def _listed(self, manifest: Manifest, *, superseded: bool = False) -> AsyncIterator[Part]:
        """What a manifest lists, from beside it. Raises `LookupError` if any of it is not there, or not as it was."""
        if not manifest.beside:
            raise LookupError("it is in the ledger only")
        for key, listing, of_superseded in _listings(manifest):
            if of_superseded is superseded:
                lines = await self._lines(key)
                if lines is None or sha256(lines) != listing["sha256"]:
                    raise LookupError(key)
                for part in parts_in(lines):
                    yield part

    async def _lines(self, key: str) -> bytes | None:
        """The lines of a listing; `None` for what is no listing."""
        try:
            lines = lines_beside(await self._destination.fetch(key, BESIDE_BYTES))
            for _ in parts_in(lines):
                pass
        except (OSError, NoListing, TooLarge, msgspec.MsgspecError):
            return None
        return lines

    async def _object(self, delivery: SealedDelivery, part: Part) -> None:
        try:
            what = await self._difference(part)
        except FileNotFoundError:
            self._find(delivery.manifest, f"object {part.name} is missing ({counted(part.events, 'event')})")
        else:
            self._result.objects += 1
            if what is not None:
                self._find(delivery.manifest, f"object {part.name} was altered: {what}")
        finally:
            self._room.release()

    async def _superseded_object(self, delivery: SealedDelivery, part: Part) -> None:
        """One that a newer export has replaced may be gone; if it is there it is what it was, by one of those that name it."""
        mark = self._mark(part.name)
        try:
            what = await self._difference(part)
        except FileNotFoundError:
            return
        else:
            if what is None:
                self._as_superseded.add(mark)
            else:  # unless another delivery has put the same name since
                words = f"object {part.name}, which is superseded, was altered: {what}"
                self._altered[mark] = delivery, words
        finally:
            self._room.release()

    async def _difference(self, part: Part) -> str | None:
        """What an object has other than its part says, in words. Raises `FileNotFoundError`."""
        try:
            body = await self._destination.fetch(part.name, part.bytes)
        except TooLarge:
            return f"it has more than the {part.bytes:,} bytes that were sent"
        if len(body) != part.bytes:
            return f"it has {len(body):,} bytes, not {part.bytes:,}"
        digest = sha256(body) if len(body) < SMALL_BYTES else await asyncio.to_thread(sha256, body)
        if digest != part.sha256:
            return "its SHA-256 is not that of the manifest"
        return None

    async def _manifest(self, manifest: Manifest) -> None:
        """A manifest beside the data, with its signature and listings, against that of the ledger."""
        try:
            fields = manifest.fields
        except BrokenManifest:
            return  # told with the chain
        prefix = fields["prefix"] or ""
        self._manifest_files.update(
            f"{prefix}{manifest_key(manifest.destination, manifest.sequence, suffix)}"
            for suffix in file_suffixes(fields)
        )
        key = f"{prefix}{manifest_key(manifest.destination, manifest.sequence)}"
        await self._same(manifest, "manifest", key, manifest.document)
        if manifest.signature is not None:
            key = f"{prefix}{manifest_key(manifest.destination, manifest.sequence, '.sig')}"
            await self._same(manifest, "signature", key, manifest.signature)
        for key, listing, _ in _listings(manifest):
            try:
                lines = lines_beside(await self._destination.fetch(key, BESIDE_BYTES))
            except FileNotFoundError:
                self._find(manifest, f"listing {key} is missing at the destination")
            except TooLarge:
                self._find(manifest, f"listing {key} at the destination was altered: it is longer than any listing")
            except NoListing as error:
                self._find(manifest, f"listing {key} at the destination was altered: {error}")
            else:
                if sha256(lines) != listing["sha256"]:
                    self._find(manifest, f"listing {key} at the destination was altered")

    async def _same(self, manifest: Manifest, what: str, key: str, text: str) -> None:
        ours = text.encode()
        try:
            found = await self._destination.fetch(key, len(ours))
        except FileNotFoundError:
            self._find(manifest, f"{what} {key} is missing at the destination")
        except TooLarge:
            self._find(manifest, f"{what} {key} at the destination was altered: it is longer than that of the ledger")
        else:
            if found != ours:
                self._find(manifest, f"{what} {key} at the destination was altered: it is not that of the ledger")

    async def _extra(self, sealed: Sequence[SealedDelivery], *, whole: bool) -> None:
        """Objects where only ours may be, that no delivery made and no manifest is."""
        strange: dict[bytes, tuple[SealedDelivery, str, bool]] = {}
        for folder, (delivery, own) in self._folders(sealed, whole=whole).items():
            async for key in self._keys_below(folder):
                if not await self._is_known(key):
                    mark = self._mark(key)
                    strange[mark] = delivery, key, own or (mark in strange and strange[mark][2])
        if strange or self._altered:
            # such folders hold what other windows, and destinations that share the place, delivered
            complete = await self._known.discard_delivered(strange, self._altered, self._listed, self._destination)
            if not complete:  # what is left may be of windows whose names are no longer known
                strange = {mark: found for mark, found in strange.items() if found[2]}
        for delivery, key, _ in strange.values():
            why = "the ledger has no such manifest" if f"{MANIFESTS}/" in key else "no delivery made it"
            self._find(delivery.manifest, f"object {key} is extra: {why}")
        for delivery, words in self._altered.values():
            self._find(delivery.manifest, words)

    async def _is_known(self, key: str) -> bool:
        mark = self._mark(key)
        if mark in self._in_force or mark in self._superseded:
            return True
        prefix = self._destination.prefix
        if key.startswith(prefix) and CHECK_FILE.fullmatch(key[len(prefix) :]):
            try:
                return await self._destination.fetch(key, 2) == b"{}"
            except FileNotFoundError:  # a check is being made
                return True
            except TooLarge:
                return False
        if key in self._manifest_files:
            return True
        location = self._destination.location(key)
        return f"{MANIFESTS}/" in key and await asyncio.to_thread(self._known.is_manifest_file, location)

    def _folders(self, sealed: Sequence[SealedDelivery], *, whole: bool) -> dict[str, tuple[SealedDelivery, bool]]:
        """Where to look, what to name where something is found, and whether only these deliveries' objects are there."""
        destination, options = self._destination, self._destination.options
        prefix, last = destination.prefix, sealed[-1]
        if whole and options.manifests:
            return {prefix: (last, False), f"{prefix}{MANIFESTS}/": (last, True)}
        folders: dict[str, tuple[SealedDelivery, bool]] = {}
        if options.packaging is not Packaging.FILE:
            for delivery in sealed:
                if self._is_unlisted(delivery):
                    continue  # which objects are its own is not known any more
                folders[destination.folder_of(delivery.manifest.window)] = delivery, options.layout is None
        else:
            workspaces = {number for item in sealed for lane in item.lanes for number in lane.workspace_ids}
            places = sorted({options.layout.event_folder(workspace) for workspace in workspaces})
            folders.update({f"{prefix}{place}": (last, False) for place in places})
        if options.manifests or self._manifest_files:
            folders[f"{prefix}{MANIFESTS}/"] = last, True
        if options.manifests:
            folders[f"{prefix}_logstream_check/"] = last, True
        return folders

    async def _keys_below(self, folder: str) -> AsyncIterator[str]:
        """Keys that begin with a text; stores list whole parts of keys only."""
        parent = folder[: folder.rfind("/") + 1]
        async for key in self._destination.listed(parent):
            if key.startswith(folder):
                yield key


def _listings(manifest: Manifest) -> list[tuple[str, dict[str, Any], bool]]:
    """The keys of a manifest's listings, what it says of each, and whether that is of superseded objects."""
    fields = manifest.fields
    found = []
    for name, superseded in (("listings", False), ("superseded", True)):
        for number, listing in enumerate(fields[name]):
            suffix = listing_suffix(number, superseded=superseded)
            key = manifest_key(manifest.destination, manifest.sequence, suffix)
            found.append((f"{fields['prefix'] or ''}{key}", listing, superseded))
    return found
