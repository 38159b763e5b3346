"""Idempotency keys: what they name beside the events of a request, so that a receiver can tell a repetition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from logstream.destinations.base import Options
from logstream.destinations.parcel import LaneRef
from logstream.events import Event

UNSHAPING = {"connection", "concurrency"}
"""Options that say how requests are sent, not what is in them."""


class KeyPrefixes:
    """What the keys of a lane's requests begin with: what they are for, and by which settings they are made.

    The same events by other settings (another template, a mask) are another request: a receiver that drops repetitions by
    their keys must not keep the older body in place of the newer one.
    """

    def __init__(self, kind: str, options: Options, lane: LaneRef) -> None:
        # without defaults: an option that a later version adds changes no key
        shaping = options.model_dump(mode="json", exclude=UNSHAPING, exclude_defaults=True)
        where = [kind, lane.destination, lane.window.slug, lane.lane, lane.lanes, shaping]
        self._where = hashlib.sha256(json.dumps(where, sort_keys=True).encode())
        self._contents = lane.contents

    def of(self, events: Sequence[Event]) -> str:
        """The prefix of a request with these events: by the settings of their workspaces, and of no others."""
        digest = self._where.copy()
        for workspace in sorted({event[1] for event in events}):
            digest.update(f"\n{workspace} {self._contents.get(workspace, '')}".encode())
        return f"ls-{digest.hexdigest()[:16]}"
