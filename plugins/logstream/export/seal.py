"""`seal`: what was planned against what was delivered, written down; who fails, who is back; the manifests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from logstream.destinations.credentials import SharedConnections
from logstream.export.deployment import Deployment
from logstream.export.manifest_writer import ManifestWriter, make_manifests
from logstream.export.opening import Destinations
from logstream.ledger.health import Change, Health, Outcome, Turn
from logstream.ledger.records import Delivery, State
from logstream.proof.manifests import Manifest


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
    ledger.seal({delivery.id: delivery.state for delivery in deliveries})
    changes = _note_health(deployment, deliveries)
    ledger.seal({delivery.id: delivery.state for delivery in deliveries if delivery.state is State.OWED})
    complete = [delivery for delivery in deliveries if delivery.state is State.DELIVERED]
    manifests = make_manifests(ledger, complete, deployment.signer if complete else None)
    if manifests:
        wrong = asyncio.run(_write_manifests(deployment, manifests, {item.id: item for item in complete}))
        for delivery in complete:
            if delivery.id in wrong:
                delivery.state, delivery.error = State.FAILED, wrong[delivery.id]
    return Sealing(sorted(deliveries, key=lambda delivery: (delivery.destination, delivery.window)), changes)


async def _write_manifests(
    deployment: Deployment, manifests: Sequence[Manifest], sealed: dict[int, Delivery]
) -> dict[int, str]:
    settings = {
        manifest.destination: deployment.settings.get(sealed[manifest.delivery_id].snapshot_id).settings
        for manifest in manifests
    }
    async with AsyncExitStack() as stack:
        destinations = Destinations(SharedConnections(deployment.connections), stack)
        writer = ManifestWriter(deployment.ledger, deployment.policy)
        return await writer.write(manifests, lambda name: destinations.get(name, settings[name]))


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
