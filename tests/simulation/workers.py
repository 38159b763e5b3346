"""A world's workers: their deployments, what befalls them, and the time that passes for them."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle
from typing import TypeVar

import psycopg

from logstream.errors import LogstreamError
from logstream.export import deliver, one_pass, pipeline, together
from logstream.export.exporter import Exporter
from logstream.export.send import RetryPolicy
from tests.simulation.fates import Attempt, Fate, Killed, watch
from tests.simulation.universe import Connections, WorldClock

T = TypeVar("T")

TOGETHER, ALONE = 1, 1_000
"""From how many deliveries on they are made together: an attempt makes all of them so, or gives each a pipeline."""

WAYS = ((TOGETHER,), (ALONE,), (TOGETHER, ALONE))
"""Of the attempts of a world, by its seed. Where they take turns, one way's announcements would hide that the other has none."""

ONE_WAY = "LOGSTREAM_WORLDS_SMALL"
"""The variable that has all worlds go one way: `together` or `alone`. Mutants of one way are looked for in worlds that go it."""


def ways(seed: int) -> tuple[int, ...]:
    """The ways that the attempts of a world take in turn."""
    one = {"together": (TOGETHER,), "alone": (ALONE,)}.get(os.environ.get(ONE_WAY, ""))
    return one or WAYS[seed % len(WAYS)]


OWNER_NAME = deliver.owner_name
"""Of an attempt to deliver, as the product makes it."""

PATIENCE = 300
"""Real seconds after which an attempt has hung."""


class Workers:
    """All who run the product in one world. What is wrong with them is noted in `complaints`."""

    def __init__(
        self, dsn: str, connections: Connections, store: psycopg.Connection, time_of_world: WorldClock,
        complaints: list[str], pages: Sequence[int], seed: int,
    ) -> None:  # fmt: skip
        self._dsn, self._connections, self._store, self._clock = dsn, connections, store, time_of_world
        self._complaints = complaints
        self._pages, self._fewest = cycle(pages), cycle(ways(seed))
        self._idle: list[Exporter] = []
        self.zombies: list[Attempt] = []
        self.undisturbed = False
        """Whether one attempt alone is alive, and none has died of late."""
        self._stalling = False
        self._sending: Fate | None = None
        self._owner = ""
        """Of the leases of the attempt that began last."""

    def close(self) -> None:
        """Let all zombies end, and leave nothing behind."""
        self.wake()
        for engine in self._idle:
            engine.close()

    def stall(self) -> None:
        """More time passes than a lease lasts: who lives renews it."""
        if self.undisturbed:
            self._stalling = True
            try:
                self._renewals()
            finally:
                self._stalling = False

    def taken(self) -> None:
        """A receiver has taken something."""
        if self._sending is not None:
            self._sending.taken()

    def _renewals(self) -> None:
        # not those of an attempt that was killed: what it had asked of the database may be done after its end
        alive = "state = 'delivering' and leased_until > clock_timestamp()"
        query = f"select delivery_id, lane from logstream.lanes where {alive} and leased_by = %s"
        held = self._store.execute(query, (self._owner,)).fetchall()
        for _ in range(4):
            self.pass_time(4)
            fresh = alive + " + interval '8 seconds'"
            for _ in range(100):
                query = f"select count(*) from logstream.lanes where state = 'delivering' and not ({fresh})"
                stale = self._store.execute(
                    f"{query} and (delivery_id, lane) in (select * from unnest(%s::bigint[], %s::int[]))",
                    tuple(map(list, zip(*held, strict=True))) or ([], []),
                ).fetchone()
                if stale == (0,):
                    break
                time.sleep(0.05)
            else:
                self._complaints.append("the lease of an attempt that lives runs out")
                return

    def _engine(self) -> Exporter:
        policy = RetryPolicy(attempts=4, base=0.05, cap=0.1)
        engine = Exporter(self._dsn, self._dsn, self._connections, policy=policy)
        watch(engine.engine)
        return engine

    def quietly(self, call: Callable[[Exporter], T]) -> T:
        """Something that an administrator does, under no fate."""
        engine = self._idle.pop() if self._idle else self._engine()
        result = call(engine)
        self._idle.append(engine)
        return result

    def attempt(self, call: Callable[[Exporter], T], fate: Fate | None = None) -> Attempt:
        """A task's worker. Its deployment is used again, unless it was killed or broke: then it is left as it is."""

        def work() -> T:
            engine = self._idle.pop() if self._idle else self._engine()
            result = call(engine)
            self._idle.append(engine)
            return result

        self._owner, deliver.owner_name = "", self._named
        pipeline.CHUNK_EVENTS, together.FEWEST = next(self._pages), next(self._fewest)  # put back where the world ends
        one_pass.CHUNK_EVENTS, one_pass.TAKEN_BYTES = pipeline.CHUNK_EVENTS, 1
        self._sending = fate or Fate()
        return Attempt(work, self._sending)

    def _named(self) -> str:
        self._owner = OWNER_NAME()
        return self._owner

    def cut(self) -> None:
        """The database ends the connections of all workers."""
        with psycopg.connect(self._dsn, autocommit=True, application_name="world") as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and application_name like 'logstream%'"
            )

    def pass_time(self, seconds: float) -> None:
        """Let time pass: for the workers, and for what the database has noted."""
        self._clock.ahead += seconds
        # rows are locked in the order of the product's: else PostgreSQL ends one of two as a deadlock, a renewal of leases, say
        for column, table, keys in (("leased_until", "lanes", "delivery_id, lane"), ("planned_at", "deliveries", "id")):
            rows = f"select {keys} from logstream.{table} where {column} is not null order by {keys} for update"
            earlier = f"update logstream.{table} set {column} = {column} - make_interval(secs => %s)"
            query = f"with locked as materialized ({rows}) {earlier} where ({keys}) in (select {keys} from locked)"
            for _ in range(20):
                with suppress(psycopg.errors.DeadlockDetected):
                    self._store.execute(query, (seconds,))
                    break

    def wake(self, *, wait: bool = True) -> None:
        """All zombies go on where they were; `wait` for their ends."""
        for zombie in self.zombies:
            zombie.fate.wake()
        if not wait:
            return
        for zombie in self.zombies:
            self.until_it_ends(zombie)
            if zombie.error is not None and not isinstance(zombie.error, LogstreamError | Killed):
                self._complaints.append(f"a zombie broke by {zombie.error!r}")
        self.zombies.clear()

    def until_it_ends(self, attempt: Attempt) -> None:
        """See `wait`."""
        self.wait(attempt.ends, attempt)

    def wait(self, event: threading.Event, attempt: Attempt) -> None:
        """Wait for an attempt. It may wait itself, for the lease of one that was killed, say: so as much time passes meanwhile."""
        for _ in range(PATIENCE * 10):
            waited = self._clock.waited
            if event.wait(0.1):
                return
            if self._clock.waited > waited and not self._stalling:
                self.pass_time(min(self._clock.waited - waited, 2.0))
        frame = sys._current_frames().get(attempt.ident or 0)
        where = traceback.extract_stack(frame)[-4:] if frame else []
        raise AssertionError(f"an attempt has hung in {[f'{item.name}:{item.lineno}' for item in where]}")
