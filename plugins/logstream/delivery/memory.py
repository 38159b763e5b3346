"""A budget of memory that pipelines share: how many run at once follows from how much each holds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from logstream.delivery.pipeline import CHUNK_BYTES

CHUNKS = 4
"""Chunks a pipeline holds at once: being read, being rendered with its messages, waiting."""

MOST_AT_ONCE = 64
LEAST_BYTES = 64 * 1024


class MemoryBudget:
    """Lets pipelines begin, in the order they came, while the budget has room. Not for several event loops."""

    def __init__(self, size: int, most: int = MOST_AT_ONCE) -> None:
        self._free, self._places = size, most
        self._whole = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def share(self, expected: int) -> AsyncIterator[None]:
        """Hold what a pipeline over `expected` bytes of events needs: a few chunks, or all of it if that is less."""
        need = min(self._whole, CHUNKS * min(CHUNK_BYTES, max(expected, LEAST_BYTES)))
        if self._waiting or need > self._free or not self._places:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((need, turn))
            await turn
        else:
            self._take(need)
        try:
            yield
        finally:
            self._free += need
            self._places += 1
            while self._waiting and self._waiting[0][0] <= self._free and self._places:
                size, turn = self._waiting.popleft()
                if not turn.done():
                    self._take(size)
                    turn.set_result(None)

    def _take(self, need: int) -> None:
        self._free -= need
        self._places -= 1
