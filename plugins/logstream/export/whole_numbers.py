"""A queue of rows of whole numbers that takes eight bytes a number: a window may have a million rows that wait."""

from __future__ import annotations

from array import array

SPARE = 8_192
"""Numbers at the front that are kept after they were taken, so that not each taking moves all that follow."""


class NumberRows:
    """Rows of `width` numbers of 64 bits each, first in first out."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._numbers = array("q")
        self._first = 0

    def __len__(self) -> int:
        return (len(self._numbers) - self._first) // self._width

    def append(self, *row: int) -> None:
        """Add a row at the end."""
        assert len(row) == self._width  # noqa: S101 - callers have one width each
        self._numbers.extend(row)

    @property
    def first(self) -> tuple[int, ...]:
        """The row that is next to be taken. Raises `IndexError` where there is none."""
        if not len(self):
            raise IndexError("there is no row")
        return tuple(self._numbers[self._first : self._first + self._width])

    def popleft(self) -> tuple[int, ...]:
        """Take the first row. Raises `IndexError` where there is none."""
        row = self.first
        self._first += self._width
        if self._first >= SPARE and self._first * 2 >= len(self._numbers):
            del self._numbers[: self._first]
            self._first = 0
        return row
