"""Rows that come late, before the place up to which a worker had sent when it was killed."""

from __future__ import annotations

import pytest

from logstream.destinations.parcel import Tally
from logstream.events import Cursor
from logstream.ledger.records import PlannedLane, State
from logstream.ledger.replan import Fate, KnownLane, replan_lane

PLANNED = Tally({(1, "job"): 3})
MORE = Tally({(1, "job"): 3, (2, "job"): 1})


@pytest.mark.parametrize(
    ("position", "counted", "fate"),
    [
        (None, None, Fate.RESUMED),  # nothing was sent: all is read
        (Cursor(9, 9), None, Fate.ANEW),
        (Cursor(9, 9), Cursor(5, 5), Fate.ANEW),
        (Cursor(5, 5), Cursor(5, 5), Fate.RESUMED),  # what comes after it is read
    ],
)
def test_a_lane_that_was_sent_further_than_it_is_counted_begins_anew_when_rows_have_come(
    position: Cursor | None, counted: Cursor | None, fate: Fate
) -> None:
    """It would count the late row among those that were sent, and pass it by (world 36)."""
    delivered = Tally({(1, "job"): 2}) if counted else Tally()
    known = KnownLane(1, 0, State.PLANNED, "f", PLANNED, delivered=delivered, counted=counted, position=position)
    new = PlannedLane(0, "f", MORE, 0)
    ahead = MORE - delivered
    assert replan_lane(known, new, MORE, lambda: ahead).fate is fate
    unchanged = PlannedLane(0, "f", PLANNED, 0)
    assert replan_lane(known, unchanged, PLANNED, lambda: PLANNED - delivered).fate is Fate.RESUMED
