"""Work in several processes at once: one thread of Python renders, or seals, for one core, and a large window is worth more.

An Airflow run has mapped tasks for that; the command line, which is one process, makes its own. Each does a part of its own
with connections of its own, exactly as a task does, and says what became of it.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from enum import Enum
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from logstream.errors import DeliveryError, LogstreamError
from logstream.export.shares import Share

if TYPE_CHECKING:
    from logstream.export.deployment import Deployment

T = TypeVar("T")

Part = Callable[["Deployment", Callable[[T], None]], object]
"""What one process does: with a deployment, and what to call with each thing that it has done."""

PROCESS_BYTES = 16 * 1024 * 1024
"""A process of its own pays from about this many bytes on: making it, and its connections, take some 100 ms."""

LANE_BYTES = 32 * 1024
"""A lane takes as long as so many bytes, however few it has."""


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worth_processes(shares: Sequence[Share]) -> bool:
    """Whether shares are large enough for a process each."""
    size = sum(share.bytes + LANE_BYTES * len(share.lanes) for share in shares)
    return len(shares) > 1 and size >= PROCESS_BYTES * len(shares)


def may_fork() -> bool:
    """Whether this process has but one thread. Others are not copied, and what they hold is held for ever in the copy.

    The clients of object stores have threads that Python does not know of, as long as the process lives: a copy that puts
    objects would wait for them for ever. So the system is asked; where it does not tell, no one forks.
    """
    try:
        return len(list(Path("/proc/self/task").iterdir())) == 1
    except OSError:
        return False


class NoProcessError(DeliveryError):
    """The system has no room for another process: who asked does its work itself."""


class _Ended(Enum):
    """The last thing that a process says that has ended its part."""

    PART = 1


class Processes(Generic[T]):
    """Processes that do a part each, begun when this is made: before the caller has threads (`may_fork`).

    Raises `NoProcessError` where not all can be begun; then none is running.
    """

    def __init__(self, make: Callable[[], Deployment], parts: Sequence[Part[T]]) -> None:
        context = multiprocessing.get_context("fork")
        self._running: dict[Connection, BaseProcess] = {}
        try:
            for part in parts:
                ours, theirs = context.Pipe(duplex=False)
                with theirs:
                    process = context.Process(target=_work, args=(make, part, theirs), daemon=True)
                    process.start()
                self._running[ours] = process
        except OSError as error:
            self._stop()
            raise NoProcessError(f"a process could not be made: {error}") from error

    def results(self, progress: Callable[[T], None] | None = None) -> list[T]:
        """Wait for all; return what they said, which `progress` is called with as it comes.

        Raises `DeliveryError` if a process ended without having ended its part. What it did is in the ledger.
        """
        results: list[T] = []
        broken: list[DeliveryError] = []
        try:
            while self._running:
                for connection in wait(list(self._running)):
                    assert isinstance(connection, Connection)  # noqa: S101 - that is what was put in
                    try:
                        said = connection.recv()
                    except (EOFError, OSError):  # the second: it ended in the middle of what it said
                        broken.append(_end(self._running.pop(connection)))
                        continue
                    if said is _Ended.PART:
                        self._running.pop(connection).join()
                        continue
                    if isinstance(said, DeliveryError):  # the others go on, as tasks would
                        self._running.pop(connection).join()
                        broken.append(said)
                        continue
                    results.append(said)
                    if progress:
                        progress(said)
        finally:
            self._stop()
        if broken:
            raise broken[0]
        return results

    def _stop(self) -> None:
        for process in self._running.values():
            process.terminate()
            process.join()


def _end(process: BaseProcess) -> DeliveryError:
    process.join()
    code = process.exitcode or 0
    try:
        why = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:  # a signal without a name
        why = f"signal {-code}"
    return DeliveryError(
        f"a process of this command was ended by {why}; what it did is in the ledger, the same command goes on from there"
    )


def _work(make: Callable[[], Deployment], part: Part[T], connection: Connection) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, name="logstream parent", daemon=True).start()
    gc.freeze()  # what was there before is no garbage of ours, and looking through it would copy it
    try:
        with make() as deployment:
            part(deployment, connection.send)
        connection.send(_Ended.PART)
    except KeyboardInterrupt:
        os._exit(130)
    except LogstreamError as error:
        connection.send(DeliveryError(str(error)))
    connection.close()


def _end_with_parent() -> None:
    """End when the command does that this process is of, however that ended: no one hears or stops it then."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
