"""Which databases a run works with: the connections `logstream_store` and `logstream_control`, else the environment's."""

from __future__ import annotations

from logstream.airflow.connections import dsn_from, dsn_of
from logstream.database import control_dsn, store_dsn

STORE_CONNECTION = "logstream_store"
CONTROL_CONNECTION = "logstream_control"


def databases() -> tuple[str, str]:
    """The DSNs of the log store and of the control database.

    Each is that of its Airflow connection if there is one; else `LOGSTREAM_DSN` / `LOGSTREAM_CONTROL_DSN`; else the
    embedded PostgreSQL, and the log store's database.
    """
    store = store_dsn(dsn_of(STORE_CONNECTION))
    return store, control_dsn(dsn_of(CONTROL_CONNECTION), store)


async def store_database() -> str:
    """The log store's DSN, for a trigger."""
    from airflow.sdk import BaseHook

    try:
        found = await BaseHook.aget_connection(STORE_CONNECTION)
    except Exception:  # not defined; the SDK's errors for that differ by process
        return store_dsn(None)
    return dsn_from(found)
