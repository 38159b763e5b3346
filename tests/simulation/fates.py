"""Fates: at a moment that the script names, an attempt is killed, falls asleep and wakes up as a zombie, or loses its database.

A moment is counted: each turn of the attempt's event loop and each statement of its own thread is one. A killed attempt does
nothing more, not even what stands in its `finally` blocks: its loop never turns again. A sleeping one stops where it is, with
all that it believes, until the world wakes it. Of a `taken` one what receivers have taken from it is counted instead: the moment
after that is its last.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Engine, event

T = TypeVar("T")

GRAVEYARD: list[Any] = []
"""The tasks of killed loops: Python must not close their coroutines, which would run their `finally` blocks."""


class Killed(BaseException):
    """The attempt ended here, as if by `kill -9`."""


class Fate:
    """What happens to one attempt: nothing, or at moment (or request) `at` it is killed, put to sleep, or `cut` is called."""

    def __init__(self, at: int | None = None, what: str = "kill", cut: Callable[[], None] | None = None) -> None:
        self._at, self.what, self._cut = at, what, cut
        self.moments = self.requests = 0
        self.dead = False
        self.asleep = threading.Event()
        self._wake = threading.Event()

    @property
    def zombie(self) -> bool:
        """Whether it is one that sleeps and wakes."""
        return self.what == "sleep"

    def moment(self) -> None:
        """One moment passes. Raises `Killed` if it was the last."""
        self.moments += 1
        if self.dead:
            raise Killed
        if self.what == "taken" or self.moments != self._at:
            return
        if self.zombie:
            self.asleep.set()
            self._wake.wait()
        elif self._cut is not None:
            self._cut()
        else:
            self.dead = True
            raise Killed

    def taken(self) -> None:
        """A receiver has taken what the attempt has sent."""
        self.requests += 1
        if self.what == "taken" and self.requests == self._at:
            self.dead = True

    def wake(self) -> None:
        """Let the zombie go on."""
        self._wake.set()


_local = threading.local()


class FatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose turns are moments of its thread's fate."""

    def _run_once(self) -> None:
        fate: Fate | None = getattr(_local, "fate", None)
        if fate is not None:
            try:
                fate.moment()
            except Killed:
                bury(self)
                raise
        super()._run_once()  # type: ignore[misc]

    def run_until_complete(self, future: Any) -> Any:
        """A dead loop runs nothing, not even its own tidying up."""
        fate: Fate | None = getattr(_local, "fate", None)
        if fate is not None and fate.dead:
            with suppress(AttributeError):
                future.close()
            raise Killed
        return super().run_until_complete(future)


def bury(loop: asyncio.AbstractEventLoop) -> None:
    """Keep the tasks of a loop that is dead, silently and for ever."""
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        GRAVEYARD.append((loop, task))


class FatedLoops(asyncio.DefaultEventLoopPolicy):
    """Gives every thread loops that know of its fate."""

    _loop_factory = FatedLoop


def watch(engine: Engine) -> None:
    """Make each statement and each commit of an engine a moment of the thread that makes it."""

    def moment(*_: object) -> None:
        fate: Fate | None = getattr(_local, "fate", None)
        if fate is not None:
            fate.moment()

    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(engine, name, moment)


class Attempt(threading.Thread):
    """Something done by a worker of its own, under a fate."""

    def __init__(self, call: Callable[[], T], fate: Fate) -> None:
        super().__init__(daemon=True)
        self._call, self.fate = call, fate
        self.result: T | None = None
        self.error: BaseException | None = None
        self.ends = threading.Event()
        self.start()

    def run(self) -> None:
        """Do it."""
        _local.fate = self.fate
        try:
            self.result = self._call()
        except BaseException as error:
            self.error = error
        finally:
            self.ends.set()
            self.fate.asleep.set()  # there is nothing more to wait for

    @property
    def is_sleeping(self) -> bool:
        """Whether it sleeps, and has not ended."""
        return self.fate.zombie and not self.ends.is_set()

    @property
    def killed(self) -> bool:
        """Whether it was ended by its fate."""
        return self.fate.dead
