"""Airflow's own connections: read and written as its API server does, by its models, with its encryption and its audit log."""

from __future__ import annotations

import json
from typing import Any

from airflow.api_fastapi.core_api.datamodels.connections import ConnectionBody
from airflow.configuration import ensure_secrets_loaded
from airflow.models.connection import Connection
from airflow.models.log import Log
from airflow.secrets.metastore import MetastoreBackend
from airflow.utils.session import create_session
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from logstream.airflow.connections.http import http_credentials_of
from logstream.airflow.connections.tables import TYPES
from logstream.console.credentials import ID_FIELD, CredentialMistakes, StoredConnection
from logstream.errors import InputError


def stored_connection(conn_id: str) -> StoredConnection | None:
    """A connection of Airflow's database; `None` if there is none. Raises `InputError` for one that cannot be read."""
    with create_session() as session:
        found = session.scalar(select(Connection).where(Connection.conn_id == conn_id))
        if found is None:
            return None
        try:
            extra = json.loads(found.extra) if found.extra else {}
            return StoredConnection(
                found.conn_id, found.conn_type, found.host, found.port, found.schema, found.login, found.password, extra
            )
        except Exception as error:  # another Fernet key, or an extra that is no JSON
            raise InputError(
                f"connection `{conn_id}` cannot be read ({type(error).__name__}); correct it under Admin > Connections"
            ) from None


def kept_elsewhere(conn_id: str) -> str | None:
    """Where a connection is that Airflow finds before its database, so that editing it there has no effect."""
    for backend in ensure_secrets_loaded():
        if isinstance(backend, MetastoreBackend):
            return None
        try:
            found = backend.get_connection(conn_id)
        except Exception:  # noqa: S112 - a backend that does not answer is asked again by the run itself, which says so
            continue
        if found is not None:
            name = type(backend).__name__
            environment = name == "EnvironmentVariablesBackend"
            return "the environment (AIRFLOW_CONN_...)" if environment else f"the secrets backend {name}"
    return None


def save_connection(made: StoredConnection, user: str, *, new: bool) -> None:
    """Create a connection, or change one, as Airflow's API does. Raises `InputError` for one that could not be used.

    Airflow's audit log tells of it in the same transaction: with the names of its fields, and none of their values.
    """
    body = ConnectionBody(
        connection_id=made.conn_id, conn_type=made.conn_type, host=made.host, login=made.login, password=made.password,
        schema=made.schema, port=made.port, extra=json.dumps(made.extra) if made.extra else None,
    )  # fmt: skip
    _refuse_unusable(Connection(**body.model_dump(by_alias=True)))
    given = body.model_dump(exclude={"connection_id", "conn_type", "extra"}, exclude_none=True)
    named = {"connection_id": made.conn_id, "conn_type": made.conn_type, **dict.fromkeys(given, "***")}
    log = json.dumps({**named, "extra": dict.fromkeys(made.extra, "***")})
    event = "post_connection" if new else "patch_connection"
    try:
        with create_session() as session:
            found = session.scalar(select(Connection).where(Connection.conn_id == made.conn_id).with_for_update())
            if new:
                if found is not None:
                    raise CredentialMistakes(
                        {ID_FIELD: "there is a connection of this name; choose it above to edit it"}
                    )
                session.add(Connection(**body.model_dump(by_alias=True)))
            elif found is None:
                raise InputError(f"connection `{made.conn_id}` was deleted meanwhile; load the page again")
            else:
                found.host, found.port, found.schema, found.login = made.host, made.port, made.schema, made.login
                found.set_password(body.password)
                found.set_extra(body.extra)
            session.add(Log(event, owner=user, owner_display_name=user, extra=log))
    except IntegrityError:
        raise CredentialMistakes({ID_FIELD: "there is a connection of this name; choose it above to edit it"}) from None


def _refuse_unusable(connection: Any) -> None:
    """Raise `ConnectionNotFound` for fields that a run would refuse: better now than then."""
    table = TYPES.get("http" if connection.conn_type == "https" else connection.conn_type)
    if table is None:
        return
    if table.kind == "http":
        http_credentials_of(connection, connection.conn_id, "https://not-given.invalid")
    else:
        table.check(connection)
