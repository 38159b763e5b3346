"""What Logstream itself has put at object destinations: everything else there is extra."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, MutableMapping
from datetime import datetime
from functools import cached_property
from typing import Any

from logstream.destinations.credentials import Connections
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.parcel import Part
from logstream.destinations.registry import destination_type, make_destination
from logstream.destinations.transport.keys import MANIFESTS, safe
from logstream.errors import InputError, NotThere
from logstream.ledger.ledger import Ledger
from logstream.proof.manifests import BrokenManifest, Manifest, fields_in, file_suffixes
from logstream.settings.repository import SettingsRepository
from logstream.verify.aside import aside

ListingReader = Callable[[Manifest], AsyncIterator[Part]]

_MANIFEST_FILE = re.compile(rf"(.*){MANIFESTS}/([^/]+)/(\d{{8,18}})([.-][^/]+)", re.DOTALL)


def mark_of(location: str) -> bytes:
    """A location, short enough to have millions of them in memory."""
    return hashlib.blake2b(location.encode("utf-8", "surrogatepass"), digest_size=12).digest()


class KnownObjects:
    """Tells what is known at a location, of all destinations that the ledger has ever had, as each was at the time."""

    def __init__(self, ledger: Ledger, settings: SettingsRepository, connections: Connections) -> None:
        self._ledger, self._settings, self._connections = ledger, settings, connections
        self._unknown: dict[tuple[str, int], str] = {}
        self._chains: dict[str, dict[int, tuple[str, frozenset[str]]]] = {}
        self._homes_by: dict[tuple[str, int], tuple[datetime | None, ObjectDestination[Any] | None]] = {}

    @cached_property
    def _homes(self) -> dict[tuple[str, int], ObjectDestination[Any]]:
        """Destination and settings snapshot to the destination as it was then, of those that keep objects."""
        found: dict[tuple[str, int], ObjectDestination[Any]] = {}
        made: dict[str, ObjectDestination[Any] | str | None] = {}
        delivered = self._ledger.destinations_delivered()
        snapshots = {number: self._settings.get(number).settings for number in {number for _, number in delivered}}
        for name, snapshot_id in delivered:
            stored = snapshots[snapshot_id].destinations.get(name)
            if stored is None:
                continue
            key = f"{name} {stored.model_dump_json()}"
            if key not in made:
                made[key] = self._make(name, stored)
            if isinstance(destination := made[key], ObjectDestination):
                found[(name, snapshot_id)] = destination
            elif isinstance(destination, str):
                self._unknown[(name, snapshot_id)] = destination
        return found

    @cached_property
    def _homes_of(self) -> dict[str, list[ObjectDestination[Any]]]:
        found: dict[str, list[ObjectDestination[Any]]] = defaultdict(list)
        for (name, _), home in self._homes.items():
            found[name].append(home)
        return found

    def _make(self, name: str, stored: Any) -> ObjectDestination[Any] | str | None:
        """The destination, `None` if it keeps no objects, or why that cannot be told or it cannot be made."""
        try:
            if not issubclass(destination_type(stored.type), ObjectDestination):
                return None
            destination = make_destination(name, stored, self._connections)
        except KeyError:
            return f"its type {stored.type} is not installed"
        except InputError as error:
            return str(error)
        return destination if isinstance(destination, ObjectDestination) else None

    def unknown(self, name: str, snapshot_id: int) -> str | None:
        """Why nothing is known of the objects of a destination as it was; `None` if all is, or it keeps none."""
        return None if (name, snapshot_id) in self._homes else self._unknown.get((name, snapshot_id))

    def home(self, name: str, snapshot_id: int) -> ObjectDestination[Any] | None:
        """A destination as it was, not open; `None` if it keeps no objects."""
        return self._homes.get((name, snapshot_id))

    def home_by(self, manifest: Manifest) -> ObjectDestination[Any] | None:
        """A destination as it was by the settings that made a manifest, which may have no delivery any more: exported again, a
        window has newer ones. `None` if it kept no objects, or cannot be made.

        Raises `LookupError` for a manifest of another control database, whose numbers of settings are not ours; `BrokenManifest`.
        """
        fields = manifest.fields
        key = manifest.destination, fields["settings_snapshot"]
        if key not in self._homes_by:
            self._homes_by[key] = self._home_by(*key)
        made_at, home = self._homes_by[key]
        try:
            sealed_at = datetime.fromisoformat(fields["sealed_at"])
            if made_at is None or made_at > sealed_at:
                raise LookupError(key)
        except (ValueError, TypeError) as error:  # no moment, or one without an offset
            raise BrokenManifest(f"it is no manifest: {error}") from None
        return home

    def _home_by(self, name: str, snapshot_id: int) -> tuple[datetime | None, ObjectDestination[Any] | None]:
        """When some settings were made, if they have a destination, and the destination, if it keeps objects."""
        try:
            snapshot = self._settings.get(snapshot_id)
        except NotThere:
            return None, None
        stored = snapshot.settings.destinations.get(name)
        if stored is None:
            return None, None
        made = self._homes.get((name, snapshot_id)) or self._make(name, stored)
        return snapshot.created_at, made if isinstance(made, ObjectDestination) else None

    def is_manifest_file(self, location: str) -> bool:
        """Whether a file of a manifest that the ledger has is to be at this very location."""
        found = _MANIFEST_FILE.fullmatch(location)
        if not found:
            return False
        root, folder, number, suffix = found.groups()
        for name in self._ledger_chains.get(folder, ()):
            prefix, suffixes = self._chain(name).get(int(number), ("", frozenset[str]()))
            roots = {home.location(prefix) for home in self._homes_of[name]}
            if number == f"{int(number):08d}" and suffix in suffixes and root in roots:
                return True
        return False

    @cached_property
    def _ledger_chains(self) -> dict[str, list[str]]:
        """Names of folders to the destinations whose chains may be in them."""
        folders: dict[str, list[str]] = defaultdict(list)
        for name in self._ledger.chains_beside():
            folders[safe(name)].append(name)
        return folders

    def _chain(self, name: str) -> dict[int, tuple[str, frozenset[str]]]:
        """Numbers of manifests to the prefix below which they are, and how the names of their files end."""
        if name not in self._chains:
            shared: dict[frozenset[str], frozenset[str]] = {}  # most manifests have the same few
            chain: dict[int, tuple[str, frozenset[str]]] = {}
            for link in self._ledger.links_beside(name):
                try:
                    fields = fields_in(link.document)
                except BrokenManifest:
                    continue
                suffixes = frozenset(file_suffixes(fields))
                chain[link.sequence] = fields["prefix"] or "", shared.setdefault(suffixes, suffixes)
            self._chains[name] = chain
        return self._chains[name]

    async def discard_delivered(
        self, strange: MutableMapping[bytes, Any], altered: MutableMapping[bytes, Any], reads: ListingReader,
        here: ObjectDestination[Any],
    ) -> bool:  # fmt: skip
        """Take out of both what any delivery made, by the marks of locations. Of `altered` only what is in force counts.

        `reads` gives the listings of a pruned delivery's manifest, from the place of `here`; it raises `LookupError` where
        that cannot be done. Returns whether the names of all deliveries are known: if not, what is left may be theirs.
        """
        names = {name for (name, _), home in self._homes.items() if _may_share(home, here)}
        rows = self._ledger.deliveries_to(names)
        at_home = [row for row in rows if (row.destination, row.snapshot_id) in self._homes]
        homes = {row.id: self._homes[(row.destination, row.snapshot_id)] for row in at_home}
        async for number, part in aside(self._ledger.parts(homes)):
            mark = mark_of(homes[number].location(part.name))
            strange.pop(mark, None)
            altered.pop(mark, None)
        async for number, part in aside(self._ledger.superseded(homes)):
            strange.pop(mark_of(homes[number].location(part.name)), None)
        # what its destination had made before it was a service, and which a service does not remove
        services = {row.id: row.destination for row in rows if row.id not in homes}
        async for number, part in aside(self._ledger.superseded(services)):
            for home in self._homes_of[services[number]]:
                strange.pop(mark_of(home.location(part.name)), None)
        complete = True
        in_force, begun_afresh = self._ledger.before_pruning(homes), self._ledger.forgotten([*homes, *services])
        for number, manifest in [*in_force.items(), *begun_afresh.items()]:
            at = [homes[number]] if number in homes else self._homes_of[services[number]]
            try:
                async for part in reads(manifest):
                    marks = [mark_of(home.location(part.name)) for home in at]
                    for mark in marks:
                        strange.pop(mark, None)
                    if number in in_force:
                        altered.pop(marks[0], None)
            except LookupError:
                complete &= number not in in_force
        return complete


def _may_share(one: ObjectDestination[Any], other: ObjectDestination[Any]) -> bool:
    """Whether two destinations may have objects in one place: folders may lie in one another."""
    return one.type == other.type and (one.place.startswith(other.place) or other.place.startswith(one.place))
