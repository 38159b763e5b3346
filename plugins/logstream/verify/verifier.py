"""Verification: the log store against the ledger, the ledger against its manifests, those against the objects themselves."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from logstream.destinations.credentials import Connections, SharedConnections
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.registry import open_destination
from logstream.errors import LogstreamError
from logstream.export.exporter import Exporter
from logstream.garbage import rare_garbage_collection
from logstream.ledger.ledger import Ledger
from logstream.ledger.losses import Why
from logstream.ledger.records import Lane
from logstream.proof.manifests import BrokenManifest, Manifest
from logstream.settings.repository import SettingsRepository, Snapshot
from logstream.units import counted
from logstream.verify.counts import CountVerifier
from logstream.verify.findings import Finding, Verification
from logstream.verify.known import KnownObjects
from logstream.verify.manifests import ManifestVerifier, SealedDelivery
from logstream.verify.objects import AT_ONCE, ObjectVerifier
from logstream.verify.parts import PartsReader
from logstream.verify.places import PlaceVerifier
from logstream.window import Window


def verify(exporter: Exporter, span: Window) -> Verification:
    """Verify what an exporter has exported in `span`: see `Verifier`."""
    key = exporter.signer.public_key if exporter.signer else None
    return Verifier(exporter.ledger, exporter.settings, exporter.store_dsn, exporter.connections, key).verify(span)


class Verifier:
    """Compares a log store with a ledger, the ledger with its manifests, and those with what is at the destinations."""

    def __init__(
        self, ledger: Ledger, settings: SettingsRepository, store_dsn: str, connections: Connections,
        public_key: str | None = None,
    ) -> None:  # fmt: skip
        self._ledger, self._settings, self._store_dsn = ledger, settings, store_dsn
        self._connections, self._public_key = SharedConnections(connections), public_key
        self._snapshots: dict[int, Snapshot] = {}

    @rare_garbage_collection()
    def verify(self, span: Window) -> Verification:
        """Verify every window that overlaps `span`, whole, and that no selected event lies between them.

        A window is judged by the settings snapshot it was exported with; what lies between windows by those in force. Time that
        is not due to be exported yet is not judged.
        """
        span = self._ledger.whole_windows(span)
        result = Verification(lost=self._ledger.losses(span=span))
        for loss in result.lost:
            if loss.acknowledged_at is None:
                what = (
                    f"workspace {loss.workspace_id}, {loss.kind}: {counted(loss.events, 'event is', 'events are')} lost, no "
                    "longer in the log store at the time of delivery; take note of it with `logstream owed --acknowledge`"
                )
                result.findings.append(Finding(loss.window, loss.destination, what))
        lanes: dict[Window, list[Lane]] = defaultdict(list)
        for lane in self._ledger.lanes_within(span):
            lanes[lane.window].append(lane)
        # first what is due, then what was planned: a run may plan a window meanwhile
        due, planned = self._ledger.coverage().due, self._ledger.planned_within(span)
        CountVerifier(self._settings, self._store_dsn, result).verify(span, lanes, planned, due)
        written_off = {loss.delivery_id for loss in result.lost if loss.why is Why.WRITTEN_OFF}
        places = PlaceVerifier(self._ledger, self._settings, self._store_dsn, written_off)
        manifests = ManifestVerifier(self._ledger, places, result, self._public_key)
        sealed = manifests.verify(span, [lane for window in sorted(lanes) for lane in lanes[window]])
        asyncio.run(self._at_destinations(span, sealed, result))
        return result

    async def _at_destinations(
        self, span: Window, sealed: Mapping[str, Sequence[SealedDelivery]], result: Verification
    ) -> None:
        known = KnownObjects(self._ledger, self._settings, self._connections)
        manifests: dict[str, list[Manifest]] = defaultdict(list)
        for manifest in self._ledger.manifests_within(span):
            manifests[manifest.destination].append(manifest)
        spans = self._ledger.spans_of(sealed)
        order = [delivery.delivery_id for _, deliveries in sorted(sealed.items()) for delivery in deliveries]
        kept, room, turns = PartsReader(self._ledger, order), asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE)
        tasks: list[tuple[Verification, asyncio.Task[None]]] = []

        async def verify(name: str, found: Sequence[SealedDelivery], part: Verification, *, whole: bool) -> None:
            async with turns:
                await self._at_place(known, name, found, manifests[name], kept, room, part, whole=whole)

        async with asyncio.TaskGroup() as group:
            for name, deliveries in sorted(sealed.items()):
                whole = span.start <= spans[name].start and spans[name].end <= span.end
                # a destination that has moved is verified wherever it has been
                places: dict[str, list[SealedDelivery]] = defaultdict(list)
                unknown: dict[str, Window] = {}
                for delivery in deliveries:
                    snapshot_id = delivery.lanes[0].snapshot_id
                    home = known.home(name, snapshot_id)
                    if home is not None:
                        places[home.location(home.prefix)].append(delivery)
                    elif (why := known.unknown(name, snapshot_id)) is not None:
                        unknown.setdefault(why, delivery.manifest.window)
                result.findings += [
                    Finding(window, name, f"its objects cannot be verified: {why}") for why, window in unknown.items()
                ]
                for found in places.values():
                    part = Verification()
                    tasks.append((part, group.create_task(verify(name, found, part, whole=whole))))
        for part, _ in tasks:
            result.objects += part.objects
            result.superseded += part.superseded
            result.unlisted += part.unlisted
            result.findings += part.findings

    async def _at_place(
        self, known: KnownObjects, name: str, sealed: Sequence[SealedDelivery], manifests: Sequence[Manifest],
        kept: PartsReader, room: asyncio.Semaphore, result: Verification, *, whole: bool,
    ) -> None:  # fmt: skip
        newest = self._snapshot(max(delivery.lanes[0].snapshot_id for delivery in sealed))
        try:
            destination = await open_destination(name, newest.settings.destinations[name], self._connections)
            try:
                if isinstance(destination, ObjectDestination):
                    place = destination.location(destination.prefix)
                    # a folder may have had manifests beside its data for some windows, and not for others
                    of = {delivery.manifest.position: delivery.lanes[0].snapshot_id for delivery in sealed}
                    places = _places_of(manifests, of, known)
                    here = [manifest for manifest in manifests if places[manifest.position] == place]
                    verifier = ObjectVerifier(kept, known, destination, result, room)
                    await verifier.verify(sealed, here, whole=whole)
            finally:
                await destination.close()
        except* (
            Exception
        ) as group:  # one of many that read at the same time, or alone; the others are verified all the same
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            # the text of what is none of ours may quote a secret
            why = str(error) if isinstance(error, LogstreamError) else f"that broke ({type(error).__name__})"
            window = Window(sealed[0].manifest.window.start, sealed[-1].manifest.window.end)
            result.findings.append(Finding(window, name, f"its objects cannot be verified: {why}"))

    def _snapshot(self, snapshot_id: int) -> Snapshot:
        if snapshot_id not in self._snapshots:
            self._snapshots[snapshot_id] = self._settings.get(snapshot_id)
        return self._snapshots[snapshot_id]


def _places_of(
    manifests: Sequence[Manifest], of: Mapping[int, int], known: KnownObjects
) -> dict[int, str | None]:  # fmt: skip
    """Where the manifests of a destination are, by their positions; `of` tells the settings of those that are in force."""
    found: dict[int, str | None] = {}
    following: str | None = None
    for manifest in reversed(manifests):
        try:
            place = _place_of(manifest, of.get(manifest.position), known)
        except LookupError:  # of an earlier control database: it was taken over where the next one was put then
            place = following if manifest.beside else None
        following = place or following
        found[manifest.position] = place
    return found


def _place_of(manifest: Manifest, snapshot_id: int | None, known: KnownObjects) -> str | None:
    """Where a manifest is by the settings of its delivery, if it is in force, or those it was made by; `None` if nowhere.

    Its destination may have moved since, or have no manifests beside its data any more. That it is in the ledger only is
    believed where it says so itself, or where those settings do. Raises `LookupError` where it does not say by which.
    """
    try:
        if not manifest.beside and manifest.fields.get("ledger_only"):
            return None
        home = known.home(manifest.destination, snapshot_id) if snapshot_id else known.home_by(manifest)
    except BrokenManifest:
        return None
    return home.location(home.prefix) if home is not None and home.options.manifests else None
