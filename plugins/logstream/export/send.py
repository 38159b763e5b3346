"""Sending one parcel until its fate is known: the one place that answers what destinations say."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from logstream.destinations.base import Destination, Options
from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Reject, Retry, Split
from logstream.destinations.parcel import EventRef, Parcel, Part, Tally, ids_digest, tally_of
from logstream.errors import DeliveryError
from logstream.export.limiter import AdaptiveLimit

Confirm = Callable[[], Awaitable[None]]
"""Returns if this attempt may still send; raises `LeaseLost` if it may not."""


class LaneFailed(DeliveryError):
    """A lane cannot go on. `permanent`: somebody must act first; trying again cannot help. `after`: seconds asked to wait."""

    def __init__(self, reason: str, *, permanent: bool, after: float | None = None) -> None:
        super().__init__(reason)
        self.permanent, self.after = permanent, after


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how fast a parcel is tried again: exponential backoff with full jitter.

    A receiver's `Retry-After` is waited for up to `longest_wait` seconds; asked for longer, the lane fails and Airflow's
    own retry comes back to it.
    """

    attempts: int = 10
    base: float = 0.1
    cap: float = 5.0
    longest_wait: float = 120.0

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the `attempt`-th failure (from 1)."""
        return random.uniform(0, min(self.cap, self.base * 2**attempt))  # noqa: S311 - jitter is no secret


@dataclass(slots=True)
class Sent:
    """What became of a parcel. Every event of it is delivered unless it is in `rejected`."""

    bytes: int = 0
    requests: int = 0
    parts: list[Part] = field(default_factory=list)
    rejected: list[tuple[EventRef, str]] = field(default_factory=list)
    whole: bool = True
    """Whether it was taken as it was: not divided, nothing rejected."""

    @property
    def rejected_tally(self) -> Tally:
        """The rejected events by workspace and kind."""
        return tally_of([event for event, _ in self.rejected])


async def send(
    destination: Destination[Options], parcel: Parcel, policy: RetryPolicy, limit: AdaptiveLimit | None = None,
    confirm: Confirm | None = None,
) -> Sent:  # fmt: skip
    """Send a parcel. Raises `LaneFailed` if it can be neither delivered nor rejected.

    `limit` is shared by all who send to this destination. `confirm` is called before each request, and stops the sending by
    an error of its own: whose lane it is may have changed while this waited.
    """
    sent = Sent()
    pending = [parcel]
    while pending:
        current = pending.pop()
        if current.refused:
            sent.rejected += [(event, current.refused) for event in current.events]
            sent.whole = False
            continue
        outcome = await _until_answered(destination, current, policy, limit, confirm, sent)
        match outcome:
            case Delivered():
                sent.bytes += current.size
                sent.parts += current.parts
            case Split(reason):
                sent.whole = False
                smaller = destination.split(current)
                if smaller:
                    pending += reversed(smaller)
                elif len(current.events) == 1:
                    sent.rejected.append((current.events[0], reason))
                else:
                    raise LaneFailed(f"{reason}, and {current.name} cannot be made smaller", permanent=True)
            case Reject(events, resend):
                if not current.events:
                    raise LaneFailed(f"{current.name} is refused: {next(iter(events.values()), '')}", permanent=True)
                sent.bytes += current.size
                sent.whole = False
                sent.parts += _taken(current, {*events, *resend})
                sent.rejected += [(current.events[index], reason) for index, reason in events.items()]
                if resend:
                    pending.append(destination.subset(current, resend))
    return sent


def _taken(parcel: Parcel, refused: set[int]) -> list[Part]:
    """What a manifest says of a request of which some events were refused: the others."""
    taken = [event for index, event in enumerate(parcel.events) if index not in refused]
    return [part._replace(events=len(taken), ids=ids_digest(taken)) for part in parcel.parts if taken]


async def _until_answered(
    destination: Destination[Options],
    parcel: Parcel,
    policy: RetryPolicy,
    limit: AdaptiveLimit | None,
    confirm: Confirm | None,
    sent: Sent,
) -> Delivered | Split | Reject:
    attempt = 0
    while True:
        attempt += 1
        sent.requests += parcel.requests
        outcome = await _once(destination, parcel, limit, confirm)
        match outcome:
            case GiveUp(reason):
                raise LaneFailed(reason, permanent=True)
            case Retry(reason, wait, only):
                if wait is not None and wait > policy.longest_wait:
                    raise LaneFailed(f"{reason}; it asks to wait {wait:.0f} s", permanent=False, after=wait)
                if only and len(only) < parcel.pieces:
                    # some of it arrived: what is left begins anew
                    parcel, attempt = destination.subset(parcel, only), 1
                if attempt >= policy.attempts:
                    raise LaneFailed(f"{reason} (tried {attempt} times)", permanent=False, after=wait)
                await asyncio.sleep(max(wait or 0.0, policy.delay(attempt)))
            case _:
                return outcome


async def _once(
    destination: Destination[Options], parcel: Parcel, limit: AdaptiveLimit | None, confirm: Confirm | None
) -> Outcome:
    if limit is None:
        if confirm is not None:
            await confirm()
        return await destination.deliver(parcel)
    async with limit:
        if confirm is not None:
            await confirm()
        began = time.monotonic()
        outcome = await destination.deliver(parcel)
    limit.note(time.monotonic() - began, trouble=isinstance(outcome, Retry))
    return outcome
