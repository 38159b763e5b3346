"""Delivering in several processes at once: one thread of Python renders for one core, and a large window is worth more.

An Airflow run has mapped tasks for that; the command line, which is one process, makes its own. Each delivers lanes of its
own with connections of its own, exactly as a task does, and says what became of each lane.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from logstream.errors import DeliveryError, LogstreamError
from logstream.export.shares import Share

if TYPE_CHECKING:
    from logstream.export.deliver import LaneResult
    from logstream.export.deployment import Deployment

Keys = Sequence[tuple[int, int]]
Progress = Callable[["LaneResult"], None]

PROCESS_BYTES = 16 * 1024 * 1024
"""A process of its own pays from about this many bytes on: making it, and its connections, take some 100 ms."""


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worth_processes(shares: Sequence[Share]) -> bool:
    """Whether shares are large enough for a process each."""
    return len(shares) > 1 and sum(share.bytes for share in shares) >= PROCESS_BYTES * len(shares)


class Processes:
    """Processes that deliver, begun when this is made: before the caller has threads, which a fork does not copy."""

    def __init__(self, make: Callable[[], Deployment], groups: Sequence[Keys]) -> None:
        context = multiprocessing.get_context("fork")
        self._running: dict[Connection, BaseProcess] = {}
        for keys in groups:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_deliver, args=(make, list(keys), theirs), daemon=True)
            process.start()
            theirs.close()
            self._running[ours] = process

    def results(self, progress: Progress | None = None) -> list[LaneResult]:
        """Wait for all; return what became of each lane.

        Raises `DeliveryError` if a process ended without saying so. What it delivered is in the ledger.
        """
        results: list[LaneResult] = []
        broken: list[str] = []
        try:
            while self._running:
                for connection in wait(list(self._running)):
                    assert isinstance(connection, Connection)  # noqa: S101 - that is what was put in
                    try:
                        said = connection.recv()
                    except EOFError:
                        broken += _end(self._running.pop(connection))
                        continue
                    if isinstance(said, DeliveryError):
                        raise said
                    results.append(said)
                    if progress:
                        progress(said)
        finally:
            for process in self._running.values():
                process.terminate()
                process.join()
        if broken:
            raise DeliveryError(f"{broken[0]}; what it delivered is in the ledger, the same command goes on from there")
        return results


def _end(process: BaseProcess) -> list[str]:
    process.join()
    code = process.exitcode or 0
    if code == 0:
        return []
    why = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return [f"a delivering process was ended by {why}"]


def _deliver(make: Callable[[], Deployment], keys: Keys, connection: Connection) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        from logstream.export.deliver import deliver

        with make() as deployment:
            deliver(deployment, keys, connection.send)
    except KeyboardInterrupt:
        os._exit(130)
    except LogstreamError as error:
        connection.send(DeliveryError(str(error)))
    connection.close()
