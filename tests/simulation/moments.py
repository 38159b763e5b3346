"""A world's minutes, and the moments that they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from logstream.window import Window
from tests.simulation.script import Span

START = datetime(2026, 3, 1, tzinfo=UTC)
"""When each world begins."""


def moment_of(minute: int) -> datetime:
    """The moment of a minute."""
    return START + timedelta(minutes=minute)


def window_of(span: Span) -> Window:
    """A span as the product has it."""
    return Window(moment_of(span.start), moment_of(span.end))


def span_of(start: datetime, end: datetime) -> Span:
    """And back."""
    minutes = [(moment - START) / timedelta(minutes=1) for moment in (start, end)]
    return Span(int(minutes[0]), int(minutes[1]))
