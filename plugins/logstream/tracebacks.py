"""Tracebacks for the log of a task: what an exception of others says may quote a secret, and a task's log is read by many."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator

FEW = 3
"""Exceptions of a group that are told: they are mostly alike."""

MOST = 20
"""Exceptions that are told in all: groups may hold groups."""


def words_of(error: BaseException) -> str:
    """What an exception says. That of others may be broken itself, and raise where it is to say something."""
    try:
        return str(error)
    except Exception as broken:
        return f"(its words cannot be read: {type(broken).__name__})"


def traceback_of(error: BaseException, say: Callable[[str], str] | None = None) -> str:
    """Where an error came from, and what led to it: types, files and lines, the first cause first.

    Its words are left out, or are as `say` gives them (`Secrets.traceback`).
    """
    return _told(error, say, set())


def _told(error: BaseException, say: Callable[[str], str] | None, seen: set[int]) -> str:
    """The same. Each exception is told once: one of a group that is raised by itself has the group as what led to it."""

    def told(link: BaseException) -> str:
        words = f": {say(words_of(link))}" if say else ""
        told_here = "".join(traceback.format_tb(link.__traceback__)) + type(link).__name__ + words
        parts = link.exceptions[:FEW] if isinstance(link, BaseExceptionGroup) else ()
        return "\nof which one is\n".join([told_here, *filter(None, (_told(part, say, seen) for part in parts))])

    return "\nand then\n".join(map(told, reversed(list(_chain(error, seen)))))


def _chain(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    while error is not None and id(error) not in seen and len(seen) < MOST:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
