"""How the delivery of one window gets shorter with more workers: the plan is the real one, the workers are simulated.

`python -m benchmarks.shares` prints the table of docs/scaling.md. Nothing is sent: the plan of a window of 1,000,000 events to
1,000 destinations is divided among tasks as a run does it, and each worker that is free takes the next task.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from logstream.export.shares import Share, divide
from logstream.export.window_plan import plan_window
from logstream.ledger.records import PendingLane
from logstream.settings.resolution import Workspace
from logstream.store.base import KindCount
from logstream.validation import validate_settings

EVENTS, DESTINATIONS, LANES = 1_000_000, 1_000, 4
EVENT_BYTES = 967
WORKERS = (1, 2, 4, 8, 16)

TASK_SECONDS = 1.5
"""What Airflow takes to start and end a task: docs/scaling.md, half a second to two seconds."""
DESTINATION_SECONDS = 0.005
"""Of a destination of a window beside its events: docs/scaling.md."""
EVENT_SECONDS = 2 / 54_952 - DESTINATIONS * DESTINATION_SECONDS / EVENTS
"""Of a core for an event: benchmarks/RESULTS.md, batches to 1,000 routes on two cores, without what the destinations take."""


def all_alike(number: int) -> float:
    """Every workspace has as many events as any other."""
    return 1.0


def a_few_busy(number: int) -> float:
    """Five workspaces have a third of the events."""
    return DESTINATIONS / 10 if number % (DESTINATIONS // 5) == DESTINATIONS // 5 - 1 else 1.0


def zipf(number: int) -> float:
    """The second busiest has half of what the busiest has, the third a third, and so on."""
    return 1 / (DESTINATIONS - number)


SHAPES: dict[str, Callable[[int], float]] = {
    "all workspaces alike": all_alike,
    "five have a third of the events": a_few_busy,
    "Zipf: one has an eighth": zipf,
}


def counts_of(shape: Callable[[int], float]) -> list[int]:
    """Events of each workspace."""
    weights = [shape(number) for number in range(DESTINATIONS)]
    return [max(1, round(EVENTS * weight / sum(weights))) for weight in weights]


def lanes_of(counts: Sequence[int]) -> tuple[list[PendingLane], dict[tuple[int, int], int]]:
    """The lanes of the window's plan, each workspace having a destination of its own; and the events of each lane."""
    settings = validate_settings(
        {
            "workspaces": [
                {"id": n, "streaming": {"enabled": True, "events": ["job_details"], "destination": f"d{n:04}"}}
                for n in range(1, len(counts) + 1)
            ],
            "destinations": {f"d{n:04}": {"type": "file", "path": f"/srv/d{n}"} for n in range(1, len(counts) + 1)},
        }
    )
    plan = plan_window(
        settings,
        [Workspace(n) for n in range(1, len(counts) + 1)],
        [KindCount(n, "job", None, None, count, count * EVENT_BYTES) for n, count in enumerate(counts, start=1)],
        dict.fromkeys(settings.destinations, LANES),
    )
    pending, events = list[PendingLane](), dict[tuple[int, int], int]()
    for delivery, (destination, lanes) in enumerate(sorted(plan.lanes.items())):
        for lane in lanes:
            pending.append(((delivery, lane.lane), destination, lane.bytes))
            events[delivery, lane.lane] = lane.tally.total()
    return pending, events


def seconds_of(share: Share, events: dict[tuple[int, int], int]) -> float:
    """How long one worker has a task of some lanes."""
    destinations = len({delivery for delivery, _ in share.lanes})
    return TASK_SECONDS + destinations * DESTINATION_SECONDS + sum(events[lane] for lane in share.lanes) * EVENT_SECONDS


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last task ends, if each worker takes the next task as soon as it is free."""
    free = [0.0] * workers
    for each in seconds:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


def simulate(shape: Callable[[int], float]) -> dict[int, float]:
    """Seconds by workers."""
    pending, events = lanes_of(counts_of(shape))
    seconds = [seconds_of(share, events) for share in divide(pending)]
    return {workers: makespan(seconds, workers) for workers in WORKERS}


def table() -> str:
    """Seconds, and how many times as quick as one worker."""
    found = {name: simulate(shape) for name, shape in SHAPES.items()}
    rows = ["| workers | " + " | ".join(found) + " |", "| ---: |" + " ---: |" * len(found)]
    for workers in WORKERS:
        cells = [f"{spans[workers]:.1f} s ({spans[1] / spans[workers]:.1f} x)" for spans in found.values()]
        rows.append(f"| {workers} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
