"""Writing events into the log store: those of the streaming itself. All others are the platform's to write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from logstream.database import connect, database_errors
from logstream.errors import InputError
from logstream.events import Kind
from logstream.settings.models import LogStoreSettings
from logstream.settings.resolution import Workspace


def admin_workspace(connection: psycopg.Connection, settings: LogStoreSettings) -> Workspace:
    """The workspace of role `admin`, the one with the smallest id. Raises `InputError` if there is none."""
    query = sql.SQL(
        "select id, external_id::text, name::text from {} where role::text = 'admin' order by id limit 1"
    ).format(_relation(settings.workspaces))
    row = connection.execute(query).fetchone()
    if row is None:
        raise InputError(
            "the log store has no workspace of role admin, whose events those of the streaming itself would be"
        )
    return Workspace(row[0], row[1], row[2], "admin")


def write_user_activity(
    dsn: str, settings: LogStoreSettings, events: Sequence[tuple[datetime, Mapping[str, Any]]], since: datetime
) -> int:
    """Write user activity of the admin workspace, each once: one whose payload's `id` is there already is left out.

    `events` are (when it occurred, payload without `team`); `since` is a time at which none of them was written yet. Returns how
    many were written. Raises `DatabaseError` for a log store that cannot be written to, `InputError` as `admin_workspace`.
    """
    doing = "writing audit events of the streaming itself (grant insert on the log store's events, or set audit.stream to false)"
    with connect(dsn, autocommit=False, application="logstream audit") as connection, database_errors(doing):
        workspace = admin_workspace(connection, settings)
        table = _relation(settings.events)
        there = connection.execute(
            sql.SQL(
                "select payload::text from {} where workspace_id = %s and kind::text = %s and recorded_at >= %s"
                " and payload::text like '%%logstream-audit-%%'"
            ).format(table),
            (workspace.id, str(Kind.USER_ACTIVITY), since),
        ).fetchall()
        known = {_id_in(row[0]) for row in there}
        new = [(at, payload) for at, payload in events if payload["id"] not in known]
        team = {"id": workspace.id, "external_id": workspace.external_id, "name": workspace.name}
        statement = sql.SQL("insert into {} (workspace_id, kind, occurred_at, payload) values (%s, %s, %s, %s)").format(
            table
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                statement,
                [
                    (
                        workspace.id,
                        str(Kind.USER_ACTIVITY),
                        at,
                        json.dumps({**payload, "team": team}, ensure_ascii=False),
                    )
                    for at, payload in new
                ],
            )
        connection.commit()
    return len(new)


def _id_in(payload: str) -> object:
    """The id in a payload of anyone's, which may be any text."""
    try:
        found = json.loads(payload)
    except ValueError:
        return None
    return found.get("id") if isinstance(found, dict) else None


def _relation(name: str) -> sql.Identifier:
    return sql.Identifier(*name.split("."))
