"""How a destination is, in one word: the same in the console, the command line, the API, the metrics and the docs.

Pure rules over what the ledger has counted; `ledger/overview.py` counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from logstream.ledger.coverage import DUE_AFTER
from logstream.ledger.health import HealingPolicy, Health
from logstream.units import span

REJECTING_SHARE = 0.01
"""From this share of its newest events on, a destination that refuses them is said to be rejecting."""

RECENT_WINDOWS = 6
"""So many of the newest windows are looked at for that share."""

MOVING = timedelta(minutes=15)
"""A destination that is owed something is catching up while a window was completed there no longer ago than two intervals of
the schedule, or than this where no schedule is known."""


class Condition(StrEnum):
    """The words. A destination is in the first of these conditions, in this order, that holds."""

    HELD = "held"
    SUSPENDED = "suspended"
    FAILING = "failing"
    BLOCKED = "blocked"
    REJECTING = "rejecting"
    CATCHING_UP = "catching up"
    OWED = "owed"
    GAPS = "gaps"
    WAITING = "waiting"
    UP_TO_DATE = "up to date"

    @property
    def slug(self) -> str:
        """The word for a style sheet or a metric's tag."""
        return self.value.replace(" ", "_")

    @property
    def meaning(self) -> str:
        """What it means, in a sentence."""
        return _MEANINGS[self]

    @property
    def remedy(self) -> str:
        """What a person does about it; empty where there is nothing to do."""
        return _REMEDIES.get(self, "")

    def remedy_for(self, destination: str) -> str:
        """The same, with the destination's name in its commands."""
        return self.remedy.replace(" NAME`", f" {destination}`")

    @property
    def is_well(self) -> bool:
        """Whether nothing needs a person."""
        return self in (Condition.UP_TO_DATE, Condition.WAITING, Condition.CATCHING_UP)


_MEANINGS = {
    Condition.HELD: "a person holds it: nothing is sent there, what it would have got is owed to it",
    Condition.SUSPENDED: "it has failed too often in a row: each run tries one window, the rest is owed to it",
    Condition.FAILING: "what was tried last has failed",
    Condition.BLOCKED: (
        "it is not at fault: the log store, the ledger or Airflow was away, or something else here has stopped its events"
    ),
    Condition.REJECTING: "it refuses a share of its events, which are kept as dead letters",
    Condition.CATCHING_UP: "it is getting what it is owed, oldest windows first",
    Condition.OWED: "it is owed windows, and has got none for a while",
    Condition.GAPS: "there is time since streaming began that no run has exported",
    Condition.WAITING: "nothing was delivered to it yet, and nothing is owed to it",
    Condition.UP_TO_DATE: "it has got everything",
}

_REMEDIES = {
    Condition.HELD: "Resume it when it may get events again.",
    Condition.SUSPENDED: "Try it out with `logstream destinations check NAME`, and mend what fails: it comes back by itself.",
    Condition.FAILING: "Try it out with `logstream destinations check NAME`, and mend what fails: what is owed follows "
    "by itself.",
    Condition.BLOCKED: "See what is wrong with `logstream doctor`, and mend that: what is owed follows by itself.",
    Condition.REJECTING: "See the reasons with `logstream rejected`; mend the template or the receiver, then "
    "`logstream redeliver --rejected`.",
    Condition.OWED: "See whether the export DAG runs; `logstream redeliver` delivers now.",
    Condition.GAPS: "See whether the export DAG is paused, or its scheduler away: the next runs export the gaps.",
}


_NUMBERED = frozenset(
    {Condition.UP_TO_DATE, Condition.REJECTING, Condition.CATCHING_UP, Condition.OWED, Condition.GAPS}
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Windows that something is to be done for: how many, and the start of the oldest."""

    windows: int = 0
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """How a destination stands.

    `owed` are windows that it has not got, `owed_since` is the start of the oldest of them; `gaps` is time that no run has
    exported to any destination. `rejected_share` is that of the newest windows' events, 0 to 1. `last_sealed` is when a window
    was last completed here, `step` the schedule's interval where there is one.
    """

    name: str
    health: Health = field(default_factory=Health)
    delivered_until: datetime | None = None
    owed: int = 0
    owed_since: datetime | None = None
    gaps: Backlog = Backlog()
    rejected_share: float = 0.0
    last_sealed: datetime | None = None
    lost: int = 0
    """Events that are lost, and that no person has taken note of yet."""
    error: str | None = None
    """Why the newest window that failed has failed."""
    trouble: str | None = None
    """Why what a run is at work on has failed so far: a run tries for minutes before its window has failed."""
    blocked: str | None = None
    """Why something that it has not got has failed by no fault of its own, where nothing of that has failed by its own."""
    check_error: str | None = None
    """Why its last check has failed, the daily one or one that a person made, where nothing has arrived there since."""
    now: datetime | None = None
    step: timedelta | None = None

    @property
    def condition(self) -> Condition:
        """How it is, in one word: the one place that decides it."""
        if self.health.held:
            return Condition.HELD
        if self.health.suspended:
            return Condition.SUSPENDED
        behind = bool(self.owed or self.gaps.windows)
        # a window that is planned again, after an outage that is over, has its error of then until it is taken
        if self.health.failures or (self.trouble and not (behind and self._is_moving)):
            return Condition.FAILING
        if self.blocked and not (behind and self._is_moving):
            return Condition.BLOCKED
        if self.rejected_share >= REJECTING_SHARE:
            return Condition.REJECTING
        if behind:
            if self._is_moving:
                return Condition.CATCHING_UP
            return Condition.OWED if self.owed else Condition.GAPS
        return Condition.UP_TO_DATE if self.delivered_until else Condition.WAITING

    @property
    def is_well(self) -> bool:
        """Whether nothing here needs a person."""
        return self.condition.is_well and not self.lost and not self.check_error

    @property
    def lag(self) -> timedelta | None:
        """How old the oldest thing is that it has not got; `None` if it has everything."""
        since = min((at for at in (self.owed_since, self.gaps.since) if at is not None), default=None)
        return self.now - since if since is not None and self.now is not None else None

    @property
    def _is_moving(self) -> bool:
        if self.now is None or self.last_sealed is None:
            return False
        return self.now - self.last_sealed <= (2 * self.step + DUE_AFTER if self.step else MOVING)

    def ready_in(self, owed_per_run: int, gaps_per_run: int) -> timedelta | None:
        """How long it takes, at the pace of the schedule, until nothing is owed, for one that is catching up."""
        if self.step is None or self.condition is not Condition.CATCHING_UP:
            return None
        runs = max(-(-self.owed // max(owed_per_run, 1)), -(-self.gaps.windows // max(gaps_per_run, 1)))
        return runs * self.step

    def numbers(self, policy: HealingPolicy | None = None) -> str:
        """What belongs to its condition: its last window, a share, what is left; by the pace of a policy about when that is here.

        Empty where nothing was delivered to it and nothing is owed to it.
        """
        if self.condition is Condition.UP_TO_DATE and self.delivered_until is not None:
            ago = f", {span(max(self.now - self.delivered_until, timedelta(0)))} ago" if self.now else ""
            return f"the last window ended {self.delivered_until:%Y-%m-%d %H:%M} UTC{ago}"
        if self.condition is Condition.REJECTING:
            return f"{self.rejected_share:.0%} of its newest events"
        ready = self.ready_in(policy.owed_per_run, policy.gaps_per_run) if policy else None
        return f"{self.backlog}, all of it here in about {span(ready)}" if ready else self.backlog

    @property
    def sentence(self) -> str:
        """Its condition with its numbers, for one line of a list."""
        condition = self.condition
        if condition in _NUMBERED:
            return f"{condition}: {self.numbers()}"
        why = f": {self.why}" if self.why else ""
        left = f" ({self.backlog})" if self.owed or self.gaps.windows else ""
        return f"{condition}{left}{why}"

    @property
    def why(self) -> str | None:
        """Why it is not well, in the words of its receiver or of ours."""
        if self.condition is Condition.BLOCKED:
            return self.blocked
        return self.health.error or self.error or self.trouble

    @property
    def backlog(self) -> str:
        """What it has not got, in words; empty if it has everything."""
        said = []
        for what, windows, since in (
            ("owed", self.owed, self.owed_since),
            ("of gaps", self.gaps.windows, self.gaps.since),
        ):
            if windows and since:
                noun = "window" if windows == 1 else "windows"
                said.append(f"{windows:,} {noun} {what} since {since:%Y-%m-%d %H:%M} UTC")
        return " and ".join(said)
