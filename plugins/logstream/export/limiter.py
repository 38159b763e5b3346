"""How many requests a receiver bears at once: additive increase, multiplicative decrease (AIMD), as TCP does it."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

START = 8
SLOW_FACTOR = 4.0
SLOW_SECONDS = 1.0
"""An answer is slow if it took this long, and `SLOW_FACTOR` times as long as usual: small receivers jitter."""


class AdaptiveLimit:
    """Lets so many through at once as the receiver bears, from a start value up to `maximum`.

    One is shared by all lanes of a destination. Each round of answers without trouble allows one more; trouble (429, 503,
    broken connections, time-outs, answers much slower than usual) halves it, once for all that were under way. Not for
    several event loops.
    """

    def __init__(self, maximum: int, start: int = START) -> None:
        self._maximum = float(maximum)
        self._limit = float(min(start, maximum))
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._usual: float | None = None
        self._since_cut = 0

    @property
    def limit(self) -> int:
        """How many are let through at once now."""
        return int(self._limit)

    async def __aenter__(self) -> None:
        if self._busy < int(self._limit) and not self._waiting:
            self._busy += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # the place was given just now
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self._busy -= 1
        while self._waiting and self._busy < int(self._limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self._busy += 1
                turn.set_result(None)

    def note(self, seconds: float, *, trouble: bool) -> None:
        """Learn from one answer: how long it took, and whether it was one that shows overload."""
        usual = self._usual if self._usual is not None else seconds
        slow = seconds > SLOW_SECONDS and seconds > SLOW_FACTOR * usual
        self._since_cut += 1
        if trouble or slow:
            if self._since_cut > self._limit:
                self._limit = max(1.0, self._limit / 2)
                self._since_cut = 0
        else:
            self._limit = min(self._maximum, self._limit + 1 / self._limit)
        self._usual = 0.9 * usual + 0.1 * seconds
