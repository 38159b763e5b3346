"""Connecting to PostgreSQL: DSNs, sessions, and errors in words.

A DSN is what libpq takes: a URI (`postgresql://user:password@host/db`) or `key=value` pairs. Its password never
appears in an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import conninfo

from logstream.embedded import embedded_dsn
from logstream.errors import DatabaseError

CONNECT_SECONDS = 10
DSN_VARIABLE = "LOGSTREAM_DSN"
CONTROL_DSN_VARIABLE = "LOGSTREAM_CONTROL_DSN"


def store_dsn(dsn: str | None = None) -> str:
    """The log store's DSN: the one given, else `LOGSTREAM_DSN`, else the embedded PostgreSQL (started here)."""
    return dsn or os.environ.get(DSN_VARIABLE) or embedded_dsn()


def control_dsn(dsn: str | None, store: str) -> str:
    """Where settings and ledger live: the DSN given, else `LOGSTREAM_CONTROL_DSN`, else the log store's database."""
    return dsn or os.environ.get(CONTROL_DSN_VARIABLE) or store


def connect(dsn: str, *, autocommit: bool = True, application: str = "logstream") -> psycopg.Connection:
    """Open a connection that speaks UTF-8 and UTC, whatever the server's or the DSN's defaults are.

    Raises `DatabaseError` naming the server, never the password.
    """
    try:
        connection = psycopg.connect(dsn, autocommit=autocommit, **session_parameters(dsn, application))
    except (psycopg.Error, UnicodeError) as error:
        raise DatabaseError(f"cannot connect to {describe(dsn)}: {first_line(error)}") from None
    return connection


def session_parameters(dsn: str, application: str = "logstream") -> dict[str, Any]:
    """Keyword arguments for `psycopg.connect` beside the DSN. Raises `DatabaseError` for one that cannot be read."""
    try:
        given = conninfo.conninfo_to_dict(dsn)
    except psycopg.Error as error:
        raise DatabaseError(f"the DSN cannot be read: {scrub(first_line(error), dsn)}") from None
    options = f"{given.get('options') or ''} -c timezone=UTC -c datestyle=ISO -c jit=off".strip()
    return {
        "application_name": application,
        "client_encoding": "UTF8",
        "options": options,
        "connect_timeout": int(given.get("connect_timeout") or CONNECT_SECONDS),
    }


def describe(dsn: str) -> str:
    """Name a database for people: `database "x" at host:port`, without user or password."""
    try:
        given = conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:
        return "the database"
    host = given.get("host") or given.get("hostaddr") or "the local socket"
    port = f":{given['port']}" if given.get("port") else ""
    return f'database "{given.get("dbname") or given.get("user") or "postgres"}" at {host}{port}'


@contextmanager
def database_errors(doing: str) -> Iterator[None]:
    """Turn a database's error into one line that says what was being done and, where it can, what to do."""
    try:
        yield
    except Exception as caught:
        # SQLAlchemy's errors have psycopg's as `orig`
        error = getattr(caught, "orig", None) or caught
        if not isinstance(error, psycopg.Error):
            raise
        remedy = ""
        if isinstance(error, psycopg.errors.UndefinedTable):
            remedy = "; run `logstream store init`"
        elif isinstance(error, psycopg.errors.InsufficientPrivilege):
            remedy = "; grant it to the user of this DSN"
        raise DatabaseError(f"{doing}: {first_line(error)}{remedy}") from caught


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without a trailing colon or full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    # libpq lists every address it tried; the reason is in the last words of the line
    return re.sub(r"\s+", " ", text).rstrip(".:")


def scrub(text: str, dsn: str) -> str:
    """Take a DSN, and a password in URI form, out of a text."""
    text = text.replace(dsn, "...")
    password = re.search(r"://[^:/@]*:([^@]+)@", dsn)
    return text.replace(password.group(1), "***") if password else text
