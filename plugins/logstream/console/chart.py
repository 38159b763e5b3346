"""Windows over time as the pages draw them: few enough slots for a narrow screen, each with its time, and the worst in it.

Pure rules; `static/charts.js` draws what they say, and a table tells the same in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import Any

from logstream.ledger.timeline import Moment
from logstream.window import Window

SLOTS = 96
"""Windows and gaps that are drawn one by one; of more, each slot holds those of a stretch of time."""

STRETCHES = tuple(
    timedelta(minutes=minutes)
    for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10_080, 20_160, 40_320)
)
"""How long a slot may be where it holds several windows."""

BACKFILLED = timedelta(days=1)
"""A window that was complete so long after its end was exported again on purpose, or after an outage: its lag is no longer
one that a line can show beside the others."""

LAG_TOP = 10
"""The line of lag ends at so many times the usual lag, so that one slow window does not flatten the others."""

LEAST_TOP = timedelta(seconds=30)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Shade(StrEnum):
    """What a slot says, the worst first."""

    LOST = "lost"
    GAP = "gap"
    OWED = "owed"
    RUNNING = "running"
    DELIVERED = "delivered"

    @property
    def meaning(self) -> str:
        """What it says, after a number."""
        return _MEANINGS[self]


_MEANINGS = {
    Shade.LOST: "with lost events",
    Shade.GAP: "not exported yet",
    Shade.OWED: "owed",
    Shade.RUNNING: "under way",
    Shade.DELIVERED: "delivered whole",
}


@dataclass(slots=True)
class Slot:
    """A stretch of time: its windows, what they carried, and what is missing. `lag` is the longest of its windows."""

    span: Window
    windows: int = 0
    events: int = 0
    lag: timedelta | None = None
    open: int = 0
    owed: int = 0
    lost: int = 0
    gaps: int = 0

    @property
    def shade(self) -> Shade:
        """The worst that is true of it."""
        for shade, count in ((Shade.LOST, self.lost), (Shade.GAP, self.gaps), (Shade.OWED, self.owed)):
            if count:
                return shade
        return Shade.RUNNING if self.open else Shade.DELIVERED

    def with_next(self, slot: Slot) -> Slot:
        """This one and the next as one."""
        sums = {name: getattr(self, name) + getattr(slot, name) for name in _COUNTS}
        return Slot(Window(self.span.start, slot.span.end), lag=_longest(self.lag, slot.lag), **sums)

    def add(self, moment: Moment) -> None:
        """Take a window in."""
        self.windows += 1
        self.events += moment.events
        self.open += moment.open
        self.owed += moment.owed
        self.lost += moment.lost
        self.lag = _longest(self.lag, moment.lag)


_COUNTS = ("windows", "events", "open", "owed", "lost", "gaps")


def _longest(*lags: timedelta | None) -> timedelta | None:
    return max((lag for lag in lags if lag is not None), default=None)


@dataclass(frozen=True, slots=True)
class Chart:
    """Slots, oldest first, and where the axis of lag ends."""

    slots: list[Slot] = field(default_factory=list)
    lag_top: timedelta = LEAST_TOP

    @property
    def capped(self) -> int:
        """Slots whose lag is longer than the axis; the line touches its top there."""
        return sum(slot.lag is not None and slot.lag > self.lag_top for slot in self.slots)

    @property
    def events(self) -> int:
        """How many events all of them carried."""
        return sum(slot.events for slot in self.slots)

    @property
    def span(self) -> Window:
        """From the first to the last."""
        return Window(self.slots[0].span.start, max(slot.span.end for slot in self.slots))

    def count(self, shade: str) -> int:
        """How many slots say this."""
        return sum(slot.shade == shade for slot in self.slots)

    def worse(self) -> list[Slot]:
        """Where something is missing, newest first: neighbours that miss the same kind of thing as one."""
        found: list[Slot] = []
        for slot in self.slots:
            if slot.shade in (Shade.DELIVERED, Shade.RUNNING):
                continue
            last = found[-1] if found else None
            if last and last.shade is slot.shade and last.span.end == slot.span.start:
                found[-1] = last.with_next(slot)
            else:
                found.append(slot)
        return found[::-1]

    def as_json(self) -> dict[str, Any]:
        """Plain data for the script that draws it: times in seconds since 1970, lag in seconds up to the top of its axis."""
        top = self.lag_top.total_seconds()
        return {
            "start": [slot.span.start.timestamp() for slot in self.slots],
            "end": [slot.span.end.timestamp() for slot in self.slots],
            "events": [slot.events if slot.windows else None for slot in self.slots],
            "lag": [None if slot.lag is None else min(max(slot.lag.total_seconds(), 0.0), top) for slot in self.slots],
            "shade": [slot.shade for slot in self.slots],
            "top": top,
        }


def chart_of(moments: Sequence[Moment], gaps: Iterable[Window] = ()) -> Chart:
    """Lay out windows in order of time, with the gaps among them and after them."""
    shown = [gap for gap in gaps if not moments or gap.end > moments[0].start]
    if not moments and not shown:
        return Chart()
    slots = _one_by_one(moments, shown) if len(moments) + len(shown) <= SLOTS else _stretches(moments, shown)
    lags = [slot.lag for slot in slots if slot.lag is not None and slot.lag < BACKFILLED]
    top = LEAST_TOP
    if lags:
        usual = timedelta(seconds=median(lag.total_seconds() for lag in lags))
        top = max(LEAST_TOP, min(max(lags), LAG_TOP * usual))
    return Chart(slots, top)


def _one_by_one(moments: Sequence[Moment], gaps: Iterable[Window]) -> list[Slot]:
    slots = [Slot(gap, gaps=1) for gap in gaps]
    for moment in moments:
        slot = Slot(moment.window)
        slot.add(moment)
        slots.append(slot)
    return sorted(slots, key=lambda slot: slot.span)


def _stretches(moments: Sequence[Moment], gaps: Sequence[Window]) -> list[Slot]:
    spans = [*(moment.window for moment in moments), *gaps]
    start, end = min(span.start for span in spans), max(span.end for span in spans)
    # one slot more than whole stretches fit, for both ends are cut
    length = next((step for step in STRETCHES if (end - start) <= (SLOTS - 1) * step), end - start)
    slots: dict[int, Slot] = {}

    def slot(number: int) -> Slot:
        begin = _EPOCH + number * length
        return slots.setdefault(number, Slot(Window(begin, begin + length)))

    for moment in moments:
        slot((moment.start - _EPOCH) // length).add(moment)
    for gap in gaps:
        last = -((_EPOCH - gap.end) // length)
        for number in range((gap.start - _EPOCH) // length, last):
            slot(number).gaps += 1
    return [slots[number] for number in sorted(slots)]
