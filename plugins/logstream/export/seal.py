"""`seal`: what was planned against what was delivered, written down; who fails, who is back; the manifests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from logstream.destinations import Destination
from logstream.destinations.credentials import SharedConnections
from logstream.export.deployment import Deployment
from logstream.export.opening import Destinations
from logstream.export.sealer import Sealer
from logstream.ledger.health import Change, Health, Outcome, Turn
from logstream.ledger.ledger import Ledger
from logstream.ledger.losses import Loss
from logstream.ledger.records import Delivery, State
from logstream.units import counted


@dataclass(frozen=True, slots=True)
class Sealing:
    """What became of some deliveries, by destination, and which destinations were suspended or are back."""

    deliveries: Sequence[Delivery]
    changes: Sequence[Change] = field(default=())

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self.deliveries)

    def __len__(self) -> int:
        return len(self.deliveries)


def seal(deployment: Deployment, delivery_ids: Iterable[int]) -> Sealing:
    """Compare what was planned with what was delivered, lane by lane; write the outcome, and manifests, to the ledger.

    At object stores manifests are put beside the data, too. A delivery whose manifest cannot be has an error; sealing it
    again tries again.
    """
    ledger = deployment.ledger
    deliveries = ledger.deliveries(delivery_ids)
    for delivery in deliveries:
        delivery.judge()
    complete = [delivery for delivery in deliveries if delivery.state is State.DELIVERED]
    # a delivery whose manifest is not where it must be is not delivered: it is owed, and sealed again, like any other
    wrong = asyncio.run(_make_manifests(deployment, complete)) if complete else {}
    for delivery in complete:
        if delivery.id in wrong:
            delivery.state, delivery.error = State.FAILED, wrong[delivery.id]
    ledger.seal({delivery.id: delivery.state for delivery in deliveries})
    changes = _note_health(deployment, deliveries)
    ledger.seal({delivery.id: delivery.state for delivery in deliveries if delivery.state is State.OWED})
    _tell_losses(ledger, deliveries)
    return Sealing(sorted(deliveries, key=lambda delivery: (delivery.destination, delivery.window)), changes)


def _tell_losses(ledger: Ledger, deliveries: Sequence[Delivery]) -> None:
    """Tell what this plan has found to be lost, once: a person must take note of it, and later runs are not red for it."""
    found: dict[int, list[Loss]] = {}
    for loss in ledger.losses(delivery_ids=[delivery.id for delivery in deliveries], open_only=True):
        if loss.is_new:
            found.setdefault(loss.delivery_id, []).append(loss)
    for delivery in deliveries:
        if delivery.id in found:
            delivery.lost = sum(loss.events for loss in found[delivery.id])
            told = lost_in_words(found[delivery.id])
            delivery.error = f"{delivery.error}; {told}" if delivery.error else told


def lost_in_words(losses: Sequence[Loss]) -> str:
    """What is lost of a delivery, and what to do about it."""
    some = [f"{loss.events:,} {loss.kind} of workspace {loss.workspace_id}" for loss in losses[:3]]
    more = f" and of {len(losses) - 3} more" if len(losses) > 3 else ""
    events = sum(loss.events for loss in losses)
    return (
        f"lost: {counted(events, 'event')} ({', '.join(some)}{more}), no longer in the log store at the time of delivery; "
        "take note of it with `logstream owed --acknowledge`"
    )


async def _make_manifests(deployment: Deployment, complete: Sequence[Delivery]) -> dict[int, str]:
    """Give complete deliveries their manifests; return delivery id to what went wrong."""
    snapshots = {delivery.snapshot_id for delivery in complete}
    settings = {snapshot_id: deployment.settings.get(snapshot_id).settings for snapshot_id in snapshots}
    async with AsyncExitStack() as stack:
        destinations = Destinations(SharedConnections(deployment.connections), stack)

        async def opened(name: str, snapshot_id: int) -> Destination[Any]:
            return await destinations.get(name, settings[snapshot_id])

        return await Sealer(deployment.ledger, deployment.policy, deployment.signer, opened).seal(complete)


def _note_health(deployment: Deployment, deliveries: Sequence[Delivery]) -> list[Change]:
    """Suspend who has failed too often, welcome who is back; what a suspended one has not got is owed, not failed."""
    if not deliveries:
        return []
    ledger = deployment.ledger
    newest = max(delivery.window for delivery in deliveries)
    before = ledger.health()
    outcomes: dict[str, Outcome] = {}
    # of a destination's deliveries the oldest was tried first, and knows why: the later ones were not tried
    reasons: dict[str, str | None] = {}
    for delivery in sorted(deliveries, key=lambda delivery: delivery.id):
        reasons.setdefault(delivery.destination, delivery.last_error or delivery.error)
    for delivery in sorted(deliveries, key=lambda delivery: delivery.id):
        since = before.get(delivery.destination, Health()).suspended_at
        reached = since is not None and delivery.reached_after(since)
        known = outcomes.get(delivery.destination)
        if delivery.window == newest or reached:
            outcomes[delivery.destination] = Outcome(
                newest,
                failed=delivery.state is not State.DELIVERED,
                reached=reached or (known is not None and known.reached),
                error=reasons[delivery.destination],
            )
    changes = ledger.note(outcomes, deployment.healing.suspend_after)
    suspended = ledger.suspended()
    back = {change.destination for change in changes if change.turn is Turn.RECOVERED}
    for delivery in deliveries:
        if delivery.state is State.FAILED and delivery.destination in suspended.keys() | back:
            delivery.state = State.OWED
            known_health = suspended.get(delivery.destination) or before.get(delivery.destination, Health())
            since = known_health.suspended_at
            when = f" since {since:%Y-%m-%d %H:%M} UTC" if since else ""
            delivery.error = f"owed: the destination was suspended{when}; {delivery.error}"
    return changes
