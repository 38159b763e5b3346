"""Rendered messages, many at a time. The usual message wraps the whole event in constant text: it is put together late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload


class Messages(Sequence[bytes]):
    """Messages that are `before + inner + behind`. Each is made only when it is asked for alone; `lines` makes none."""

    __slots__ = ("before", "behind", "inner")

    def __init__(self, inner: list[bytes], before: bytes = b"", behind: bytes = b"") -> None:
        self.inner, self.before, self.behind = inner, before, behind

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Iterator[bytes]:
        if not self.before and not self.behind:
            return iter(self.inner)
        return (self.before + inner + self.behind for inner in self.inner)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Messages: ...

    def __getitem__(self, index: int | slice) -> bytes | Messages:
        if isinstance(index, slice):
            return Messages(self.inner[index], self.before, self.behind)
        return self.before + self.inner[index] + self.behind

    @property
    def sizes(self) -> list[int]:
        """The length of each in bytes."""
        wrapping = len(self.before) + len(self.behind)
        return [len(inner) + wrapping for inner in self.inner] if wrapping else list(map(len, self.inner))

    def lines(self) -> bytes:
        """All of them, a line each: one copy of every byte."""
        if not self.inner:
            return b""
        between = self.behind + b"\n" + self.before
        return b"".join((self.before, between.join(self.inner), self.behind, b"\n"))
