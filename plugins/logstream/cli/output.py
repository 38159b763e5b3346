"""How commands print: tables, steps, and text that may be hostile."""

from __future__ import annotations

import logging
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from logstream.steps import Step
from logstream.units import counted

if TYPE_CHECKING:
    from logstream.ledger.records import Delivery

LONGEST_CELL = 120
"""Characters of a table's cell: names and reasons are other people's."""

LONGEST_LINE = 600
"""Characters of a line that quotes a receiver."""


def print_steps(steps: Iterable[Step], out: TextIO) -> int:
    fine = True
    for step in steps:
        print(f"{step.mark} {step}", file=out, flush=True)
        fine = fine and step.ok
    return 0 if fine else 1


@contextmanager
def retries_shown() -> Iterator[None]:
    """Show on standard error which destinations are tried again: else a command is silent for as long as one is away."""
    logger, lines = logging.getLogger("logstream.retries"), _Lines()
    before = logger.level, logger.propagate
    logger.addHandler(lines)
    # shown once, and whatever Airflow's configuration says of logs
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(lines)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def note_taken_over(sealed: Iterable[Delivery]) -> None:
    """Say which deliveries had arrived, and are another run's to seal by now. Those that had not have an error that says it."""
    from logstream.export.seal import PLANNED_ANEW

    for report in sealed:
        if report.taken_over and not report.error:
            arrived = f"{counted(report.events, 'event')} of it had arrived"
            print(f"note: {report.destination}, window {report.window}: {PLANNED_ANEW}; {arrived}", file=sys.stderr)


class _Lines(logging.Handler):
    """Shows each record as a line; standard error is looked up each time: a progress bar takes its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`. A standard error that is closed, broken or full fails no delivery."""
        if sys.stderr is None:
            return
        with suppress(OSError, ValueError):
            print(f"note: {printable(record.getMessage(), LONGEST_LINE)}", file=sys.stderr, flush=True)


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO, *, whole: bool = False
) -> None:  # fmt: skip
    """Print a table that does not break on hostile names. Long cells are cut, unless all is our own and to be `whole`."""
    clean = [[printable(cell, LONGEST_CELL if not whole else None) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(head, *clean, strict=True)]
    for row in (list(head), *clean):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip(), file=out)


def printable(text: str, most: int | None = None) -> str:
    """One line of a terminal that says what it says: names are other people's, and may hold the ends of lines, or more."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return textwrap.shorten(shown, most, placeholder="...") if most is not None and len(shown) > most else shown
