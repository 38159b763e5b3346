"""Tracebacks for the log of a task: what an exception of others says may quote a secret, and a task's log is read by many."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator

FEW = 3
"""Exceptions of a group that are told: they are mostly alike."""


def traceback_of(error: BaseException, say: Callable[[str], str] | None = None) -> str:
    """Where an error came from, and what led to it: types, files and lines, the first cause first.

    Its words are left out, or are as `say` gives them (`Secrets.traceback`).
    """

    def told(link: BaseException) -> str:
        words = f": {say(str(link))}" if say else ""
        told_here = "".join(traceback.format_tb(link.__traceback__)) + type(link).__name__ + words
        parts = link.exceptions[:FEW] if isinstance(link, BaseExceptionGroup) else ()
        return "\nof which one is\n".join([told_here, *(traceback_of(part, say) for part in parts)])

    return "\nand then\n".join(map(told, reversed(list(_chain(error)))))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
