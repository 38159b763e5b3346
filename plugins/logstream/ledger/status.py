"""Is all well? If not, what first: one look at the ledger for `logstream status`, the console's first page and a health check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from logstream.ledger.condition import Backlog, Condition, DestinationStatus
from logstream.ledger.coverage import Coverage
from logstream.ledger.health import HealingPolicy
from logstream.ledger.overview import Overview, backlog_of
from logstream.ledger.windows import Windows
from logstream.ledger.write_offs import write_off_command
from logstream.units import counted
from logstream.window import iso


@dataclass(frozen=True, slots=True)
class Problem:
    """What needs a person: in which condition what is, and what to do. `destination` is `None` for what concerns all.

    `why` is a reason in the words of a database, which not all may see.
    """

    condition: str
    text: str
    remedy: str
    destination: str | None = None
    why: str | None = None

    @property
    def told(self) -> str:
        """What is the matter, with the reason."""
        return f"{self.text}: {self.why}" if self.why else self.text

    def as_json(self) -> dict[str, str | None]:
        """Plain data for `status --json`."""
        return {
            "destination": self.destination, "condition": self.condition, "text": self.told, "remedy": self.remedy,
        }  # fmt: skip

    def __str__(self) -> str:
        name = f"{self.destination}: " if self.destination else ""
        return f"{name}{self.told}. {self.remedy}".strip()


@dataclass(frozen=True, slots=True)
class Status:
    """How a deployment stands: its destinations by name, its gaps, and what needs a person, the most urgent first."""

    destinations: list[DestinationStatus]
    gaps: Backlog
    problems: list[Problem]
    schedule: timedelta | None
    streaming_since: datetime | None

    @property
    def is_well(self) -> bool:
        """Whether nothing needs a person."""
        return not self.problems

    @property
    def counts(self) -> Counter[Condition]:
        """How many destinations are in each condition."""
        return Counter(status.condition for status in self.destinations)


def look(engine: Engine, destinations: Collection[str]) -> Status:
    """Look at the ledger. `destinations` are those of the settings.

    Others that are still owed something are added, and those that have lost what no person has taken note of.
    """
    coverage, overview = Windows(engine).coverage(), Overview(engine)
    names = sorted({*destinations, *overview.owed_windows(), *overview.lost_events()})
    statuses = list(overview.statuses(names).values())
    problems = problems_of(statuses, coverage, {*names} - {*destinations})
    return Status(statuses, backlog_of(coverage), problems, coverage.step, coverage.since)


def problems_of(
    statuses: Collection[DestinationStatus], coverage: Coverage, removed: Collection[str] = ()
) -> list[Problem]:
    """What needs a person, the most urgent first. A gap is one problem, however many destinations miss its events; so is a log
    store that is away.

    To destinations that were `removed` from the settings no run delivers what they are owed.
    """
    problems = []
    gaps, moving = backlog_of(coverage), any(status.condition is Condition.CATCHING_UP for status in statuses)
    if gaps.windows and not moving:
        noun = "window" if gaps.windows == 1 else "windows"
        text = f"no run has exported {gaps.windows:,} {noun} since {gaps.since:%Y-%m-%d %H:%M} UTC"
        problems.append(Problem(Condition.GAPS, text, Condition.GAPS.remedy))
    blocked = [one for one in statuses if one.condition is Condition.BLOCKED and one.name not in removed]
    problems += _blocked(blocked)
    order = {condition: place for place, condition in enumerate(_URGENT)}
    for status in sorted(statuses, key=lambda status: (order.get(status.condition, len(order)), status.name)):
        condition = status.condition
        if status.name in removed:
            if status.owed:
                text = f"it is owed {counted(status.owed, 'window')}, and the settings no longer have it"
                remedy = f"Put it back, under this name, or write that off: {write_off_command(status.name)}"
                problems.append(Problem(Condition.OWED, text, remedy, status.name))
        elif not condition.is_well and condition not in (Condition.GAPS, Condition.BLOCKED):
            problems.append(Problem(condition, status.sentence, condition.remedy_for(status.name), status.name))
        if status.check_error and condition not in _AWAY and status.name not in removed:
            text = f"its last check has failed: {status.check_error}"
            problems.append(Problem(CHECK_FAILED, text, Condition.FAILING.remedy_for(status.name), status.name))
        if status.lost:
            text = f"{counted(status.lost, 'event is', 'events are')} lost, no longer in the log store at the time of delivery"
            problems.append(
                Problem("lost", text, "See which with `logstream owed`, then add --acknowledge.", status.name)
            )
    return problems


def _blocked(statuses: Collection[DestinationStatus]) -> list[Problem]:
    """What needs a person where destinations get nothing by no fault of their own: one cause, in the words of one of them."""
    if not statuses:
        return []
    first = min(statuses, key=lambda status: status.name)
    more = f" and {counted(len(statuses) - 1, 'other destination')}" if len(statuses) > 1 else ""
    text = f"nothing arrives at {first.name}{more}, and no destination is at fault"
    return [Problem(Condition.BLOCKED, text, Condition.BLOCKED.remedy, why=first.blocked)]


CHECK_FAILED = "check failed"
"""How a destination is called of which only the last check has failed."""

_AWAY = frozenset({Condition.HELD, Condition.SUSPENDED, Condition.FAILING})
"""Where a failed check says nothing new."""

_URGENT = (Condition.SUSPENDED, Condition.FAILING, Condition.REJECTING, Condition.OWED, Condition.HELD)


def as_json(status: DestinationStatus, policy: HealingPolicy) -> dict[str, object]:
    """One destination as plain data for `status --json`."""
    ready = status.ready_in(policy.owed_per_run, policy.gaps_per_run)
    return {
        "name": status.name,
        "condition": status.condition.value,
        "well": status.is_well,
        "delivered_until": iso(status.delivered_until) if status.delivered_until else None,
        "lag_seconds": status.lag.total_seconds() if status.lag else 0.0,
        "owed_windows": status.owed,
        "owed_since": iso(status.owed_since) if status.owed_since else None,
        "ready_in_seconds": ready.total_seconds() if ready else None,
        "rejected_share": round(status.rejected_share, 4),
        "lost_events": status.lost,
        "error": status.why,
        "check_error": status.check_error,
    }
