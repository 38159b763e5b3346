"""Evaluating compiled JSONPaths with a limit on the work.

A path that any administrator may write meets an event that any customer may make. So each value that is looked at is
counted, and a search that needs more than its share stops: `TooMuchWork`. The limits hold for all paths of one event.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from logstream.errors import LogstreamError
from logstream.jsonpath.compiled import (
    AllOf,
    AnyOf,
    Condition,
    Descend,
    Exists,
    Indexes,
    Names,
    Path,
    Slice,
    Step,
    Wildcard,
)

FREE_STEPS = 50_000
"""Values that may be looked at in an event of any size."""

MOST_STEPS = 5_000_000
"""Values that may be looked at in the largest event: some seconds."""

Place = tuple[Any, Any]
"""Where a value stands: the object or array that holds it, and its name or index."""


class TooMuchWork(LogstreamError):
    """A message template, or a mask, asks too much of one event."""


class Work:
    """How many values may still be looked at for one event: `FREE_STEPS`, and one for every two bytes it has."""

    __slots__ = ("_left", "_most")

    def __init__(self, size: int) -> None:
        self._most = self._left = min(FREE_STEPS + size // 2, MOST_STEPS)

    def spend(self, steps: int) -> None:
        """Count some work. Raises `TooMuchWork` once there is none left."""
        self._left -= steps
        if self._left < 0:
            raise TooMuchWork(f"its JSONPaths look at more than {self._most:,} values of the event")


def find(path: Path, document: Any, work: Work) -> list[Place]:
    """The places of all values that a path finds in a document, in document order."""
    root: Place = ([document], 0)
    return _walk(path.steps, [root], root, work)


def _walk(steps: Sequence[Step], places: list[Place], root: Place, work: Work) -> list[Place]:
    for step in steps:
        places = [found for holder, key in places for found in _select(step, (holder, key), root, work)]
    return places


def _select(step: Step, place: Place, root: Place, work: Work) -> list[Place]:
    value = place[0][place[1]]
    if isinstance(step, Names):
        work.spend(len(step.names))
        return [(value, name) for name in step.names if name in value] if isinstance(value, dict) else []
    if isinstance(step, Indexes):
        work.spend(len(step.indexes))
        size = len(value) if isinstance(value, list) else 0
        return [(value, index) for index in step.indexes if -size <= index < size]
    if isinstance(step, Slice):
        return _slice(step, value, work)
    if isinstance(step, Wildcard):
        return _children(value, work)
    if isinstance(step, Descend):
        return _descend(step, place, root, work)
    return [child for child in _children(value, work) if all(_holds(c, child, root, work) for c in step.conditions)]


def _slice(step: Slice, value: Any, work: Work) -> list[Place]:
    if not isinstance(value, list) or step.step == 0:
        return []
    indexes = range(len(value))[step.start : step.stop : step.step]
    work.spend(1 + len(indexes))
    return [(value, index) for index in indexes]


def _children(value: Any, work: Work) -> list[Place]:
    if isinstance(value, dict):
        work.spend(1 + len(value))
        return [(value, key) for key in value]
    if isinstance(value, list):
        work.spend(1 + len(value))
        return [(value, index) for index in range(len(value))]
    work.spend(1)
    return []


def _descend(step: Descend, place: Place, root: Place, work: Work) -> list[Place]:
    found: list[Place] = []
    waiting = [place]
    while waiting:
        here = waiting.pop()
        found += _walk(step.steps, [here], root, work)
        waiting += reversed(_children(here[0][here[1]], work))
    return found


def _holds(condition: Condition, candidate: Place, root: Place, work: Work) -> bool:
    if isinstance(condition, AllOf):
        return all(_holds(inner, candidate, root, work) for inner in condition.conditions)
    if isinstance(condition, AnyOf):
        return any(_holds(inner, candidate, root, work) for inner in condition.conditions)
    found = _values(condition.path, candidate, root, work)
    if isinstance(condition, Exists):
        return bool(found) != condition.negated
    if isinstance(condition.operand, Path):
        operands = _values(condition.operand, candidate, root, work)
        if not found and not operands:  # nothing is equal to nothing (RFC 9535, section 2.3.5.2.2)
            return condition.operator in {"==", "=", "<=", ">="}
    else:
        operands = [condition.operand]
    if not found or not operands:
        return condition.operator == "!="
    return any(_compare(condition.operator, value, other, work) for value in found for other in operands)


def _values(path: Path, candidate: Place, root: Place, work: Work) -> list[Any]:
    work.spend(1)
    start = root if path.from_root else candidate
    return [holder[key] for holder, key in _walk(path.steps, [start], root, work)]


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _compare(comparison: str, left: Any, right: Any, work: Work) -> bool:
    """Compare as RFC 9535 (section 2.3.5.2.2) says: only two numbers or two texts are ordered."""
    work.spend(1)
    if isinstance(left, str) and isinstance(right, str):
        work.spend(min(len(left), len(right)) // 64)
    elif not (_is_number(left) and _is_number(right)):
        equal = _equal(left, right, work)
        return not equal if comparison == "!=" else equal and comparison not in {"<", ">"}
    if comparison == "!=":
        return bool(left != right)
    return bool(left == right) if comparison in {"==", "="} else _ORDERS[comparison](left, right)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(left: Any, right: Any, work: Work) -> bool:
    pairs = [(left, right)]
    while pairs:
        left, right = pairs.pop()
        work.spend(1)
        if isinstance(left, bool) or isinstance(right, bool):
            if left is not right:
                return False
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            work.spend(len(left))
            pairs += zip(left, right, strict=True)
        elif isinstance(left, dict) and isinstance(right, dict):
            work.spend(len(left))
            if left.keys() != right.keys():
                return False
            pairs += [(value, right[key]) for key, value in left.items()]
        elif isinstance(left, str) and isinstance(right, str):
            work.spend(min(len(left), len(right)) // 64)
            if left != right:
                return False
        elif isinstance(left, list | dict) or isinstance(right, list | dict) or left != right:
            return False
    return True
