"""Turns: of what makes the server work, each user has a little at a time, so that no user takes it from the others.

Airflow's api-server answers its own pages by the same threads.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import HTTPException

MOST_OF_A_USER = 2
"""So many requests of one user are worked on at once; more wait for their turn."""

MOST_AT_ONCE = 8
"""So many of all users: a fifth of the api-server's threads."""

PATIENCE = 20.0
"""Seconds that a request waits for its turn, before it is refused."""

_PAUSE = 0.02


class Turns:
    """Who is being worked for, in one process. For use in one event loop at a time."""

    def __init__(
        self, of_a_user: int = MOST_OF_A_USER, at_once: int = MOST_AT_ONCE, patience: float = PATIENCE
    ) -> None:
        self._of_a_user, self._at_once, self._patience = of_a_user, at_once, patience
        self._busy: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, user: str) -> AsyncIterator[None]:
        """Hold a turn of a user. Raises 429 where there is none in time."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience
        while self._busy[user] >= self._of_a_user or self._busy.total() >= self._at_once:
            if clock() >= deadline:
                raise HTTPException(
                    429,
                    "Too much is being worked on at once; wait until it is done, and repeat.",
                    {"Retry-After": "10"},
                )
            await asyncio.sleep(_PAUSE)
        self._busy[user] += 1
        try:
            yield
        finally:
            self._busy[user] -= 1
            if not self._busy[user]:
                del self._busy[user]
