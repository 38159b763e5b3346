"""What a person does here, in the console, about what needs one: the words of the command line name its commands."""

from __future__ import annotations

from collections.abc import Collection

from logstream.ledger.condition import Condition, DestinationStatus
from logstream.ledger.status import CHECK_FAILED, Problem

_HERE = {
    Condition.SUSPENDED: "Test it {where}, and mend what fails: it comes back by itself with the next run.",
    Condition.FAILING: "Test it {where}, and mend what fails: what is owed follows by itself with the next runs.",
    Condition.REJECTING: "See the reasons under Dead letters; mend the template or the receiver, then send them again there.",
    Condition.OWED: "See whether the export DAG runs; Deliver what is owed, {where}, delivers now.",
    CHECK_FAILED: "Test it {where}, and mend what fails: its next window would fail, too.",
    "lost": "See which under Deliveries, and acknowledge them there.",
}


def remedy_here(condition: str, otherwise: str = "", where: str = "on its page") -> str:
    """What to do about a condition, in the console; `otherwise` where that is the same everywhere."""
    return _HERE[condition].format(where=where) if condition in _HERE else otherwise


def said_of(problem: Problem, status: DestinationStatus | None, known: Collection[str]) -> str:
    """A problem without a receiver's own words: those are for some readers only."""
    if status is None or problem.condition == "lost" or status.name not in known:
        return problem.text
    if problem.condition == CHECK_FAILED:
        return "its last check has failed"
    left = f" ({status.backlog})" if status.backlog else ""
    return f"{status.condition.meaning}{left}"


def place_of(problem: Problem, known: Collection[str]) -> str:
    """The page of the console on which a person acts upon it; empty where there is none."""
    if problem.destination is None:
        return ""
    here = problem.condition != "lost" and problem.destination in known
    return f"destinations/{problem.destination}" if here else f"deliveries?destination={problem.destination}"
