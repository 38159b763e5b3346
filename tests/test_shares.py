"""Which lanes each task carries."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.export.shares import divide
from logstream.export.window_plan import lane_of


def test_lanes_are_stable() -> None:
    assert [lane_of(number, 4) for number in (1, 2, 3, 1001, 9_999_999)] == [3, 1, 3, 1, 3]


@pytest.mark.parametrize("tasks", [1, 3, 16])
def test_shares_hold_every_lane_once(tasks: int) -> None:
    lanes = [((number // 4, number % 4), f"d{number // 4}", number * 1_000_000) for number in range(400)]
    shares = divide(lanes, tasks)
    assert len(shares) <= tasks
    assert sorted(key for share in shares for key in share.lanes) == sorted(key for key, _, _ in lanes)
    sizes = [share.bytes for share in shares]
    assert max(sizes) <= 1.2 * min(sizes)
    assert divide([], tasks) == []


@given(
    st.floats(0, 1.6), st.integers(160, 3_000), st.integers(1, 16), st.integers(1, 8), st.randoms(use_true_random=False)
)
def test_shares_are_balanced_within_a_fifth_however_skewed(
    skew: float, lanes: int, tasks: int, each: int, dice: random.Random
) -> None:
    """Sizes by Zipf, several lanes a destination: no task has a fifth more than the mean, but one that is one large lane."""
    sizes = [int(1e9 * (rank + 1) ** -skew) for rank in range(lanes)]
    dice.shuffle(sizes)
    pending = [((number // each, number % each), f"d{number // each}", size) for number, size in enumerate(sizes)]
    shares = divide(pending, tasks)
    assert len(shares) <= tasks
    assert sorted(key for share in shares for key in share.lanes) == sorted(key for key, _, _ in pending)
    mean, largest = sum(sizes) / len(shares), max(sizes)
    assert max(share.bytes for share in shares) <= 1.2 * max(mean, largest)
