"""Sending one parcel until its fate is known: the one place that answers what destinations say."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from logstream import clock
from logstream.destinations.base import Destination, Options
from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Reject, Retry, Split
from logstream.destinations.parcel import EventRef, Parcel, Part, Tally, ids_digest, tally_of
from logstream.destinations.transport.secrets import LONGEST_REASON
from logstream.export.limiter import AdaptiveLimit
from logstream.export.refusals import LaneFailed, Refusals
from logstream.export.retrying import RetryNews
from logstream.units import counted

Confirm = Callable[[], Awaitable[None]]
"""Returns if this attempt may still send; raises `LeaseLost` if it may not."""


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
    refused: bool = False
    """Whether its receiver, or what stands before it here, refused some of it: to be believed only beside acceptances
    (`Refusals`)."""

    @property
    def rejected_tally(self) -> Tally:
        """The rejected events by workspace and kind."""
        return tally_of([event for event, _ in self.rejected])


async def send(
    destination: Destination[Options], parcel: Parcel, policy: RetryPolicy, limit: AdaptiveLimit | None = None,
    confirm: Confirm | None = None, refusals: Refusals | None = None, news: RetryNews | None = None,
) -> Sent:  # fmt: skip
    """Send a parcel. Raises `LaneFailed` if it can be neither delivered nor rejected.

    `limit` and `refusals` are shared by all who send to this destination, and `news` by all of the task; without `refusals` a
    refusal is believed at once.
    `confirm` is called before each request, and stops the sending by an error of its own: whose lane it is may have changed
    while this waited.
    """
    refusals, news = refusals or _believing(), news or RetryNews()
    sent = Sent()
    pending = [parcel]
    while pending:
        current = pending.pop()
        if current.refused:
            # options that leave no room, or a plug-in that breaks: with every event a fault to be mended, and not a thousand
            # dead letters
            # a plug-in's error may quote a secret
            reason = destination.secrets.excerpt(current.refused, LONGEST_REASON)
            await refusals.refuse(len(current.events), reason)
            sent.refused = True
            sent.rejected += [(event, reason) for event in current.events]
            sent.whole = False
            continue
        outcome = await _until_answered(destination, current, policy, limit, confirm, sent, news)
        match outcome:
            case Delivered():
                refusals.believe()
                sent.bytes += current.size
                sent.parts += current.parts
            case Split(reason):
                pending += reversed(await _halves(destination, current, reason, sent, refusals))
            case Reject(events, resend):
                await _reject(current, events, resend, sent, refusals)
                if resend:
                    pending.append(destination.subset(current, resend))
            case Retry(only=only):
                # some of it arrived: what is left is a parcel of its own, and the next answer is of that one
                refusals.believe()
                pending.append(_rest(destination, current, only, sent))
    return sent


async def _halves(
    destination: Destination[Options], parcel: Parcel, reason: str, sent: Sent, refusals: Refusals
) -> list[Parcel]:
    """What to send in place of a parcel that is too large or was refused; one event that stands alone is rejected."""
    sent.whole = False
    smaller = destination.split(parcel)
    if smaller:
        return smaller
    if len(parcel.events) != 1:
        raise LaneFailed(f"{reason}, and {parcel.name} cannot be made smaller", permanent=True)
    await refusals.refuse(1, reason)
    sent.refused = True
    sent.rejected.append((parcel.events[0], reason))
    return []


async def _reject(
    parcel: Parcel, events: Mapping[int, str], resend: Collection[int], sent: Sent, refusals: Refusals
) -> None:
    """Take note of the events of a parcel that its receiver refuses one by one."""
    if not parcel.events:
        raise LaneFailed(f"{parcel.name} is refused: {next(iter(events.values()), '')}", permanent=True)
    if len(events) + len(resend) < len(parcel.events):
        refusals.believe()
    await refusals.refuse(len(events), next(iter(events.values()), ""))
    sent.bytes += parcel.size
    sent.whole, sent.refused = False, True
    sent.parts += _taken(parcel, {*events, *resend})
    sent.rejected += [(parcel.events[index], reason) for index, reason in events.items()]


def _rest(destination: Destination[Options], parcel: Parcel, only: tuple[int, ...], sent: Sent) -> Parcel:
    """What is left of a parcel of which some arrived."""
    rest = destination.subset(parcel, only)
    if parcel.events:
        sent.bytes += parcel.size
        sent.whole = False
        sent.parts += _taken(parcel, set(only))
    else:  # objects: each is in the parts already, and arrives once
        sent.bytes += parcel.size - rest.size
    return rest


def _taken(parcel: Parcel, refused: set[int]) -> list[Part]:
    """What a manifest says of a request of which some events were refused: the others."""
    taken = [event for index, event in enumerate(parcel.events) if index not in refused]
    return [part._replace(events=len(taken), ids=ids_digest(taken)) for part in parcel.parts if taken]


def _believing() -> Refusals:
    refusals = Refusals()
    refusals.believe()
    return refusals


async def _until_answered(
    destination: Destination[Options],
    parcel: Parcel,
    policy: RetryPolicy,
    limit: AdaptiveLimit | None,
    confirm: Confirm | None,
    sent: Sent,
    news: RetryNews,
) -> Delivered | Split | Reject | Retry:
    """What is said of a parcel in the end. `Retry`: some of it arrived, and the others may be sent again now."""
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
                some = bool(only) and len(only) < parcel.pieces
                if attempt >= policy.attempts and not some:
                    raise LaneFailed(f"{reason} (tried {counted(attempt, 'time')})", permanent=False, after=wait)
                seconds = max(wait or 0.0, policy.delay(attempt))
                news.again(destination.name, reason, seconds)
                await clock.sleep(seconds)
                if some:
                    return outcome
            case _:
                news.answered(destination.name)
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
        began = clock.monotonic()
        outcome = await destination.deliver(parcel)
    limit.note(clock.monotonic() - began, trouble=isinstance(outcome, Retry))
    return outcome
