"""`seal`: what was planned against what was delivered, written down; who fails, who is back; the manifests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any

from logstream.destinations import Destination
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.registry import make_destination
from logstream.errors import DeliveryError, InputError, LogstreamError
from logstream.export.deployment import Deployment
from logstream.export.isolation import Isolation
from logstream.export.opening import Destinations
from logstream.export.processes import NoProcessError, Processes, may_fork
from logstream.export.sealer import UNWRITTEN, Sealer
from logstream.garbage import rare_garbage_collection
from logstream.ledger.carriers import is_carrier
from logstream.ledger.health import Change, Health, Outcome, Turn
from logstream.ledger.ledger import Ledger
from logstream.ledger.losses import Loss
from logstream.ledger.records import NOT_TRIED, Delivery, State
from logstream.ledger.write_offs import WrittenOff
from logstream.settings.repository import Snapshot
from logstream.store.rows import is_nameless
from logstream.units import counted

log = logging.getLogger("logstream")


@dataclass(frozen=True, slots=True)
class Sealing:
    """What became of some deliveries, by destination, and which destinations were suspended or are back."""

    deliveries: Sequence[Delivery]
    changes: Sequence[Change] = field(default=())

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self.deliveries)

    def __len__(self) -> int:
        return len(self.deliveries)


PLANNED_ANEW = (
    "another run has planned it again meanwhile, and is to deliver it: `logstream status` tells what becomes of it"
)
"""What is said of a delivery that is `taken_over`: to people, where it had arrived by then; else it is its error, too."""

_Said = tuple[list[int], dict[int, str], set[int]]
"""What a process says of its part: the deliveries, and `wrong` and `not_theirs` of its `Isolation`."""

PROCESS_DELIVERIES = 400
"""A process of its own pays from about this many deliveries on that are to be sealed."""


@rare_garbage_collection()
def seal(
    deployment: Deployment, delivery_ids: Iterable[int], *, processes: int = 1, carrier: str | None = None
) -> Sealing:  # fmt: skip
    """Compare what was planned with what was delivered, lane by lane; write the outcome, and manifests, to the ledger.

    At object stores manifests are put beside the data, too. A delivery whose manifest cannot be has an error; sealing it
    again tries again. Whatever goes wrong with one delivery, foreseen or not, is its failure alone. Up to `processes` make
    manifests, where there are enough of them, and this process may have others.

    `carrier` is the name of the run that seals: what another has planned again is left to that one (`Delivery.taken_over`).
    """
    ledger, isolation = deployment.ledger, Isolation()
    found = ledger.deliveries(delivery_ids)
    for delivery in found:
        with isolation.step("it could not be judged", delivery):
            if _is_anothers(delivery, carrier):
                _leave(delivery, delivery.state, arrived=False)
            else:
                delivery.judge()
    deliveries = [delivery for delivery in found if not delivery.taken_over]
    _tell_what_was_not_tried(deliveries)
    complete = [item for item in isolation.sound(deliveries) if item.state is State.DELIVERED]
    # a delivery whose manifest is not where it must be is not delivered: it is owed, and sealed again, like any other
    parts = _parts(complete, processes)
    if complete and not (len(parts) > 1 and _make_manifests_in_processes(deployment, parts, isolation)):
        asyncio.run(_make_manifests(deployment, complete, isolation))
    _fail(deliveries, isolation)
    write = partial(_write_outcomes, ledger, {delivery.id for delivery in complete}, isolation.not_theirs)
    isolation.together("its outcome could not be written", deliveries, write)
    changes: list[Change] = []
    # what is known of a destination's health is news, not proof: where it cannot be noted the delivery stays what it is
    ours = [delivery for delivery in deliveries if not delivery.taken_over]
    tell = [delivery for delivery in ours if delivery.id not in isolation.not_theirs]
    isolation.together(
        "the health of its destination could not be noted", tell, partial(_note_health, deployment, changes)
    )
    ours = [delivery for delivery in ours if not delivery.taken_over]
    isolation.together("its losses could not be told", ours, partial(_tell_losses, ledger))
    _fail(ours, isolation)
    return Sealing(sorted(found, key=attrgetter("destination", "window")), changes)


def seal_written_off(deployment: Deployment, written_off: WrittenOff) -> WrittenOff:
    """Seal deliveries of which what was owed is written off. Where their destination is gone, in the ledger alone.

    What a run has planned again meanwhile is that run's: it is left as it is. Returns what is sealed. Raises `DeliveryError`
    if a delivery cannot be.
    """
    ledger, isolation, in_ledger = deployment.ledger, Isolation(), Isolation()
    deliveries = ledger.deliveries(written_off.delivery_ids)
    in_force = ledger.still_written_off(written_off)
    complete = [delivery for delivery in deliveries if delivery.id in in_force.plans]
    if complete:
        asyncio.run(_make_manifests(deployment, complete, isolation, in_ledger))
    sealed = ledger.seal_written_off(in_force.only(in_force.plans.keys() - in_ledger.wrong.keys()))
    if in_ledger.wrong:
        raise DeliveryError("; ".join(list(in_ledger.wrong.values())[:3]))
    return sealed


def _tell_what_was_not_tried(deliveries: Iterable[Delivery]) -> None:
    """Say why of what waited behind an earlier window of its destination: a run tries the oldest, and where that fails no other.

    Its lanes hold no reason, since nothing went wrong with them; they look like those of a worker that was lost.
    """
    failed = dict[str, str | None]()
    for delivery in sorted(deliveries, key=attrgetter("window")):
        if delivery.destination in failed and delivery.has_no_reason:
            why = failed[delivery.destination]
            delivery.error = f"{NOT_TRIED}: {why}" if why else NOT_TRIED
        elif any(lane.state is State.FAILED for lane in delivery.lanes):
            failed.setdefault(delivery.destination, delivery.last_error)


def _fail(deliveries: Sequence[Delivery], isolation: Isolation) -> None:
    """Take over into the deliveries what went wrong with them."""
    for delivery in deliveries:
        if (reason := isolation.wrong.get(delivery.id)) and reason not in (delivery.error or ""):
            delivery.state, delivery.error = State.FAILED, f"{delivery.error}; {reason}" if delivery.error else reason


def _is_anothers(delivery: Delivery, carrier: str | None) -> bool:
    """Whether another run than the one named `carrier` has planned a delivery since, and it is to be done."""
    planned = carrier is not None and delivery.state is State.PLANNED
    return planned and not is_carrier(delivery.carrier, carrier) and not delivery.is_complete


def _leave(delivery: Delivery, state: State, *, arrived: bool) -> None:
    """A delivery is another run's by now, which is to tell what becomes of it; whether all of it had `arrived` before."""
    delivery.taken_over, delivery.state, delivery.error = True, state, None if arrived else PLANNED_ANEW


def _write_outcomes(
    ledger: Ledger, had_all: set[int], excused: set[int], deliveries: Sequence[Delivery]
) -> None:  # fmt: skip
    """Write what became of deliveries, but of those that another run has planned again meanwhile.

    All of those in `had_all` had arrived when they were looked at; those in `excused` failed by no fault of their destinations.
    """
    states = {delivery.id: delivery.state for delivery in deliveries}
    errors = {delivery.id: delivery.error for delivery in deliveries}
    plans = {delivery.id: delivery.planned_at for delivery in deliveries}
    others = ledger.seal(states, errors, plans, arrived=had_all & states.keys(), excused=excused)
    for delivery in deliveries:
        if (now := others.get(delivery.id)) is not None:
            _leave(delivery, now, arrived=delivery.id in had_all or now is State.DELIVERED)


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


async def _make_manifests(
    deployment: Deployment, complete: Sequence[Delivery], isolation: Isolation, in_ledger: Isolation | None = None
) -> None:
    """Give complete deliveries their manifests; with `in_ledger`, those that cannot be put in the ledger alone."""
    wanted = {delivery.snapshot_id for delivery in complete}
    snapshots = await asyncio.to_thread(deployment.settings.get_all, wanted)
    async with _closing() as stack:
        destinations = Destinations(deployment.take_connections(), stack)

        async def opened(name: str, snapshot_id: int) -> Destination[Any]:
            snapshot = snapshots[snapshot_id]
            if isinstance(snapshot, InputError):
                raise snapshot
            return await destinations.get(name, snapshot.settings)

        ledger, policy, signer = deployment.ledger, deployment.policy, deployment.signer
        keep = partial(_keep_only_copies, deployment, snapshots)
        await asyncio.to_thread(isolation.together, UNWRITTEN, complete, keep)
        await Sealer(ledger, policy, signer, opened, isolation).seal(isolation.sound(complete))
        if in_ledger is not None:
            chained = await asyncio.to_thread(ledger.chained, [delivery.id for delivery in complete])
            left = [item for item in complete if item.id in isolation.wrong and item.id not in chained]
            homes = {(item.destination, item.snapshot_id): _home_of(deployment, item) for item in left}
            await Sealer(ledger, policy, signer, opened, in_ledger).seal_in_ledger(left, homes)


def _keep_only_copies(
    deployment: Deployment, snapshots: Mapping[int, Snapshot | InputError], complete: Sequence[Delivery]
) -> None:
    """What a redelivery that was killed had put is superseded, and may be the only copy of a dead letter that is purged since."""
    with_letters = {item.id: item for item in complete if item.rejected and item.snapshot_id in snapshots}
    for number in deployment.ledger.with_superseded(with_letters) if with_letters else ():
        item, snapshot = with_letters[number], snapshots[with_letters[number].snapshot_id]
        letters = [row.event_id for row in deployment.ledger.rejected([number]) if not is_nameless(row.event_id)]
        try:
            gone = isinstance(snapshot, InputError) or deployment.store(snapshot).gone(item.window, letters)
        except LogstreamError as error:
            log.warning(
                "It cannot be seen which dead letters are purged, and all that was superseded is kept: %s", error
            )
            gone = True
        if letters and gone:
            deployment.ledger.keep_what_is_superseded(number)


def _parts(complete: Sequence[Delivery], processes: int) -> list[list[Delivery]]:
    """Deliveries divided among processes, as many as pay: all of a destination are of one, as their manifests are a chain."""
    count = max(1, min(processes, len(complete) // PROCESS_DELIVERIES))
    number_of = {name: number % count for number, name in enumerate(sorted({item.destination for item in complete}))}
    parts: list[list[Delivery]] = [[] for _ in range(count)]
    for item in complete:
        parts[number_of[item.destination]].append(item)
    return [part for part in parts if part]


def _make_manifests_in_processes(
    deployment: Deployment, parts: Sequence[Sequence[Delivery]], isolation: Isolation
) -> bool:
    """The same in a process for each part. What a process that ends before its part has not said is sealed by no one.

    Returns whether there may be such processes, and was room for them; else nothing is done.
    """
    _ = deployment.signer  # looking for the key imports Airflow: once, and not in each process
    if not may_fork():  # now: who keeps the key may have begun threads
        return False
    missing = {item.id for part in parts for item in part}

    def ended(said: _Said) -> None:
        ids, wrong, not_theirs = said
        missing.difference_update(ids)
        isolation.wrong.update(wrong)
        isolation.not_theirs |= not_theirs

    try:
        Processes(deployment.again, [partial(_make_part, part) for part in parts]).results(ended)
    except NoProcessError as error:
        log.warning("Manifests are made in one process: %s.", error)
        return False
    except DeliveryError as error:
        for number in missing:
            isolation.wrong.setdefault(number, f"{UNWRITTEN}: {error}")
        isolation.not_theirs |= missing
    return True


def _make_part(part: Sequence[Delivery], deployment: Deployment, say: Callable[[_Said], None]) -> None:
    isolation = Isolation()
    asyncio.run(_make_manifests(deployment, part, isolation))
    say(([item.id for item in part], isolation.wrong, isolation.not_theirs))


def _home_of(deployment: Deployment, delivery: Delivery) -> ObjectDestination[Any] | None:
    """A delivery's destination, unopened, if it is one that keeps objects and that still can be made."""
    try:
        settings = deployment.settings.get(delivery.snapshot_id).settings.destinations[delivery.destination]
        destination = make_destination(delivery.destination, settings, deployment.connections)
    except Exception:  # its type may be gone, too
        return None
    return destination if isinstance(destination, ObjectDestination) else None


@asynccontextmanager
async def _closing() -> AsyncIterator[AsyncExitStack]:
    """What is opened on this stack is closed at the end. What goes wrong then fails nothing: all that mattered is done."""
    stack = AsyncExitStack()
    try:
        yield stack
    finally:
        try:
            await stack.aclose()
        except Exception:
            log.warning("A destination could not be closed.", exc_info=True)


def _note_health(
    deployment: Deployment, changes: list[Change], deliveries: Sequence[Delivery]
) -> None:  # fmt: skip
    """Suspend who has failed too often, welcome who is back; what a suspended one has not got is owed, not failed."""
    deliveries = [delivery for delivery in deliveries if delivery.lanes]  # one that sent nothing tells nothing
    if not deliveries:
        return
    ledger = deployment.ledger
    newest = max(delivery.window for delivery in deliveries)
    blamed = {item.destination for item in deliveries if item.is_blamed}
    excused = {item.destination for item in deliveries if item.is_excused} - blamed
    before = ledger.health()
    outcomes: dict[str, Outcome] = {}
    # one that had failed and has nothing in the newest window is back with the newest that it was given
    last = {delivery.destination: delivery.window for delivery in sorted(deliveries, key=attrgetter("window"))}
    # of a destination's deliveries the oldest was tried first, and knows why: the later ones were not tried. Where the
    # destination is blamed, what was no fault of its own is no reason
    reasons: dict[str, str | None] = {}
    for delivery in sorted(deliveries, key=lambda delivery: (not delivery.is_blamed, delivery.id)):
        reasons.setdefault(delivery.destination, delivery.blame or delivery.last_error or delivery.error)
    for delivery in sorted(deliveries, key=lambda delivery: delivery.id):
        since = before.get(delivery.destination, Health()).suspended_at
        reached = since is not None and delivery.reached_after(since)
        known = outcomes.get(delivery.destination)
        healed = delivery.state is State.DELIVERED and delivery.window == last[delivery.destination]
        tells = delivery.destination not in excused or delivery.state is State.DELIVERED
        failed_before = before.get(delivery.destination, Health()).failures
        if reached or (tells and (delivery.window == newest or (healed and failed_before))):
            outcomes[delivery.destination] = Outcome(
                newest,
                failed=delivery.state is not State.DELIVERED,
                reached=reached or (known is not None and known.reached),
                error=reasons[delivery.destination],
            )
    turns = ledger.note(outcomes, deployment.healing.suspend_after)
    changes += turns
    suspended = ledger.suspended()
    back = {change.destination for change in turns if change.turn is Turn.RECOVERED}
    for delivery in deliveries:
        if delivery.state is State.FAILED and delivery.destination in suspended.keys() | back:
            delivery.state = State.OWED
            known_health = suspended.get(delivery.destination) or before.get(delivery.destination, Health())
            since = known_health.suspended_at
            when = f" since {since:%Y-%m-%d %H:%M} UTC" if since else ""
            # of what was not tried it is no lane that tells why
            why = delivery.error if any(lane.attempts for lane in delivery.lanes) else known_health.error
            delivery.error = f"owed: the destination was suspended{when}; {why}"
    _write_outcomes(ledger, set(), set(), [delivery for delivery in deliveries if delivery.state is State.OWED])
