"""Quantities as people read them."""

from __future__ import annotations


def size(count: int) -> str:
    """Bytes, in a unit that suits them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
