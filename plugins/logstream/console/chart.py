"""The timeline: bars of volume, a line of lag. Plain numbers for an SVG: no script, no style of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from logstream.ledger.overview import Moment

BACKFILLED_SECONDS = 86_400
"""A window that was complete so long after its end was exported late on purpose: no lag to be drawn."""

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 960, 180, 56, 22, 12


@dataclass(frozen=True, slots=True)
class Bar:
    """One window: where its bar stands, and what it says."""

    x: float
    y: float
    width: float
    height: float
    label: str
    open: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart's geometry, in the units of its view box. `lag` are the points of a line."""

    bars: list[Bar]
    lag: str
    top_events: int
    top_lag: float
    first: str
    last: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    base: int = HEIGHT - BOTTOM


def timeline_chart(moments: Sequence[Moment]) -> Chart | None:
    """Lay out windows side by side, oldest first; `None` without any."""
    if not moments:
        return None
    inner, base = WIDTH - 2 * LEFT, HEIGHT - BOTTOM
    step = inner / len(moments)
    most = max([1, *(moment.events for moment in moments)])
    lags = [moment.lag.total_seconds() if moment.lag else 0.0 for moment in moments]
    slowest = max([1.0, *(lag for lag in lags if lag < BACKFILLED_SECONDS)])
    bars, points = [], []
    for index, (moment, lag) in enumerate(zip(moments, lags, strict=True)):
        height = (base - TOP) * moment.events / most
        x = LEFT + index * step
        label = f"{moment.start:%Y-%m-%d %H:%M} UTC: {moment.events:,} events"
        if moment.lag is not None:
            label += f", complete {lag:,.0f} s after the window's end"
        if moment.lag is not None and lag < BACKFILLED_SECONDS:
            points.append(f"{x + step / 2:.1f},{base - (base - TOP) * max(lag, 0.0) / slowest:.1f}")
        if moment.open:
            label += f"; {moment.open} deliveries are not complete"
        width = round(max(step - 1, 0.5), 2)
        bars.append(Bar(round(x, 2), round(base - height, 2), width, round(height, 2), label, moment.open > 0))
    first, last = moments[0].start, moments[-1].start
    return Chart(bars, " ".join(points), most, slowest, f"{first:%Y-%m-%d %H:%M}", f"{last:%Y-%m-%d %H:%M}")
