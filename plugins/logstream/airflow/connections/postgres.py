"""Connections of type `postgres`, as DSNs."""

from __future__ import annotations

from typing import Any

from psycopg.conninfo import make_conninfo

from logstream.airflow.connections.lookup import NoSuchConnection, find
from logstream.airflow.connections.tables import POSTGRES


def dsn_of(connection: str) -> str | None:
    """The DSN of a PostgreSQL connection, `None` if there is no such connection.

    Raises `ConnectionNotFound` for one that cannot be used, `AirflowAway` if Airflow cannot say whether there is one: another
    database would be worse than none.
    """
    try:
        found = find(connection, "postgres")
    except NoSuchConnection:
        return None
    return dsn_from(found)


def dsn_from(found: Any) -> str:
    """A DSN from the fields of an Airflow connection; its extra holds further libpq parameters.

    Raises `ConnectionNotFound` naming an extra that is none.
    """
    extra = POSTGRES.check(found)
    parameters = {
        "host": found.host,
        "port": found.port,
        "user": found.login,
        "password": found.password,
        "dbname": found.schema,
        **{name: value for name, value in extra.items() if name not in POSTGRES.extras},
    }
    return str(make_conninfo(**{name: value for name, value in parameters.items() if value not in (None, "")}))
