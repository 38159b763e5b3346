"""Verification: the log store against the ledger, the ledger against its manifests, those against the objects themselves."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import itertools
import zlib
from array import array
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from logstream.destinations.base import Destination
from logstream.destinations.objects import ObjectDestination, Packaging
from logstream.destinations.parcel import Part, Tally, cursor_of, sha256
from logstream.destinations.registry import destination_type
from logstream.errors import LogstreamError
from logstream.export.planning import plan_window
from logstream.export.select import EventRenderer
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import Lane, State
from logstream.proof.listings import parts_in
from logstream.proof.manifests import Manifest, broken_links, by_workspace, listing_key, listings_of, manifest_key
from logstream.proof.signing import is_signed
from logstream.settings.models import Settings
from logstream.settings.repository import SettingsRepository, Snapshot
from logstream.settings.resolution import streamings_of
from logstream.store.postgres import PostgresStore
from logstream.window import Window

T = TypeVar("T")

Opener = Callable[[str, Snapshot, AsyncExitStack], Awaitable[Destination[Any]]]
"""Opens a destination as a snapshot has it; the stack closes it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be, in words."""

    window: Window
    destination: str
    what: str

    def __str__(self) -> str:
        return f"window {self.window}, {self.destination}: {self.what}"

    def as_json(self) -> dict[str, object]:
        """Plain data for `verify --json`."""
        return {"window": self.window.as_json(), "destination": self.destination, "what": self.what}


@dataclass(slots=True)
class Verification:
    """What was looked at, and what was found."""

    windows: int = 0
    deliveries: int = 0
    events: int = 0
    rejected: int = 0
    objects: int = 0
    findings: list[Finding] = field(default_factory=list)


def gaps(span: Window, windows: Iterable[Window]) -> list[Window]:
    """The parts of `span` that no window covers."""
    found: list[Window] = []
    reached = span.start
    for window in sorted(windows):
        if window.start > reached:
            found.append(Window(reached, min(window.start, span.end)))
        reached = max(reached, window.end)
        if reached >= span.end:
            break
    if reached < span.end:
        found.append(Window(reached, span.end))
    return found


class Verifier:
    """Compares a log store with a ledger, the ledger with its manifests, and those with what is at the destinations."""

    def __init__(
        self, ledger: Ledger, settings: SettingsRepository, store_dsn: str, open_destination: Opener,
        public_key: str | None = None,
    ) -> None:  # fmt: skip
        self._ledger, self._settings, self._store_dsn = ledger, settings, store_dsn
        self._open, self._public_key = open_destination, public_key

    def verify(self, span: Window) -> Verification:
        """Verify every window that lies in `span`, and that no selected event lies between them.

        A window is judged by the settings snapshot it was exported with; what lies between windows by those in force.
        """
        result = Verification()
        lanes: dict[Window, list[Lane]] = defaultdict(list)
        for lane in self._ledger.lanes_within(span):
            lanes[lane.window].append(lane)
        for window in sorted(lanes):
            result.windows += 1
            self._window(window, lanes[window], result)
        current = self._settings.current()
        for gap in gaps(span, lanes):
            for destination, expected in self._expected(gap, current).items():
                result.findings.append(
                    Finding(gap, destination, f"{expected.total():,} events were never exported; export this window")
                )
        self._manifests(span, [lane for window in sorted(lanes) for lane in lanes[window]], result)
        return result

    def _window(self, window: Window, lanes: Sequence[Lane], result: Verification) -> None:
        by_destination: dict[str, list[Lane]] = defaultdict(list)
        for lane in lanes:
            by_destination[lane.destination].append(lane)
        snapshots = {lane.snapshot_id for lane in lanes}
        expected = {snapshot: self._expected(window, self._settings.get(snapshot)) for snapshot in snapshots}
        for destination, found in sorted(by_destination.items()):
            result.deliveries += 1
            done: Tally = Tally()
            for lane in found:
                done.update(lane.delivered)
                done.update(lane.rejected)
                result.events += lane.delivered.total()
                result.rejected += lane.rejected.total()
                if lane.state is not State.DELIVERED:
                    why = f": {lane.last_error}" if lane.last_error else ""
                    result.findings.append(
                        Finding(window, destination, f"lane {lane.lane} is {lane.state}, not delivered{why}")
                    )
            if all(lane.state is State.DELIVERED for lane in found):
                wanted = expected[found[0].snapshot_id].get(destination, Tally())
                result.findings += [Finding(window, destination, what) for what in differences(wanted, done)]
        newest = expected[max(snapshots)]
        for destination in sorted(newest.keys() - by_destination.keys()):
            events = newest[destination].total()
            result.findings.append(Finding(window, destination, f"{events:,} events were never exported"))

    def _expected(self, window: Window, snapshot: Snapshot) -> dict[str, Tally]:
        """Destination to the events that its routes select from what the store holds now."""
        settings: Settings = snapshot.settings
        store = PostgresStore(self._store_dsn, settings.log_store)
        try:
            counts = store.count(window, by_log_type=settings.filters_logs)
            plan = plan_window(settings, store.workspaces(), counts, dict.fromkeys(settings.destinations, 1))
        finally:
            store.close()
        return {destination: lanes[0].tally for destination, lanes in plan.lanes.items()}

    def _manifests(self, span: Window, lanes: Sequence[Lane], result: Verification) -> None:
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
            for what in itertools.chain(self._against_ledger(manifest, found), self._against_store(number, found)):
                result.findings.append(Finding(lane.window, lane.destination, what))
            complete[lane.destination].append((manifest, found))
        for number, manifest in manifests.items():
            if number not in deliveries:
                what = f"manifest {manifest.sequence:,} speaks of a delivery that the ledger no longer holds"
                result.findings.append(Finding(manifest.window, manifest.destination, what))
        asyncio.run(self._at_destinations(complete, result))

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

    def _against_store(self, delivery_id: int, lanes: Sequence[Lane]) -> Iterator[str]:
        """Whether each object holds the ids that it must: every event's once, in its place.

        Told of destinations that keep objects only: an HTTP service may have had some of a request's events sent again.
        """
        settings = self._settings.get(lanes[0].snapshot_id).settings
        stored = settings.destinations.get(lanes[0].destination)
        if stored is None or not destination_type(stored.type).replaces or lanes[0].pruned:
            return
        ids = self._ids(lanes, settings)
        place = 0
        for _, part in self._ledger.parts([delivery_id]):
            some = ids[place : place + part.events]
            place += part.events
            digest = str(some[0]) if len(some) == 1 else sha256(b"".join([b"%d\n" % number for number in some]))
            if digest != part.ids:
                yield (
                    f"object {part.name} and what follows it do not hold the events that the log store has in their place"
                )
                return
        if place != len(ids):
            yield f"the log store has {len(ids):,} events of this delivery, its objects hold {place:,}"

    def _ids(self, lanes: Sequence[Lane], settings: Settings) -> array[int]:
        """The ids of the events that the lanes delivered, from what the store holds now: 8 bytes an event."""
        workspaces = {workspace: lane.lane for lane in lanes for workspace in lane.workspace_ids}
        streamings = {
            workspace: streaming
            for workspace, streaming in streamings_of(settings, list(workspaces)).items()
            if streaming is not None
        }
        renderer = EventRenderer(streamings, dict.fromkeys(workspaces, 0))
        rejected = {row.event_id for row in self._ledger.rejected([lanes[0].delivery_id])}
        found: dict[int, array[int]] = {lane.lane: array("q") for lane in lanes}
        store = PostgresStore(self._store_dsn, settings.log_store)
        try:
            position, more = None, True
            while more:
                for page in store.read(
                    lanes[0].window, renderer.filters, position, max_events=10_000, max_bytes=16 * 1024 * 1024
                ):
                    for event in renderer.select(page.events):
                        if event[0] not in rejected:
                            found[workspaces[event[1]]].append(event[0])
                    position = cursor_of(page.events[-1]) if page.events else position
                    more = page.more
        finally:
            store.close()
        return sum((found[number] for number in sorted(found)), array("q"))

    async def _at_destinations(
        self, complete: Mapping[str, Sequence[tuple[Manifest, list[Lane]]]], result: Verification
    ) -> None:
        async with AsyncExitStack() as stack:
            for name, sealed in sorted(complete.items()):
                newest = self._settings.get(max(lanes[0].snapshot_id for _, lanes in sealed))
                try:
                    destination = await self._open(name, newest, stack)
                    if isinstance(destination, ObjectDestination):
                        await ObjectVerifier(self._ledger, destination, result).verify(sealed)
                except LogstreamError as error:
                    window = Window(sealed[0][0].window.start, sealed[-1][0].window.end)
                    result.findings.append(Finding(window, name, f"its objects cannot be verified: {error}"))


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
                for part in parts_in(gzip.decompress(await self._destination.get(key))):
                    yield part
            except (OSError, EOFError, zlib.error, msgspec.MsgspecError):
                continue

    def _find(self, manifest: Manifest, what: str) -> None:
        self._result.findings.append(Finding(manifest.window, manifest.destination, what))

    async def _object(self, manifest: Manifest, part: Part) -> None:
        try:
            body = await self._destination.get(part.name)
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
            found = await self._destination.get(key)
        except FileNotFoundError:
            self._find(manifest, f"manifest {key} is missing at the destination")
            return
        if found != manifest.document.encode():
            self._find(manifest, f"manifest {key} at the destination was altered: it is not that of the ledger")
        for number, listing in enumerate(manifest.fields["listings"]):
            key = f"{self._destination.prefix}{listing_key(manifest.destination, manifest.sequence, number)}"
            try:
                lines = gzip.decompress(await self._destination.get(key))
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
            async for key in destination.keys(folder):
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


def differences(wanted: Tally, done: Tally) -> list[str]:
    """What differs between the store's counts and the ledger's, in words."""
    words = []
    for workspace, kind in sorted(wanted.keys() | done.keys()):
        store, ledger = wanted[(workspace, kind)], done[(workspace, kind)]
        if store > ledger:
            words.append(
                f"workspace {workspace}, {kind}: {store - ledger:,} events are in the log store that were not there when "
                "the window was exported; export it again"
            )
        elif store < ledger:
            words.append(
                f"workspace {workspace}, {kind}: {ledger - store:,} events were delivered that the log store no longer holds"
            )
    return words
