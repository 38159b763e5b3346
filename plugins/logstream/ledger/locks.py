"""Locks on lanes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import psycopg

from logstream.database import connect, database_errors
from logstream.ledger.records import Lane


class LaneLocks:
    """Locks on lanes, held by one database session: they end with it, however it ends."""

    def __init__(self, dsn: str) -> None:
        self._connection: psycopg.Connection = connect(dsn, application="logstream lane locks")

    def acquire(self, lanes: Sequence[Lane]) -> list[Lane]:
        """Try to take lanes' locks, without waiting; return the lanes that are ours now."""
        keys = list(map(_lock, lanes))
        with database_errors("locking lanes"):
            rows = self._connection.execute(
                "select pg_try_advisory_lock(k, l) from unnest(%s::int[], %s::int[]) with ordinality as n(k, l, i) order by i",
                ([key for key, _ in keys], [lane for _, lane in keys]),
            ).fetchall()
        return [lane for lane, (taken,) in zip(lanes, rows, strict=True) if taken]

    def release(self, lanes: Sequence[Lane]) -> None:
        """Give lanes' locks back."""
        keys = list(map(_lock, lanes))
        with database_errors("unlocking lanes"):
            self._connection.execute(
                "select pg_advisory_unlock(k, l) from unnest(%s::int[], %s::int[]) as n(k, l)",
                ([key for key, _ in keys], [lane for _, lane in keys]),
            )

    def close(self) -> None:
        """Give all of them back."""
        self._connection.close()


def _lock(lane: Lane) -> tuple[int, int]:
    # two int4: a name for "Logstream's lane of this delivery", and the lane
    mark = zlib.crc32(f"logstream lane {lane.delivery_id}".encode())
    return mark - 2**31, lane.lane
