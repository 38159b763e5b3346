"""Exporting a window: the engine that the DAG, backfills and the command line share.

plan -> deliver -> seal, each on its own, so that an operator can do each in a task of its own. Each verb is a module; this is
all of them over one deployment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial

from logstream.errors import LogstreamError
from logstream.export.deliver import LaneResult, Progress, deliver
from logstream.export.deployment import Deployment
from logstream.export.intervals import Asked
from logstream.export.plan import Planned, Planner
from logstream.export.processes import NoProcessError, Processes, may_fork, worth_processes
from logstream.export.redeliver import Redelivery, redeliver_owed, redeliver_rejected
from logstream.export.removed import with_removals, write_off
from logstream.export.seal import Sealing, seal
from logstream.export.shares import MAX_TASKS, Share
from logstream.export.wait import wait_until_closed
from logstream.ledger.coverage import AskedBy
from logstream.ledger.health import Owed
from logstream.ledger.write_offs import WrittenOff
from logstream.settings.repository import Snapshot
from logstream.settings.resolution import Route, resolve
from logstream.store.closing import Writer
from logstream.window import Window

log = logging.getLogger("logstream")

Wait = Callable[[Progress | None], list[LaneResult]]
"""Waits for what was begun, calling back for each lane."""


class Exporter(Deployment):
    """Exports windows of one log store with the settings and ledger of one control database."""

    def wait_until_closed(
        self, window: Window, *, timeout: float, remind: Callable[[Sequence[Writer]], None] | None = None
    ) -> None:
        """See `export.wait`."""
        wait_until_closed(self, window, timeout=timeout, remind=remind)

    def routes(self, snapshot: Snapshot | None = None) -> list[Route]:
        """The route of every workspace of the log store."""
        snapshot = snapshot or self.settings.current()
        return resolve(snapshot.settings, self.store(snapshot).workspaces())

    def plan(
        self, interval: Window, *, snapshot: Snapshot | None = None, only: Collection[str] | None = None,
        max_tasks: int = MAX_TASKS, heal: bool = False, asked_by: AskedBy = AskedBy.REQUEST, carrier: str | None = None,
        group_of: Callable[[str], str] = lambda _: "",
    ) -> Planned:  # fmt: skip
        """See `export.plan`."""
        asked = Asked(interval, snapshot or self.settings.current(), only, asked_by, carrier)
        return Planner(self).plan(asked, max_tasks=max_tasks, heal=heal, group_of=group_of)

    def deliver(self, keys: Iterable[tuple[int, int]], progress: Progress | None = None) -> list[LaneResult]:
        """See `export.deliver`."""
        return deliver(self, keys, progress)

    def deliver_shares(self, shares: Sequence[Share]) -> Wait:
        """Begin to deliver some shares, in a process each where that pays; call what is returned to wait for them.

        To be called before the caller has threads, which no new process would have: with some, this one does it all.
        """
        if worth_processes(shares):
            # to look for the key imports Airflow: here it is done once, and not by each process, and again for sealing
            with suppress(LogstreamError):  # said when something is sealed
                _ = self.signer
            if may_fork():  # now: who keeps the key may have begun threads
                parts = [partial(_deliver_lanes, list(share.lanes)) for share in shares]
                try:
                    begun: Processes[LaneResult] = Processes(self.again, parts)
                except NoProcessError as error:
                    log.warning("Lanes are delivered in one process: %s.", error)
                else:
                    return begun.results
        return partial(self.deliver, [key for share in shares for key in share.lanes])

    def seal(self, delivery_ids: Iterable[int], *, processes: int = 1, carrier: str | None = None) -> Sealing:
        """See `export.seal`."""
        return seal(self, delivery_ids, processes=processes, carrier=carrier)

    def redeliver_owed(
        self, destination: str | None = None, window: Window | None = None, progress: Progress | None = None,
        carrier: str | None = None,
    ) -> Sealing:  # fmt: skip
        """See `export.redeliver`."""
        return redeliver_owed(self, destination, window, progress, carrier)

    def owed(self, destination: str | None = None) -> list[Owed]:
        """What destinations have not got, oldest first, with the reason why it stays so where one was removed."""
        return with_removals(self.settings, self.ledger.owed(destination))

    def write_off(self, destination: str, by: str, note: str) -> WrittenOff:
        """See `export.removed`."""
        return write_off(self, destination, by, note)

    def redeliver_rejected(
        self, destination: str | None = None, keys: Collection[tuple[int, int]] | None = None
    ) -> list[Redelivery]:
        """See `export.redeliver`."""
        return redeliver_rejected(self, destination, keys)


def _deliver_lanes(keys: Sequence[tuple[int, int]], deployment: Deployment, say: Progress) -> None:
    deliver(deployment, keys, say)
