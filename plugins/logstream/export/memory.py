"""A budget of memory that pipelines share: how many run at once follows from how much each holds."""

from __future__ import annotations

import asyncio
import ctypes
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from logstream.export.pipeline import CHUNK_BYTES

CHUNKS = 4
"""Chunks a pipeline holds at once: being read, being rendered with its messages, waiting."""

MOST_AT_ONCE = 64
LEAST_BYTES = 64 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # from glibc's malloc.h


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, up to 128 MB, instead of giving it back to the system chunk by chunk.

    A pipeline frees and takes megabytes many times a second; the page faults of that cost a quarter of its time. Does
    nothing where the C library is another.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_M_TRIM_THRESHOLD, 128 * 1024 * 1024)
        library.mallopt(_M_MMAP_THRESHOLD, 64 * 1024 * 1024)
        library.mallopt(_M_ARENA_MAX, 1)  # threads' own arenas give back all the same
    except (OSError, AttributeError):
        return


class MemoryBudget:
    """Lets pipelines begin, in the order they came, while the budget has room. Not for several event loops."""

    def __init__(self, size: int, most: int = MOST_AT_ONCE) -> None:
        self._free, self._places = size, most
        self._whole = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._first_turns = 0

    @asynccontextmanager
    async def share(
        self, expected: int, *, held: int = 0, first_turn: bool = True
    ) -> AsyncIterator[Callable[[], None]]:
        """Hold what a pipeline over `expected` bytes of events needs: a few chunks, or all of it if that is less.

        `held` is what is held beside that until the end: what is given is called when no more chunks are to come. `first_turn` is
        false for one that has given way before.
        """
        need = min(self._whole, held + CHUNKS * min(CHUNK_BYTES, max(expected, LEAST_BYTES)))
        if self._waiting or need > self._free or not self._places:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((need, turn))
            self._first_turns += first_turn
            try:
                await turn
            finally:
                self._first_turns -= first_turn
        else:
            self._take(need)

        def no_more_chunks() -> None:
            nonlocal need
            freed, need = need - min(need, held), min(need, held)
            self._give_back(freed)

        try:
            yield no_more_chunks
        finally:
            self._places += 1
            self._give_back(need)

    def _give_back(self, size: int) -> None:
        self._free += size
        while self._waiting and self._waiting[0][0] <= self._free and self._places:
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._take(size)
                turn.set_result(None)

    @property
    def is_wanted(self) -> bool:
        """Whether a pipeline waits that has had no turn yet: one that gets nowhere gives way to it."""
        return self._first_turns > 0

    def _take(self, need: int) -> None:
        self._free -= need
        self._places -= 1
