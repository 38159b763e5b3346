"""Python's collector of cyclic garbage, told to wait while much is built at once that all stays."""

from __future__ import annotations

import gc
from threading import Lock
from types import TracebackType


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
