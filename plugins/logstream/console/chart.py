"""The timeline: bars of volume, a line of lag, bands of time not exported. Plain numbers for an SVG, no script or style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from logstream.ledger.overview import Moment
from logstream.units import counted
from logstream.window import Window

BACKFILLED_SECONDS = 86_400
"""A window that was complete so long after its end was exported late on purpose: no lag to be drawn."""

BANDS = 48
"""Gaps that are drawn, the newest."""

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
class Band:
    """A gap: where its band stands, as high as the chart, and what it says."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart's geometry, in the units of its view box. `lag` are the points of a line."""

    bars: list[Bar]
    bands: list[Band]
    lag: str
    top_events: int
    top_lag: float
    first: str
    last: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    base: int = HEIGHT - BOTTOM


def timeline_chart(moments: Sequence[Moment], gaps: Sequence[Window] = ()) -> Chart | None:
    """Lay out windows side by side, oldest first, with gaps among them where their time is; `None` without any window.

    A window and a gap have a place of the same width, however long they are: the gaps of the time that the windows span, and
    later ones, the newest `BANDS` of them.
    """
    if not moments:
        return None
    shown = [gap for gap in gaps if gap.end > moments[0].start][-BANDS:]
    places = {
        start: number for number, start in enumerate(sorted({*(m.start for m in moments), *(g.start for g in shown)}))
    }
    inner, base = WIDTH - 2 * LEFT, HEIGHT - BOTTOM
    step = inner / len(places)
    width = round(max(step - 1, 0.5), 2)
    most = max([1, *(moment.events for moment in moments)])
    lags = [moment.lag.total_seconds() if moment.lag else 0.0 for moment in moments]
    slowest = max([1.0, *(lag for lag in lags if lag < BACKFILLED_SECONDS)])
    bars, points = [], []
    for moment, lag in zip(moments, lags, strict=True):
        height = (base - TOP) * moment.events / most
        x = LEFT + places[moment.start] * step
        label = f"{moment.start:%Y-%m-%d %H:%M} UTC: {counted(moment.events, 'event')}"
        if moment.lag is not None:
            label += f", complete {lag:,.0f} s after the window's end"
        if moment.lag is not None and lag < BACKFILLED_SECONDS:
            points.append(f"{x + step / 2:.1f},{base - (base - TOP) * max(lag, 0.0) / slowest:.1f}")
        if moment.open:
            label += f"; {counted(moment.open, 'delivery is', 'deliveries are')} not complete"
        bars.append(Bar(round(x, 2), round(base - height, 2), width, round(height, 2), label, moment.open > 0))
    bands = [
        Band(
            round(LEFT + places[gap.start] * step, 2), TOP, width, base - TOP,
            f"not exported yet: {gap.start:%Y-%m-%d %H:%M:%S} to {gap.end:%Y-%m-%d %H:%M:%S} UTC",
        )
        for gap in shown
    ]  # fmt: skip
    first, last = min(places), max(places)
    return Chart(bars, bands, " ".join(points), most, slowest, f"{first:%Y-%m-%d %H:%M}", f"{last:%Y-%m-%d %H:%M}")
