"""Saying that a receiver is tried again: a task that waits for one for minutes would else be silent, and seem to hang."""

from __future__ import annotations

import logging

from logstream import clock

log = logging.getLogger("logstream.retries")
"""A logger of its own: a command shows what is said here, and nothing else that is logged."""

FIRST_SECONDS = 2.0
"""A trouble, or a wait, of so many seconds is told of. Most pass before."""

AGAIN_SECONDS = 15.0
"""How long after that it is told again, at the earliest, however many requests are tried again meanwhile."""


class RetryNews:
    """Tells, for all destinations of one task, of those that are tried again: each now and then, until it answers."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._told: dict[str, float] = {}
        """When each was told of last, before it answered, too: one that answers each second request is told of no more often."""

    def again(self, destination: str, reason: str, seconds: float) -> None:
        """A request is to be tried again in so many seconds. `reason` is masked already."""
        now = clock.monotonic()
        lasts = now - self._since.setdefault(destination, now)
        told = self._told.get(destination)
        if max(lasts, seconds) < FIRST_SECONDS or (told is not None and now - told < AGAIN_SECONDS):
            return
        self._told[destination] = now
        so_far = f", after {lasts:.0f} s without success" if lasts >= 1 else ""
        log.warning(
            "destination %s is tried again in %.1f s%s: %s", destination, seconds, so_far, " ".join(reason.split())
        )

    def answered(self, destination: str) -> None:
        """It has answered, whatever it said."""
        self._since.pop(destination, None)
