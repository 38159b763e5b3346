"""The one place from which the core takes the time of its own machine, and waits.

A test can put another clock in its place: one that runs ahead, steps back, or does not wait. Times that must be the same for
all workers are not from here: they are the database's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime


class Clock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """Seconds from some beginning, which never step back: for how long something takes."""
        return time.monotonic()

    def time_ns(self) -> int:
        """Nanoseconds since 1970."""
        return time.time_ns()

    async def sleep(self, seconds: float) -> None:
        """Wait, and let others of the event loop go on."""
        await asyncio.sleep(seconds)

    def pause(self, seconds: float) -> None:
        """Wait, and hold up the thread."""
        time.sleep(seconds)


_clock = Clock()


def monotonic() -> float:
    """See `Clock.monotonic`."""
    return _clock.monotonic()


def time_ns() -> int:
    """See `Clock.time_ns`."""
    return _clock.time_ns()


def now() -> datetime:
    """The time of day, in UTC."""
    return datetime.fromtimestamp(_clock.time_ns() / 1e9, UTC)


async def sleep(seconds: float) -> None:
    """See `Clock.sleep`."""
    await _clock.sleep(seconds)


def pause(seconds: float) -> None:
    """See `Clock.pause`."""
    _clock.pause(seconds)


@contextmanager
def use(clock: Clock) -> Iterator[None]:
    """Put another clock in the place of the machine's, for all threads of this process."""
    global _clock  # noqa: PLW0603 - there is one clock, and this is where it is kept
    before, _clock = _clock, clock
    try:
        yield
    finally:
        _clock = before
