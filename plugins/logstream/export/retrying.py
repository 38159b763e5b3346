"""Saying that a receiver is tried again: a task that waits for one for minutes would else be silent, and seem to hang."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from logstream import clock

log = logging.getLogger("logstream.retries")
"""A logger of its own: a command shows what is said here, and nothing else that is logged."""

FIRST_SECONDS = 2.0
"""A trouble, or a wait, of so many seconds is told of. Most pass before."""

AGAIN_SECONDS = 15.0
"""How long after that it is told again, at the earliest, however many requests are tried again meanwhile."""


@dataclass(slots=True)
class _Trouble:
    since: float
    told: float | None = None


class RetryNews:
    """Tells, for all destinations of one task, of those that are tried again: each now and then, until it answers."""

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}

    def again(self, destination: str, reason: str, seconds: float) -> None:
        """A request is to be tried again in so many seconds. `reason` is masked already."""
        now = clock.monotonic()
        trouble = self._troubles.setdefault(destination, _Trouble(now))
        lasts = now - trouble.since
        if max(lasts, seconds) < FIRST_SECONDS or (trouble.told is not None and now - trouble.told < AGAIN_SECONDS):
            return
        trouble.told = now
        so_far = f", after {lasts:.0f} s without success" if lasts >= 1 else ""
        log.warning(
            "destination %s is tried again in %.1f s%s: %s", destination, seconds, so_far, " ".join(reason.split())
        )

    def answered(self, destination: str) -> None:
        """It has answered, whatever it said."""
        self._troubles.pop(destination, None)
