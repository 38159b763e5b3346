"""How destinations are: suspended after some failed windows in a row, probed while they are, and back when a probe arrives.

Pure rules; the ledger keeps what they say.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from logstream.errors import InputError
from logstream.ledger.carriers import is_carrier
from logstream.units import counted
from logstream.window import Window


@dataclass(frozen=True, slots=True)
class Health:
    """How one destination is. `failures` are windows in a row; `last_window` is the end of the last that was counted."""

    failures: int = 0
    last_window: datetime | None = None
    suspended_at: datetime | None = None
    error: str | None = None
    held: bool = False
    """A person suspended it: it is not even probed until a person resumes it."""

    @property
    def suspended(self) -> bool:
        """Whether later windows only probe it."""
        return self.suspended_at is not None


class Turn(StrEnum):
    """A change that people should hear of."""

    SUSPENDED = "suspended"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Change:
    """A destination was suspended, or is back. `owed` counts the windows it has not got."""

    destination: str
    turn: Turn
    error: str | None
    owed: int = 0

    def __str__(self) -> str:
        windows = f"it is owed {counted(self.owed, 'window')}"
        if self.turn is Turn.SUSPENDED:
            return (
                f"destination {self.destination} is suspended: {self.error}; {windows}, to be delivered when it is back"
            )
        return f"destination {self.destination} is back; {windows}, to follow oldest first"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a destination in one window."""

    window: Window
    failed: bool
    reached: bool
    """Whether anything arrived, so that it is known to be there."""
    error: str | None = None


def judge(health: Health, outcome: Outcome, now: datetime, after: int) -> tuple[Health, Turn | None]:
    """How a destination is after one window. `after` failed windows in a row suspend it; 0 never does."""
    if health.held:
        return health, None
    if health.suspended:
        if outcome.reached:
            return Health(), Turn.RECOVERED
        return health, None
    if not outcome.failed:
        return Health(), None
    if health.last_window == outcome.window.end:  # the same window again
        return replace(health, error=outcome.error), None
    failing = Health(health.failures + 1, outcome.window.end, None, outcome.error)
    if after and failing.failures >= after:
        return replace(failing, suspended_at=now), Turn.SUSPENDED
    return failing, None


@dataclass(frozen=True, slots=True)
class Owed:
    """A delivery that a destination has not got."""

    delivery_id: int
    destination: str
    window: Window
    snapshot_id: int
    since: datetime
    events: int
    error: str | None
    carrier: str | None = None
    """The run that has planned it, where that has not sealed it yet."""
    removed: bool = False
    """Whether the settings no longer have its destination."""


def to_be_tried(
    owed: Sequence[Owed], suspended: Mapping[str, Health], limit: int, carrier: str | None = None
) -> list[Owed]:
    """Which of the deliveries that are owed a run takes along.

    The oldest `limit` of each destination; of a suspended one a single one, and of one that is held none. A run that is tried
    again, under the same `carrier`, first takes those that its first attempt took.
    """
    taken: dict[str, int] = {}
    chosen = []

    def order(item: Owed) -> tuple[bool, Window, int]:
        return not is_carrier(item.carrier, carrier), item.window, item.delivery_id

    for item in sorted(owed, key=order):
        room = limit if item.destination not in suspended else 0 if suspended[item.destination].held else 1
        if taken.get(item.destination, 0) < room:
            taken[item.destination] = taken.get(item.destination, 0) + 1
            chosen.append(item)
    return sorted(chosen, key=lambda item: (item.window, item.delivery_id))


@dataclass(frozen=True, slots=True)
class HealingPolicy:
    """How a deployment heals.

    `suspend_after` failed windows in a row suspend a destination; a run takes along `owed_per_run` owed windows of each
    destination, and `gaps_per_run` windows that no run has exported.
    """

    suspend_after: int = 3
    owed_per_run: int = 12
    gaps_per_run: int = 24

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> HealingPolicy:
        """From `LOGSTREAM_SUSPEND_AFTER`, `LOGSTREAM_OWED_PER_RUN` and `LOGSTREAM_GAPS_PER_RUN`.

        Raises `InputError` for what is no whole number.
        """
        default = cls()
        return cls(
            _number(environment, "LOGSTREAM_SUSPEND_AFTER", default.suspend_after),
            _number(environment, "LOGSTREAM_OWED_PER_RUN", default.owed_per_run),
            _number(environment, "LOGSTREAM_GAPS_PER_RUN", default.gaps_per_run),
        )


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not text.isdigit():
        raise InputError(f"{name}={text!r} is no whole number")
    return int(text)
