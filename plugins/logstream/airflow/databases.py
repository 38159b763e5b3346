"""Which databases a run works with: the connections `logstream_store` and `logstream_control`, else the environment's."""

from __future__ import annotations

from logstream.airflow.connections import dsn_of
from logstream.database import control_dsn, store_dsn

STORE_CONNECTION = "logstream_store"
CONTROL_CONNECTION = "logstream_control"


def databases() -> tuple[str, str]:
    """The DSNs of the log store and of the control database.

    Each is that of its Airflow connection if there is one; else `LOGSTREAM_DSN` / `LOGSTREAM_CONTROL_DSN`; else the
    embedded PostgreSQL, and the log store's database.

    Raises `AirflowAway` if Airflow cannot say whether there is a connection, `ConnectionNotFound` for one that cannot be used.
    """
    store = store_database()
    return store, control_dsn(dsn_of(CONTROL_CONNECTION), store)


def store_database() -> str:
    """The log store's DSN alone; see `databases`."""
    return store_dsn(dsn_of(STORE_CONNECTION))
