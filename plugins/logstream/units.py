"""Quantities as people read them."""

from __future__ import annotations

from datetime import timedelta


def size(count: int) -> str:
    """Bytes, in a unit that suits them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number of things: `1 window`, `1,024 windows`; `many` where it is not `one` with an s: `1 gap is`, `2 gaps are`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def span(value: timedelta | float | None) -> str:
    """A duration in a unit that suits it."""
    if value is None:
        return "-"
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
