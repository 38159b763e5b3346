"""That more workers make a window's delivery shorter in proportion: the real plan of a big window, carried by simulated workers."""

from __future__ import annotations

import pytest

from benchmarks.shares import EVENTS, SHAPES, WORKERS, a_few_busy, counts_of, lanes_of, simulate, table, zipf
from logstream.export.shares import MAX_TASKS, divide

from .stage import PROJECT


@pytest.mark.parametrize(
    ("shape", "part"), [("all workspaces alike", 0.95), ("five have a third of the events", 0.95)]
)  # fmt: skip
def test_delivery_is_nearly_as_many_times_as_quick_as_there_are_workers(shape: str, part: float) -> None:
    seconds = simulate(SHAPES[shape])
    assert [seconds[1] / seconds[workers] >= part * workers for workers in WORKERS] == [True] * len(WORKERS), seconds


def test_one_very_busy_workspace_is_what_limits_it() -> None:
    """A workspace is not divided: its events are in one lane, in order. All others have ended by then."""
    pending, events = lanes_of(counts_of(zipf))
    carried = [sum(events[lane] for lane in share.lanes) for share in divide(pending)]
    busiest = max(events.values())
    assert busiest > EVENTS / 8 > EVENTS / MAX_TASKS
    assert sorted(carried)[-2] < busiest <= max(carried) < 1.01 * busiest
    seconds = simulate(zipf)
    assert seconds[4] < seconds[1] / 3.5


def test_the_plan_that_is_simulated_has_every_event_once() -> None:
    counts = counts_of(a_few_busy)
    pending, events = lanes_of(counts)
    shares = divide(pending)
    carried = [lane for share in shares for lane in share.lanes]
    assert len(shares) == MAX_TASKS and len(carried) == len({*carried}) == len(events)
    assert sum(events[lane] for lane in carried) == sum(counts) == pytest.approx(EVENTS, abs=len(counts))


def test_the_table_of_the_docs_is_what_the_command_prints() -> None:
    assert table() in (PROJECT / "docs/scaling.md").read_text()
