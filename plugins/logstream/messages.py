"""Rendered messages, many at a time: a line each, one behind the other in one buffer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Messages(Sequence[bytes]):
    """Messages as `lines`. A Python object is made of one only when it is asked for; a slice copies nothing.

    Message `i` is `buffer[offsets[i] : offsets[i + 1] - 1]`, in bytes; a line feed ends it.
    """

    __slots__ = ("buffer", "offsets")

    def __init__(self, messages: Iterable[bytes] = ()) -> None:
        """Put messages into columns."""
        # numpy is imported with the first event: commands that read none start sooner
        import numpy as np

        lines = [message + b"\n" for message in messages]
        self.buffer = memoryview(b"".join(lines))
        self.offsets: npt.NDArray[np.int64] = np.zeros(len(lines) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, lines), np.int64, len(lines)), out=self.offsets[1:])

    @classmethod
    def of(cls, buffer: memoryview, offsets: npt.NDArray[np.int64]) -> Messages:
        """Messages that are lines in a buffer already."""
        made = cls.__new__(cls)
        made.buffer, made.offsets = buffer, offsets
        return made

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[bytes]:
        buffer, offsets = self.buffer, self.offsets.tolist()
        start = offsets[0]
        for stop in offsets[1:]:
            yield bytes(buffer[start : stop - 1])
            start = stop

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Messages: ...

    def __getitem__(self, index: int | slice) -> bytes | Messages:
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            return Messages.of(self.buffer, self.offsets[start : max(start, stop) + 1])
        if index < 0:
            index += len(self)
        return bytes(self.buffer[int(self.offsets[index]) : int(self.offsets[index + 1]) - 1])

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """The length of each in bytes, without its line feed."""
        return self.offsets[1:] - self.offsets[:-1] - 1

    @property
    def lines(self) -> memoryview:
        """All of them, a line each: a view of the buffer."""
        return self.buffer[int(self.offsets[0]) : int(self.offsets[-1])]
