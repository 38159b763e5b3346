"""What a destination says of one send. Values, not exceptions: the sender decides what to do (export/send.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delivered:
    """All of it arrived."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try the same again, not before `after` seconds if the receiver said so.

    `only` are the indexes of the parcel's events or objects to send again, where the others arrived; empty means all.
    """

    reason: str
    after: float | None = None
    only: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Split:
    """Too large, or refused for what is in it: try again in halves. Where one event is left, it is rejected."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reject:
    """Some events are bad: `events` maps their index in the parcel to the reason.

    `resend` are the indexes to send again; all others arrived.
    """

    events: Mapping[int, str]
    resend: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Trying again cannot help: credentials, a missing bucket. `reason` says what to do."""

    reason: str


Outcome = Delivered | Retry | Split | Reject | GiveUp
