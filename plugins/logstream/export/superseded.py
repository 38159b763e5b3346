"""Superseded objects: what earlier exports of a delivery made, or may have made, under other names.

They are removed where that is allowed, unless they may be the only copy of an event.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

from logstream.destinations.objects import ObjectDestination
from logstream.destinations.parcel import Part
from logstream.ledger.ledger import Ledger

log = logging.getLogger("logstream")

TROUBLES = 3
"""Superseded objects that could not be removed before the rest of them is left where it is."""


def superseded_parts(ledger: Ledger, delivery_id: int) -> Iterator[Part]:
    """What earlier exports made under names that the delivery has not now; of equal names the newest."""
    seen = {part.name for _, part in ledger.parts([delivery_id])}
    for _, part in ledger.superseded([delivery_id]):
        if part.name not in seen:
            seen.add(part.name)
            yield part


async def remove_superseded(ledger: Ledger, delivery_id: int, destination: ObjectDestination[Any]) -> None:
    """Remove what a delivery supersedes. What cannot be removed is no fault: its manifest tells that it is superseded."""
    failed = 0
    for name in await asyncio.to_thread(_removable, ledger, delivery_id, destination):
        try:
            await destination.delete(name)
        except FileNotFoundError:
            continue
        except Exception as error:  # many credentials may write and not delete
            failed += 1
            why = type(error).__name__
            log.info("%s stays at %s, superseded: it cannot be removed: %s", name, destination.name, why)
            if failed >= TROUBLES:
                return


def _removable(ledger: Ledger, delivery_id: int, destination: ObjectDestination[Any]) -> list[str]:
    names = [part.name for _, part in ledger.superseded([delivery_id])]
    # an attempt that was cut short may have put what the log store has purged since: it is named, and stays
    if not names or ledger.keeps_superseded(delivery_id):
        return []
    if destination.names_are_its_own:
        return names
    # another window, or another destination in the same place, may have put an object of the same name
    if ledger.others_under_way(delivery_id):
        return []
    others = set(names).intersection(ledger.names_of_others(delivery_id))
    return [name for name in names if name not in others]
