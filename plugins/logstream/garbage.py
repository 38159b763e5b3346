"""Looking for garbage: how often Python looks for cycles while a command or a task works on very many things."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

RARELY = 100_000, 50, 100
"""Python's thresholds meanwhile: new objects for a first look, and how many looks make a longer one."""

_lock = Lock()
_inside = 0
_before = gc.get_threshold()


@contextmanager
def rare_garbage_collection() -> Iterator[None]:
    """Let Python look for cycles rarely, until the last of those who have asked for it is done.

    Events, lanes and parcels are many objects and make no cycles. Each look goes through all that was imported, too: sealing
    4,000 deliveries spent more than a third of its time on that.
    """
    global _inside, _before  # noqa: PLW0603 - the thresholds are the process', and so is what is noted of them
    with _lock:
        if not _inside:
            _before = gc.get_threshold()
            gc.set_threshold(*RARELY)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                gc.set_threshold(*_before)
