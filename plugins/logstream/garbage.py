"""Looking for garbage: rarely while a command or a task works on very many things, not at all while much is built that stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType

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


class CollectionWaits:
    """No collection of cycles, in any thread, until the last `with` block that asks for that has ended. For a second or two.

    The collector looks through all that was built again for each share of new objects: of the time in which ten thousand
    workspaces are read from YAML that took two thirds. What is in no cycle is freed at once all the same.
    """

    def __init__(self) -> None:
        self._lock, self._waits, self._was_enabled = Lock(), 0, True

    def __enter__(self) -> None:
        with self._lock:
            if not self._waits:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._waits += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._waits -= 1
            if not self._waits and self._was_enabled:
                gc.enable()


collection_waits = CollectionWaits()
"""The one of this process: `with collection_waits:`."""
