"""What a newer plan makes of the lanes that an older one left: what stays delivered, what goes on, and what is lost.

Nothing that was planned is forgotten: of every workspace and kind, planned = delivered + rejected + lost. Events are *lost*
that were planned and that the log store no longer holds, purged by the platform's retention while they were owed, say.

The rules count; they do not compare ids. Where as many rows come late as were purged, the two cannot be told apart.

Pure rules over plain data; `ledger/plans.py` reads and writes what they decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from logstream.destinations.parcel import Tally
from logstream.events import Cursor
from logstream.ledger.records import PlannedLane, State


class Fate(StrEnum):
    """What becomes of a lane when its delivery is planned again."""

    KEPT = "kept"
    """It is delivered, and stays as it is."""
    RESUMED = "resumed"
    """It goes on from its checkpoint."""
    SETTLED = "settled"
    """Nothing of it is left to deliver: what is neither delivered nor rejected is lost."""
    ANEW = "anew"
    """It begins anew: its counts, parts and rejections are void."""
    DROPPED = "dropped"
    """Its events go elsewhere by the settings of now."""


@dataclass(frozen=True, slots=True)
class KnownLane:
    """A lane as an earlier plan left it. `counted` is the place up to which `delivered` and `rejected` count."""

    delivery_id: int
    lane: int
    state: State
    fingerprint: str
    planned: Tally
    planned_bytes: int = 0
    delivered: Tally = field(default_factory=Tally)
    rejected: Tally = field(default_factory=Tally)
    counted: Cursor | None = None

    @property
    def done(self) -> Tally:
        """Events that are delivered or rejected."""
        return self.delivered + self.rejected

    @property
    def has_progress(self) -> bool:
        """Whether anything of it is counted as done."""
        return self.counted is not None or bool(self.done)


@dataclass(frozen=True, slots=True)
class Replanned:
    """What becomes of a lane: what it plans now, and what of its older plan is lost."""

    fate: Fate
    planned: Tally
    lost: Tally = field(default_factory=Tally)


def replan_lane(known: KnownLane, new: PlannedLane | None, held: Tally, ahead: Callable[[], Tally]) -> Replanned:
    """Decide what becomes of a lane of a delivery that is not complete.

    `new` is the lane by the newer plan, `None` where that plans nothing for it. `held` are the events that the log store holds
    of the lane by the settings of its older plan. `ahead` counts those of them that come after the place up to which the lane
    is counted; it is asked only for a lane that has progress and whose events have changed.
    """
    lost = _lost(known, held, ahead)
    if new is None:
        if held:
            return Replanned(Fate.DROPPED, Tally(), lost)
        # one that was settled with nothing done stays, too: `verify` knows a delivery by its lanes
        settled = known.done or lost or known.state is State.DELIVERED
        return Replanned(Fate.SETTLED if settled else Fate.DROPPED, known.done, lost)
    if new.fingerprint != known.fingerprint:
        return Replanned(Fate.ANEW, new.tally, lost)
    if known.state is State.DELIVERED:
        came, gone = _differ(new.tally, known.done)
        # events that are delivered and purged since must not be replaced by fewer
        return Replanned(Fate.ANEW, new.tally) if came and not gone else Replanned(Fate.KEPT, known.done)
    if new.tally == known.planned or not known.has_progress:
        return Replanned(Fate.RESUMED, new.tally, lost)
    left = +ahead()
    came, gone = _differ(new.tally - left, known.done)
    if came and not gone:  # rows have come before the checkpoint: it would pass them by
        return Replanned(Fate.ANEW, new.tally, lost)
    return Replanned(Fate.RESUMED if left else Fate.SETTLED, known.done + left, lost)


def still_held(done: Tally, held: Tally) -> bool:
    """Whether the log store holds at least all that was delivered: then it can be exported again."""
    return not _differ(held, done)[1]


def losses_after(before: Tally, lost: Tally, planned: Tally, held: Tally) -> Tally:
    """A delivery's losses after a plan: those it had, and the new ones.

    `planned` is what was planned before, with what was written off of it. Where the log store holds all that was ever planned of
    a workspace and kind, the rows are back and nothing is lost.
    """
    found = before + lost
    return +Tally({key: events for key, events in found.items() if held[key] < planned[key] + before[key]})


def _lost(known: KnownLane, held: Tally, ahead: Callable[[], Tally]) -> Tally:
    missing = known.planned - known.done
    if all(held[key] >= known.planned[key] for key in missing):
        return Tally()
    return missing - (ahead() if known.has_progress else held)


def _differ(tally: Tally, other: Tally) -> tuple[bool, bool]:
    """Whether a tally has more of anything than another, and whether it has less."""
    keys = tally.keys() | other.keys()
    return any(tally[key] > other[key] for key in keys), any(tally[key] < other[key] for key in keys)
