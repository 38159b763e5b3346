"""Leases on lanes: who delivers a lane, until when, and in which attempt.

A lease is three columns of the lane's own row: the owner, the attempt, and when it runs out by the database's clock. The
attempt is a fencing token: no two leases have the same number, every write of a lane names the number it was taken with, and
one that finds another number writes nothing. So an attempt that was taken for dead, and wakes up, can do no harm to the
books. Nothing of it lives in a database session: it works behind a pooler, and 100,000 lanes cost no lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from logstream import clock
from logstream.control.tables import SCHEMA
from logstream.errors import DatabaseError, LogstreamError, ours
from logstream.ledger.lane_writes import lease_lost
from logstream.ledger.lanes import Lanes, lock_in_order
from logstream.ledger.records import Lane
from logstream.threads import ANSWER_SECONDS, in_time

log = logging.getLogger("logstream")

_T = TypeVar("_T")

LEASE_SECONDS = 10.0
"""How long a lease lasts without being renewed: as long a lane waits for another attempt when a worker dies."""

RENEW_SECONDS = 2.5
"""How often a task renews all its leases, in one statement. Three renewals may fail before a lease runs out."""

_TAKE = f"""
with free as (
    select l.delivery_id, l.lane from {SCHEMA}.lanes l
    join unnest(%(deliveries)s::bigint[], %(lanes)s::int[]) as n(delivery_id, lane) using (delivery_id, lane)
    where (l.leased_until is null or l.leased_until <= clock_timestamp()) and (l.state = 'delivered') = %(delivered)s
    order by l.delivery_id, l.lane
    for update of l skip locked)
update {SCHEMA}.lanes l set
    attempt = nextval('{SCHEMA}.lane_attempts'),
    leased_by = %(owner)s,
    leased_until = clock_timestamp() + make_interval(secs => %(seconds)s),
    state = case l.state when 'delivered' then l.state else 'delivering' end,
    now_ns = coalesce(l.now_ns, %(now_ns)s),
    attempts = l.attempts + 1,
    started_at = coalesce(l.started_at, clock_timestamp()),
    permanent = 0
from free where l.delivery_id = free.delivery_id and l.lane = free.lane
returning l.delivery_id, l.lane
"""  # noqa: S608 - the schema is ours

_RENEW = f"""
update {SCHEMA}.lanes l set leased_until = clock_timestamp() + make_interval(secs => %(seconds)s)
from unnest(%(deliveries)s::bigint[], %(lanes)s::int[], %(attempts)s::bigint[]) as n(delivery_id, lane, attempt)
where l.delivery_id = n.delivery_id and l.lane = n.lane and l.attempt = n.attempt and l.leased_by = %(owner)s
returning l.delivery_id, l.lane
"""  # noqa: S608 - the schema is ours

_RELEASE = f"""
update {SCHEMA}.lanes l set leased_by = null, leased_until = null
from unnest(%(deliveries)s::bigint[], %(lanes)s::int[], %(attempts)s::bigint[]) as n(delivery_id, lane, attempt)
where l.delivery_id = n.delivery_id and l.lane = n.lane and l.attempt = n.attempt and l.leased_by = %(owner)s
"""  # noqa: S608 - the schema is ours


class Leases(Lanes):
    """Takes, renews and gives back leases. `owner` is a name that no other task has."""

    def take(self, keys: Sequence[tuple[int, int]], owner: str, now_ns: int, *, delivered: bool = False) -> set[
        tuple[int, int]
    ]:  # fmt: skip
        """Take the lanes that are free, without waiting for the others; return the names of those that are ours now.

        Lanes that are to be delivered are marked as under way; each keeps the instant of its first attempt, else it gets
        `now_ns`. With `delivered` only those are taken that are: to send their dead letters again.
        """
        given = {
            **_names(keys), "owner": owner, "seconds": LEASE_SECONDS, "now_ns": now_ns, "delivered": delivered,
        }  # fmt: skip
        with self._writing("taking lanes") as connection:
            return {(row[0], row[1]) for row in connection.exec_driver_sql(_TAKE, given)}

    def renew(self, lanes: Collection[Lane], owner: str) -> set[tuple[int, int]]:
        """Make leases last from now on; return the names of the lanes that are still ours."""
        given = {**_held(lanes), "owner": owner, "seconds": LEASE_SECONDS}
        with self._writing("renewing leases") as connection:
            connection.exec_driver_sql("set local synchronous_commit = off")
            lock_in_order(connection, [lane.key for lane in lanes])
            return {(row[0], row[1]) for row in connection.exec_driver_sql(_RENEW, given)}

    def release(self, lanes: Collection[Lane], owner: str) -> None:
        """Give lanes back that are still ours."""
        with self._writing("giving lanes back") as connection:
            lock_in_order(connection, [lane.key for lane in lanes])
            connection.exec_driver_sql(_RELEASE, {**_held(lanes), "owner": owner})


def _names(keys: Iterable[tuple[int, int]]) -> dict[str, object]:
    names = list(keys)
    return {"deliveries": [delivery for delivery, _ in names], "lanes": [lane for _, lane in names]}


def _held(lanes: Collection[Lane]) -> dict[str, object]:
    return {**_names(lane.key for lane in lanes), "attempts": [lane.attempt for lane in lanes]}


class LeaseKeeper:
    """Keeps the leases of one task: takes lanes, renews all of them together, and knows which are lost. Of one event loop."""

    def __init__(
        self, ledger: Leases, owner: str, threads: Executor, now_ns: Callable[[], int] = clock.time_ns
    ) -> None:
        self._ledger, self._owner, self._threads, self._now_ns = ledger, owner, threads, now_ns
        self._held: dict[tuple[int, int], Lane] = {}
        self._fresh_until = 0.0
        self._renewing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def take(self, keys: Sequence[tuple[int, int]], *, delivered: bool = False) -> list[Lane]:
        """Take those of some lanes that are free; return them as they now stand."""
        if not keys:
            return []
        began = clock.monotonic()
        taken = await self._ask(lambda: self._ledger.take(keys, self._owner, self._now_ns(), delivered=delivered))
        found = await self._ask(lambda: self._ledger.lanes(key for key in keys if key in taken))
        if not self._held:
            self._fresh_until = began + LEASE_SECONDS
        # another attempt may have had one between the two statements: then it is not ours
        self._held |= {lane.key: lane for lane in found if lane.leased_by == self._owner}
        if self._task is None:
            self._task = asyncio.create_task(self._renew_for_ever())
        return [lane for lane in found if lane.key in self._held]

    async def confirm(self, lane: Lane) -> None:
        """Return if the lane is still ours to send for; else raise `LeaseLost`. Called before everything that is sent."""
        if lane.key in self._held and clock.monotonic() >= self._fresh_until:
            # a loop that was held up, or a database that was away: what runs out is not lost before another attempt takes it
            await self._renew(LEASE_SECONDS)
        if lane.key not in self._held:
            raise lease_lost(lane)

    def holds(self, lane: Lane) -> bool:
        """Whether a lane is ours to send for, as far as that is known without asking. For threads that cannot wait."""
        return lane.key in self._held and clock.monotonic() < self._fresh_until

    def forget(self, lane: Lane) -> None:
        """A lane has ended, and was given back with its last write."""
        self._held.pop(lane.key, None)

    async def release(self, lanes: Iterable[Lane]) -> None:
        """Give lanes back. What cannot be told to the database runs out by itself."""
        ours = [held for lane in lanes if (held := self._held.pop(lane.key, None)) is not None]
        if not ours:
            return
        try:
            await self._ask(lambda: self._ledger.release(ours, self._owner))
        except LogstreamError as error:
            log.warning("Leases run out by themselves: %s", error)

    async def close(self) -> None:
        """Renew no more, and give back what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.release(list(self._held.values()))

    async def _renew_for_ever(self) -> None:
        while True:
            await clock.sleep(RENEW_SECONDS)
            try:
                await self._renew(RENEW_SECONDS)
            except LogstreamError as error:
                log.warning("Leases could not be renewed, trying again: %s", error)

    async def _renew(self, at_least: float) -> None:
        """Renew all leases, unless that was done while this waited for its turn. Those that are another's are lost."""
        async with self._renewing:
            began = clock.monotonic()
            if began + LEASE_SECONDS - at_least < self._fresh_until or not self._held:
                return
            lanes = list(self._held.values())
            ours = await self._ask(lambda: self._ledger.renew(lanes, self._owner))
            self._fresh_until = began + LEASE_SECONDS
            lost = [lane for lane in lanes if lane.key not in ours and self._held.pop(lane.key, None) is not None]
            if not lost:
                return
            # one that has just been given back with its last write has its attempt still, and was not taken over
            now = {lane.key: lane.attempt for lane in await self._ask(lambda: self._ledger.lanes(x.key for x in lost))}
            for lane in lost:
                if now.get(lane.key) != lane.attempt:
                    log.warning("%s", lease_lost(lane))

    async def _ask(self, call: Callable[[], _T]) -> _T:
        try:
            with ours():
                return await in_time(self._threads, ANSWER_SECONDS, call)
        except TimeoutError:
            raise DatabaseError(f"the control database has not answered for {ANSWER_SECONDS:.0f} s") from None
