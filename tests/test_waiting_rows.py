"""What waits to be counted takes little memory, however much of it there is."""

from __future__ import annotations

import tracemalloc
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.destinations.base import Limits
from logstream.destinations.parcel import EventRef, Tally
from logstream.events import Event
from logstream.export import whole_numbers
from logstream.export.outbox import Outbox
from logstream.export.refusals import Refusals
from logstream.export.select import Unsendable
from logstream.export.whole_numbers import NumberRows
from logstream.ledger.records import Rejection


def test_a_million_that_wait_would_take_a_hundred_megabytes_and_no_more() -> None:
    """They wait for the parcel that follows them, which may be the last of the window."""
    destination = SimpleNamespace(limits=Limits(), replaces=False)
    made: Any = Outbox(None, None, destination, None, None, Refusals())  # type: ignore[arg-type]
    many = 20_000
    tracemalloc.start()
    try:
        for number in range(many):
            event = Event(10**15 + number, 10**9 + number % 7, "job", number, 10**15 + number, b"x" * 1_000)
            made.reject([Unsendable(event, f"it is no JSON ({number % 10})", doubted=True)])
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken < 100 * many


@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 9))), max_size=60))
def test_rows_of_numbers_come_out_in_the_order_in_which_they_went_in(acts: list[tuple[int, int] | None]) -> None:
    ours, theirs = NumberRows(2), deque[tuple[int, ...]]()
    for act in acts:
        if act is not None:
            ours.append(*act)
            theirs.append(act)
        elif theirs:
            assert ours.first == theirs[0]
            assert ours.popleft() == theirs.popleft()
        else:
            with pytest.raises(IndexError):
                ours.popleft()
        assert len(ours) == len(theirs)


def test_what_is_taken_from_the_front_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_numbers, "SPARE", 8)
    rows = NumberRows(2)
    for number in range(1_000):
        rows.append(number, -number)
        if number >= 10:
            assert rows.popleft() == (number - 10, 10 - number)
    assert len(rows) == 10 and len(rows._numbers) < 60


def test_reasons_are_kept_no_longer_than_rows_wait_for_them() -> None:
    """A reason quotes its event: a window of a million odd events has a million reasons."""
    destination = SimpleNamespace(limits=Limits(), replaces=False)
    lane = SimpleNamespace(counted=None, position=None, rejected=Tally())
    made: Any = Outbox(lane, None, destination, None, None, Refusals())  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        for number in range(2_000):
            reason = f"{number}: {'x' * 500}"
            made.reject([Unsendable(Event(number, 7, "job", number, number, b"{}"), reason)])
            made._take_bad(None, 1)
            assert made._rejected.pop() == Rejection(EventRef(number, 7, "job"), reason)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert lane.rejected.total() == 2_000
    assert taken < 500_000
