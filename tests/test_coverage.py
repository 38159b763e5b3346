"""The rules of coverage: no time since streaming began is forgotten, none is exported twice."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.ledger.coverage import (
    AskedBy,
    Coverage,
    KnownWindow,
    Purpose,
    Schedule,
    WindowToExport,
    cut,
    without,
)
from logstream.window import Window

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def span(start: float, end: float) -> Window:
    return Window(at(start), at(end))


@dataclass
class Clockwork:
    """The ledger's windows as a list: the model that the rules are played against."""

    since: datetime | None = NOON
    windows: list[KnownWindow] = field(default_factory=list)
    schedule: Schedule | None = None

    def coverage(self, now: datetime) -> Coverage:
        return Coverage(
            now, self.since, tuple(item.window for item in self.windows if item.whole),
            tuple(item.window for item in self.windows if not item.whole), self.schedule,
        )  # fmt: skip

    @property
    def whole(self) -> list[Window]:
        return [item.window for item in self.windows if item.whole]

    def run(
        self, interval: Window, asked_by: AskedBy = AskedBy.SCHEDULE, *, partly: bool = False, most_gaps: int = 24,
        carrier: str | None = None,
    ) -> list[WindowToExport]:  # fmt: skip
        known = [
            item
            for item in self.windows
            if (item.window.start < interval.end and interval.start < item.window.end)
            or (carrier is not None and item.carrier == carrier)
        ]
        if asked_by is AskedBy.SCHEDULE:
            self.schedule = Schedule.of(interval)
        todo = self.coverage(interval.end).to_export(interval, asked_by, known, carrier=carrier, most_gaps=most_gaps)
        for item in todo:
            there = next((one for one in self.windows if one.window == item.window), None)
            if there is None:
                self.windows.append(KnownWindow(item.window, not partly, asked_by, carrier))
            elif not partly and not there.whole:
                self.windows[self.windows.index(there)] = KnownWindow(there.window, True, there.asked_by, there.carrier)
        return todo


def windows(todo: list[WindowToExport]) -> list[Window]:
    return [item.window for item in todo]


def test_a_scheduler_that_was_away_leaves_a_gap_that_the_next_run_takes_along() -> None:
    clock = Clockwork()
    clock.run(span(0, 5))
    todo = clock.run(span(55, 60))
    assert windows(todo) == [span(minute, minute + 5) for minute in range(5, 60, 5)]
    assert [item.by_its_time for item in todo] == [True] * 10 + [False]
    assert clock.coverage(at(60)).gaps() == []


def test_a_day_of_pause_is_caught_up_with_oldest_first_and_bounded() -> None:
    clock = Clockwork()
    clock.run(span(0, 5))
    runs = 0
    taken: list[Window] = []
    minute = 24 * 60
    while clock.coverage(at(minute)).gaps() or not runs:
        todo = clock.run(span(minute, minute + 5))
        assert len(todo) <= 25
        taken += [item.window for item in todo if item.by_its_time]
        minute, runs = minute + 5, runs + 1
    # 287 windows were missed
    assert runs == 12
    assert taken == [span(start, start + 5) for start in range(5, 24 * 60, 5)]


def test_streaming_that_began_within_a_window_opens_no_gap_before() -> None:
    clock = Clockwork(since=at(3))
    assert windows(clock.run(span(10, 15))) == [span(3, 5), span(5, 10), span(10, 15)]
    assert windows(Clockwork(since=at(13)).run(span(10, 15))) == [span(10, 15)]
    assert windows(Clockwork(since=None).run(span(10, 15))) == [span(10, 15)]


def test_another_schedule_and_back() -> None:
    clock = Clockwork()
    clock.run(span(0, 5))
    # from 5 minutes to 1, missing two; then back, over windows that are there
    assert windows(clock.run(span(7, 8))) == [span(5, 6), span(6, 7), span(7, 8)]
    assert windows(clock.run(span(8, 9))) == [span(8, 9)]
    assert windows(clock.run(span(5, 10))) == [span(9, 10)]
    assert windows(clock.run(span(3, 4))) == [], "it is in a window that is there"
    assert windows(clock.run(span(20, 25))) == [span(10, 15), span(15, 20), span(20, 25)]


def test_a_backfill_on_another_schedule_exports_the_windows_that_are_there_and_makes_none_over_them() -> None:
    clock = Clockwork()
    for minute in range(0, 30, 5):
        clock.run(span(minute, minute + 5))
    todo = clock.run(span(3, 33), AskedBy.REQUEST)
    assert windows(todo) == [*(span(minute, minute + 5) for minute in range(0, 30, 5)), span(30, 33)]
    assert [item.purpose for item in todo] == [Purpose.AGAIN] * 6 + [Purpose.NEW]


def test_history_is_islands() -> None:
    clock = Clockwork()
    clock.run(span(-600, -540), AskedBy.REQUEST)
    clock.run(span(-300, -240), AskedBy.REQUEST)
    assert clock.coverage(at(0)).gaps() == []
    assert windows(clock.run(span(0, 5))) == [span(0, 5)]
    clock.run(span(20, 25), AskedBy.REQUEST)
    assert clock.coverage(at(25)).gaps() == [span(5, 20)]


def test_a_window_for_some_destinations_is_still_a_gap_and_keeps_its_bounds() -> None:
    clock = Clockwork()
    clock.run(span(0, 5))
    clock.run(span(6, 17), AskedBy.REQUEST, partly=True)
    assert clock.coverage(at(17)).gaps() == [span(5, 17)]
    todo = clock.run(span(20, 25))
    assert windows(todo) == [span(5, 6), span(6, 17), span(17, 20), span(20, 25)]
    assert [item.purpose for item in todo] == [Purpose.NEW, Purpose.REST, Purpose.NEW, Purpose.NEW]
    assert clock.coverage(at(25)).gaps() == []
    assert windows(clock.run(span(25, 30))) == [span(25, 30)]


def test_what_is_oldest_comes_first_whether_some_destinations_have_it_or_none() -> None:
    clock = Clockwork()
    clock.run(span(0, 5), AskedBy.REQUEST, partly=True)
    clock.run(span(10, 15), AskedBy.REQUEST, partly=True)
    for expected in (span(0, 5), span(5, 10), span(10, 15)):
        todo = clock.run(span(15, 20), most_gaps=1)
        assert expected in windows(todo) and len(todo) <= 2


def test_a_request_exports_again_only_what_overlaps_its_interval() -> None:
    """Though the one who asks, by that name, has made other windows."""
    clock = Clockwork()
    clock.run(span(0, 5), AskedBy.REQUEST, carrier="ann")
    assert windows(clock.run(span(10, 15), AskedBy.REQUEST, carrier="ann")) == [span(10, 15)]


def test_what_was_exported_on_request_is_not_the_scheduled_runs_own() -> None:
    """Though it is the run's very interval, and the ledger does not know who made it."""
    clock = Clockwork()
    clock.run(span(0, 5), AskedBy.REQUEST)
    assert clock.run(span(0, 5), carrier="scheduled__0") == []


def test_a_window_that_ended_when_streaming_began_is_history() -> None:
    clock = Clockwork()
    clock.run(span(-5, 0), AskedBy.REQUEST, partly=True)
    assert windows(clock.run(span(0, 5))) == [span(0, 5)]
    assert windows(clock.run(span(10, 15))) == [span(5, 10), span(10, 15)]


def test_a_window_for_some_destinations_across_a_runs_begin_is_taken_once() -> None:
    clock = Clockwork()
    clock.run(span(-2, 3), AskedBy.REQUEST, partly=True)
    clock.run(span(8, 12), AskedBy.REQUEST, partly=True)
    todo = clock.run(span(10, 15))
    assert windows(todo) == [span(-2, 3), span(3, 8), span(8, 12), span(12, 15)]


def test_only_the_run_that_made_windows_exports_them_again() -> None:
    clock = Clockwork()
    made = clock.run(span(10, 15), carrier="scheduled__10")
    again = [WindowToExport(window, Purpose.AGAIN, by_its_time=window != span(10, 15)) for window in windows(made)]
    assert windows(made) == [span(0, 5), span(5, 10), span(10, 15)]
    assert clock.run(span(10, 15), carrier="scheduled__10") == again, "tried again, or cleared"
    assert clock.run(span(5, 10), carrier="scheduled__5") == [], "a run that was late finds nothing left to do"
    clock.run(span(15, 20), AskedBy.REQUEST, carrier="manual__1")
    assert clock.run(span(15, 20), carrier="scheduled__15") == [], "it was exported on request a moment before"
    clock.windows.append(KnownWindow(span(20, 25)))
    assert windows(clock.run(span(20, 25), carrier="scheduled__20")) == [span(20, 25)], (
        "made before carriers were noted"
    )


@pytest.mark.parametrize(
    ("now", "gaps"),
    [
        (5.5, []),
        (10.9, []),
        (11.0, [(5, 10)]),
        (15.9, [(5, 10)]),
        (16.0, [(5, 15)]),
        (65.0, [(5, 60)]),
    ],
)
def test_a_step_of_the_schedule_is_a_gap_when_its_end_is_a_minute_past(now: float, gaps: list[tuple[int, int]]) -> None:
    clock = Clockwork()
    clock.run(span(0, 5))
    assert clock.coverage(at(now)).gaps() == [span(*gap) for gap in gaps]
    clock.schedule = None
    assert clock.coverage(at(now)).gaps() == []


def test_a_schedule_that_rests_at_night_owes_nothing_at_night() -> None:
    office = Schedule(span(0, 60), next_end=at(16 * 60))
    assert office.due(at(60.5)) == at(0), "the run of the interval that has just ended may be about to plan"
    assert office.due(at(10 * 60)) == at(60)
    assert office.due(at(16 * 60 + 0.5)) == at(60)
    assert office.due(at(16 * 60 + 1)) == at(16 * 60)


def test_cutting() -> None:
    grid = span(0, 5)
    assert list(cut(span(-7, 7), grid)) == [span(-7, -5), span(-5, 0), span(0, 5), span(5, 7)]
    assert list(cut(span(3, 7), grid)) == [span(3, 7)], "shorter than a step"
    assert list(cut(span(5, 10), grid)) == [span(5, 10)]
    years = Window(NOON - timedelta(days=36_500), NOON)
    assert next(iter(cut(years, Window(NOON, NOON + timedelta(seconds=1))))).start == years.start


def test_what_some_windows_leave() -> None:
    assert list(without(span(0, 10), [])) == [span(0, 10)]
    assert list(without(span(0, 10), [span(7, 12), span(-3, 1), span(2, 3), span(20, 30)])) == [span(1, 2), span(3, 7)]
    assert list(without(span(0, 10), [span(-1, 11)])) == []


MINUTES = st.integers(-40, 80)
INTERVALS = st.tuples(MINUTES, st.integers(1, 25)).map(lambda pair: span(pair[0], pair[0] + pair[1]))
RUNS = st.lists(
    st.tuples(INTERVALS, st.sampled_from(AskedBy), st.booleans(), st.sampled_from([None, "a", "b"]), st.integers(0, 3)),
    max_size=15,
)


@given(RUNS, st.integers(-20, 60))
def test_whatever_runs_there_were_time_is_covered_once_and_whole(
    runs: list[tuple[Window, AskedBy, bool, str | None, int]], since: int
) -> None:
    clock = Clockwork(since=at(since))
    for interval, asked_by, partly, carrier, most_gaps in runs:
        before = list(clock.windows)
        some = partly and asked_by is AskedBy.REQUEST
        todo = clock.run(interval, asked_by, partly=some, most_gaps=most_gaps, carrier=carrier)
        assert windows(todo) == sorted(windows(todo)), "oldest first"
        assert len(set(windows(todo))) == len(todo)
        gaps = [item for item in todo if item.by_its_time and item.purpose is not Purpose.AGAIN]
        assert sum(item.window.end <= interval.start for item in gaps) <= most_gaps
        assert {item.window for item in before} <= {item.window for item in clock.windows}, "bounds are kept"
        assert {item.window for item in before if item.whole} <= {i.window for i in clock.windows if i.whole}
        if asked_by is AskedBy.REQUEST:
            assert list(without(interval, windows(todo))) == [], "all that was asked for"
        else:
            assert list(without(interval, clock.whole)) == []
        ordered = sorted(item.window for item in clock.windows)
        assert all(one.end <= other.start for one, other in itertools.pairwise(ordered))
    # the schedule goes on: in the end nothing since streaming began is left
    end = max([at(100), *(item.window.end for item in clock.windows)])
    number = 0
    while number == 0 or clock.coverage(end).gaps():
        end += timedelta(minutes=5)
        clock.run(Window(end - timedelta(minutes=5), end))
        number += 1
        assert number < 60
    ordered = sorted(item.window for item in clock.windows)
    assert all(one.end <= other.start for one, other in itertools.pairwise(ordered))
    assert list(without(Window(at(since), end), clock.whole)) == []
