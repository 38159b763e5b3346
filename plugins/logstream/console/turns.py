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

MOST_WAITING = 100
"""So many requests of one user wait; more are refused at once."""

PATIENCE = 20.0
"""Seconds that a request waits for its turn, before it is refused."""


class Turns:
    """Who is being worked for, in one process. For use in one event loop at a time."""

    def __init__(
        self, of_a_user: int = MOST_OF_A_USER, at_once: int = MOST_AT_ONCE, patience: float = PATIENCE
    ) -> None:
        self._of_a_user, self._at_once, self._patience = of_a_user, at_once, patience
        self._busy: Counter[str] = Counter()
        # in the order in which they came; one that waits costs nothing until it is woken
        self._waiting: dict[asyncio.Future[None], str] = {}

    @asynccontextmanager
    async def turn(self, user: str) -> AsyncIterator[None]:
        """Hold a turn of a user. Raises 429 where there is none in time."""
        await self._take(user)
        try:
            yield
        finally:
            self._give_back(user)

    async def _take(self, user: str) -> None:
        if self._has_room(user):
            self._busy[user] += 1
            return
        if list(self._waiting.values()).count(user) >= MOST_WAITING:
            raise _refusal()
        woken = asyncio.get_running_loop().create_future()
        self._waiting[woken] = user
        try:
            async with asyncio.timeout(self._patience):
                await woken
        except BaseException as error:
            if woken.done() and not woken.cancelled():  # it was given a turn at the moment at which it gave up
                self._give_back(user)
            if isinstance(error, TimeoutError):
                raise _refusal() from None
            raise
        finally:
            self._waiting.pop(woken, None)

    def _has_room(self, user: str) -> bool:
        return self._busy[user] < self._of_a_user and self._busy.total() < self._at_once

    def _give_back(self, user: str) -> None:
        self._busy[user] -= 1
        self._busy += Counter()  # without those who have none
        for woken, waits in self._waiting.items():
            if not woken.done() and self._has_room(waits):
                self._busy[waits] += 1
                woken.set_result(None)
                return


def _refusal() -> HTTPException:
    return HTTPException(
        429, "Too much is being worked on at once; wait until it is done, and repeat.", {"Retry-After": "10"}
    )
