"""How commands print: tables, steps, and text that may be hostile."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TextIO

from logstream.steps import Step

LONGEST_CELL = 120
"""Characters of a table's cell: names and reasons are other people's."""


def print_steps(steps: Iterable[Step], out: TextIO) -> int:
    fine = True
    for step in steps:
        print(f"{step.mark} {step}", file=out, flush=True)
        fine = fine and step.ok
    return 0 if fine else 1


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO, *, whole: bool = False
) -> None:  # fmt: skip
    """Print a table that does not break on hostile names. Long cells are cut, unless all is our own and to be `whole`."""
    clean = [[_printable(cell, LONGEST_CELL if not whole else None) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(head, *clean, strict=True)]
    for row in (list(head), *clean):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip(), file=out)


def _printable(text: str, most: int | None) -> str:
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return textwrap.shorten(shown, most, placeholder="...") if most is not None and len(shown) > most else shown
