"""Verification: the log store against the ledger, the ledger against its manifests, those against the objects themselves."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from logstream.destinations.base import Destination
from logstream.destinations.objects import ObjectDestination
from logstream.errors import LogstreamError
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import Lane
from logstream.proof.manifests import Manifest
from logstream.settings.repository import SettingsRepository, Snapshot
from logstream.verify.counts import CountVerifier
from logstream.verify.findings import Finding, Verification
from logstream.verify.manifests import ManifestVerifier
from logstream.verify.objects import ObjectVerifier
from logstream.verify.places import PlaceVerifier
from logstream.window import Window

Opener = Callable[[str, Snapshot, AsyncExitStack], Awaitable[Destination[Any]]]
"""Opens a destination as a snapshot has it; the stack closes it."""


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
        CountVerifier(self._settings, self._store_dsn, result).verify(span, lanes)
        places = PlaceVerifier(self._ledger, self._settings, self._store_dsn)
        manifests = ManifestVerifier(self._ledger, places, result, self._public_key)
        complete = manifests.verify(span, [lane for window in sorted(lanes) for lane in lanes[window]])
        asyncio.run(self._at_destinations(complete, result))
        return result

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
