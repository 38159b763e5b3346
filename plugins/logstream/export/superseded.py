"""Superseded objects: what earlier exports of a delivery made, or may have made, under other names.

They are removed where that is allowed, unless they may be the only copy of an event.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from logstream.destinations.objects import ObjectDestination
from logstream.destinations.parcel import Part
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import Delivery
from logstream.window import Window

log = logging.getLogger("logstream")

TROUBLES = 3
"""Superseded objects that could not be removed before the rest of them is left where it is."""

AT_ONCE = 16
"""Superseded objects that are removed at once, once some could be: whether they still may be is asked for so many together."""


def still_superseded(ledger: Ledger, delivery_id: int, parts: Iterable[Part]) -> Iterator[Part]:
    """Of superseded parts of a delivery those under names that it has not now, in their order.

    A name comes once with each content: of two attempts that were about to put other bytes under one name either may have.
    """
    in_force = {part.name for _, part in ledger.parts([delivery_id])}
    seen = set[tuple[str, str]]()
    for part in parts:
        content = part.name, part.sha256
        if part.name not in in_force and content not in seen:
            seen.add(content)
            yield part


async def remove_superseded(ledger: Ledger, delivery: Delivery, destination: ObjectDestination[Any]) -> None:
    """Remove what a delivery supersedes. What cannot be removed is no fault: its manifest tells that it is superseded.

    Names come again: by settings that are as they were before, at a destination that was renamed, of another window where an
    object is one event. So what is in force anywhere is never removed, and nothing is while what could have such names is
    being delivered, or where the ledger has forgotten names.
    """
    names = await asyncio.to_thread(lambda: [part.name for _, part in ledger.superseded([delivery.id])])
    # names that tell the window can be only those of its own deliveries
    among = delivery.window if all(delivery.window.slug in name for name in names) else None
    standing = await asyncio.to_thread(ledger.standing, delivery.id, among)
    # what another run has planned again supersedes what this one has delivered, before that run has delivered anything
    if standing is None or standing[0] != delivery.planned_at:
        return
    left = await asyncio.to_thread(_removable, ledger, delivery.id, names, among)
    failed, at_once = 0, TROUBLES
    while left and failed < TROUBLES:
        if await asyncio.to_thread(ledger.standing, delivery.id, among) != standing:
            return  # another run has it, or has planned it anew: what was superseded may be in force again
        some, left = left[:at_once], left[at_once:]
        failed += sum(await asyncio.gather(*(_cannot_remove(destination, name) for name in some)))
        at_once = AT_ONCE


async def _cannot_remove(destination: ObjectDestination[Any], name: str) -> bool:
    try:
        await destination.delete(name)
    except FileNotFoundError:
        return False
    except Exception as error:  # many credentials may write and not delete
        why = type(error).__name__
        log.info("%s stays at %s, superseded: it cannot be removed: %s", name, destination.name, why)
        return True
    return False


def _removable(ledger: Ledger, delivery_id: int, names: Sequence[str], among: Window | None) -> list[str]:
    # an attempt that was cut short may have put what the log store has purged since: it is named, and stays
    if not names or ledger.keeps_superseded(delivery_id):
        return []
    in_force = set(names).intersection(ledger.names_in_force(among))
    if ledger.was_pruned(among):  # asked when they are read: what is forgotten before that is not among them
        return []
    return [name for name in dict.fromkeys(names) if name not in in_force]
