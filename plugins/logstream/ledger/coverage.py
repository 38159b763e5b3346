"""Coverage: which time is exported, which is not, and which windows a run makes of it.

What is promised is time, not runs. A run that never started leaves no trace, so nothing here asks what ran: time since
streaming began that lies in no window is a *gap*, whatever the reason (a paused DAG, a scheduler that was away, a writer
that hung, a run that died before it planned, another schedule). Windows never overlap and keep their bounds for ever, so
each instant belongs to one window at the most, and is exported by that one.

Pure rules over plain values; `ledger/windows.py` keeps them in the control database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice

from logstream.ledger.carriers import is_carrier
from logstream.window import Window

DUE_AFTER = timedelta(seconds=60)
"""How long after a window's end the schedule may take to plan it, before it is a gap."""


class AskedBy(StrEnum):
    """Who wants a window exported."""

    SCHEDULE = "schedule"
    """A scheduled run: what is exported already is left alone."""
    REQUEST = "request"
    """A backfill, a triggered run, the command: what is exported already is exported again, on purpose."""


class Purpose(StrEnum):
    """Why a run exports a window."""

    NEW = "new"
    """Time that no window covers yet: a new window."""
    REST = "rest"
    """A window that some destinations have got already, now for the others."""
    AGAIN = "again"
    """A window that is exported again, on purpose."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the schedule demands: an interval that has ended, the newest when it was noted, and the end of the one after it."""

    interval: Window
    next_end: datetime

    @classmethod
    def of(cls, interval: Window, next_end: datetime | None = None) -> Schedule:
        """With the next interval as long as this one, where it is not known."""
        return cls(interval, next_end or interval.end + (interval.end - interval.start))

    def due(self, now: datetime) -> datetime:
        """The end of the newest interval that should have been planned by now."""
        late = now - DUE_AFTER
        if late < self.interval.end:
            return self.interval.start
        # where the scheduler is away the intervals go on alike, as far as is known
        step = self.next_end - self.interval.end
        return self.next_end + (late - self.next_end) // step * step


@dataclass(frozen=True, slots=True)
class KnownWindow:
    """A window that exists. `whole` unless it was exported to some destinations only; `carrier` is the run that made it."""

    window: Window
    whole: bool = True
    asked_by: AskedBy = AskedBy.SCHEDULE
    carrier: str | None = None


@dataclass(frozen=True, slots=True)
class WindowToExport:
    """A window that a run has to plan, and why.

    With `by_its_time` the settings that were in force when the window ended decide, otherwise those that the run took.
    """

    window: Window
    purpose: Purpose
    by_its_time: bool = False


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is known of a log store's time.

    `covered` are the spans that whole windows cover (adjacent windows may be given as one span), `partial` the windows that
    were exported to some destinations only: time that is a gap still, whose bounds are decided. `since` is when streaming
    began, `None` where nothing was ever enabled; time before it is history, in which nothing is a gap.
    """

    now: datetime
    since: datetime | None = None
    covered: tuple[Window, ...] = ()
    partial: tuple[Window, ...] = ()
    schedule: Schedule | None = None

    @property
    def until(self) -> datetime | None:
        """Up to where time is looked at for gaps: the newest window's end, or what the schedule should have planned by now."""
        ends = [window.end for window in (*self.covered, *self.partial)]
        if self.schedule is not None:
            ends.append(self.schedule.due(self.now))
        return max(ends, default=None)

    @property
    def due(self) -> datetime:
        """Up to when windows are to be exported by now: what the schedule should have planned; without one, the present."""
        return min(self.schedule.due(self.now), self.now) if self.schedule is not None else self.now

    @property
    def step(self) -> timedelta | None:
        """How long an interval of the schedule is; `None` where there is no schedule."""
        return self.schedule.interval.end - self.schedule.interval.start if self.schedule else None

    def gaps(self) -> list[Window]:
        """The time that is owed since streaming began: each longest stretch without a whole window, oldest first."""
        until = self.until
        if self.since is None or until is None or until <= self.since:
            return []
        return list(without(Window(self.since, until), self.covered))

    def to_export(
        self, interval: Window, asked_by: AskedBy, known: Sequence[KnownWindow], *, carrier: str | None = None,
        most_gaps: int,
    ) -> list[WindowToExport]:  # fmt: skip
        """The windows that a run plans, oldest first. `known` are the windows that overlap its interval, and those it made.

        A scheduled run takes the `most_gaps` oldest windows of the gaps before its interval, and what is not covered of the
        interval itself. It exports a window again only if it made that window itself: its planning is tried again, or it was
        cleared. A request exports every window that overlaps its interval, whole, and makes one window of each stretch in
        between.
        """
        fresh = [WindowToExport(span, Purpose.NEW) for span in without(interval, [item.window for item in known])]
        if asked_by is AskedBy.REQUEST:
            again = [WindowToExport(item.window, Purpose.AGAIN) for item in known if _overlap(item.window, interval)]
            return sorted(again + fresh, key=_by_window)
        ours = [
            WindowToExport(item.window, Purpose.AGAIN, by_its_time=item.window.end <= interval.start)
            for item in known
            if item.whole and _made_by(item, interval, carrier)
        ]
        rest = [
            WindowToExport(item.window, Purpose.REST, by_its_time=True)
            for item in known
            if not item.whole and _overlap(item.window, interval)
        ]
        before = islice(self._before(interval, {item.window for item in rest}), max(most_gaps, 0))
        return sorted([*before, *ours, *rest, *fresh], key=_by_window)

    def _before(self, interval: Window, taken: set[Window]) -> Iterator[WindowToExport]:
        """What is to be exported of the time before an interval, oldest first."""
        if self.since is None or self.since >= interval.start:
            return
        span = Window(self.since, interval.start)
        stretches = [(stretch, Purpose.NEW) for stretch in without(span, [*self.covered, *self.partial])]
        begun = [(item, Purpose.REST) for item in self.partial if _overlap(item, span) and item not in taken]
        for found, purpose in sorted(stretches + begun):
            pieces = cut(found, interval) if purpose is Purpose.NEW else [found]
            yield from (WindowToExport(piece, purpose, by_its_time=True) for piece in pieces)


def cut(span: Window, interval: Window) -> Iterator[Window]:
    """Cut a span where the grid of an interval cuts it: steps as long as the interval, aligned to it.

    A span no longer than a step stays whole. The pieces come one by one: a span may be long.
    """
    step = interval.end - interval.start
    start = span.start
    if span.end - span.start <= step:
        yield span
        return
    while start < span.end:
        end = min(interval.start + ((start - interval.start) // step + 1) * step, span.end)
        yield Window(start, end)
        start = end


def without(span: Window, windows: Iterable[Window]) -> Iterator[Window]:
    """The stretches of a span that none of some windows covers, oldest first."""
    start = span.start
    for window in sorted(windows):
        if window.start >= span.end:
            break
        if window.start > start:
            yield Window(start, window.start)
        start = max(start, window.end)
    if start < span.end:
        yield Window(start, span.end)


def _overlap(one: Window, other: Window) -> bool:
    return one.start < other.end and other.start < one.end


def _made_by(item: KnownWindow, interval: Window, carrier: str | None) -> bool:
    """Whether the scheduled run that plans is the one that made this window."""
    if item.asked_by is not AskedBy.SCHEDULE:
        return False
    # of windows made before carriers were noted, the run knows its own by its interval
    return is_carrier(item.carrier, carrier) if item.carrier is not None else item.window == interval


def _by_window(item: WindowToExport) -> Window:
    return item.window
