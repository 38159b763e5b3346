"""Shares: which lanes each task of a run carries. Pure functions over plain data."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from logstream.ledger.records import PendingLane

MAX_TASKS = 16
"""Mapped tasks of one run at the most: each costs Airflow 0.15 to 0.3 s."""

SHARE_BYTES = 32 * 1024 * 1024
"""A task of its own pays from about this many bytes on."""

SMALL = 0.1
"""A destination that is at most this part of a task's share is not divided among tasks."""

SHARE_LANES = 4
"""Destinations are independent, and people like to see them apart: at least so many tasks where there are lanes."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one mapped task does. `lanes` are names in the ledger: (delivery id, lane)."""

    label: str
    lanes: tuple[tuple[int, int], ...]
    bytes: int
    group: str = ""
    """The group of destinations that it is of, where the caller keeps groups apart."""

    def as_reference(self) -> dict[str, object]:
        """A small reference for XCom."""
        return {"label": self.label, "lanes": [list(key) for key in self.lanes]}


def divide(lanes: Sequence[PendingLane], max_tasks: int = MAX_TASKS) -> list[Share]:
    """Divide lanes, given as (name, destination, bytes), among tasks: at most `max_tasks`, balanced by bytes.

    The lanes of a small destination stay together, since one pass over the window serves them all. The largest piece goes to
    the task that has least so far, and so on: no task has more than the mean and one piece.
    """
    if not lanes:
        return []
    total = sum(size for _, _, size in lanes)
    tasks = max(1, min(max_tasks, len(lanes), max(-(-total // SHARE_BYTES), SHARE_LANES)))
    pieces = _pieces(lanes, int(total / tasks * SMALL))
    tasks = min(tasks, len(pieces))
    heap = [(0, index) for index in range(tasks)]
    members: list[list[PendingLane]] = [[] for _ in range(tasks)]
    for size, piece in sorted(pieces, key=lambda piece: (-piece[0], piece[1][0])):
        taken, index = heapq.heappop(heap)
        members[index] += piece
        # an empty-looking lane still costs a statement and a request
        heapq.heappush(heap, (taken + max(size, 1), index))
    filled = [sorted(group) for group in members if group]
    return [
        Share(
            _label({destination for _, destination, _ in group}, number, len(filled)),
            tuple(name for name, _, _ in group),
            sum(size for _, _, size in group),
        )
        for number, group in enumerate(filled, start=1)
    ]


def divide_by_group(lanes: Sequence[PendingLane], max_tasks: int, group_of: Callable[[str], str]) -> list[Share]:
    """The same for each group of destinations by itself: no task carries two. Each has up to `max_tasks`."""
    groups: dict[str, list[PendingLane]] = defaultdict(list)
    for lane in lanes:
        groups[group_of(lane[1])].append(lane)
    return [replace(share, group=group) for group in sorted(groups) for share in divide(groups[group], max_tasks)]


def _pieces(lanes: Sequence[PendingLane], small: int) -> list[tuple[int, list[PendingLane]]]:
    """What is given to tasks as a whole, with its bytes: all lanes of a destination that is small or has several windows, else
    a lane."""
    by_destination: dict[str, list[PendingLane]] = defaultdict(list)
    for lane in lanes:
        by_destination[lane[1]].append(lane)
    pieces = []
    for group in by_destination.values():
        size = sum(lane[2] for lane in group)
        # several windows of one destination are delivered in order, by one task
        together = size <= small or len({lane[0][0] for lane in group}) > 1
        pieces += [(size, group)] if together else [(lane[2], [lane]) for lane in group]
    return pieces


def _label(destinations: set[str], number: int, of: int) -> str:
    names = sorted(destinations)
    what = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{what} (share {number} of {of})" if of > 1 else what
