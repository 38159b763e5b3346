"""How commands print: tables, steps, and text that may be hostile."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TextIO

from logstream.steps import Step


def print_steps(steps: Iterable[Step], out: TextIO) -> int:
    fine = True
    for step in steps:
        print(f"{step.mark} {step}", file=out, flush=True)
        fine = fine and step.ok
    return 0 if fine else 1


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO) -> None:
    """Print a table that neither breaks on hostile names nor hides what a pipe wants to read."""
    clean = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(head, *clean, strict=True)]
    for row in (list(head), *clean):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip(), file=out)


def _printable(text: str) -> str:
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return textwrap.shorten(shown, 120, placeholder="...") if len(shown) > 120 else shown
