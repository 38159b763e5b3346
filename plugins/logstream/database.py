"""Connecting to PostgreSQL: DSNs, sessions, and errors in words.

A DSN is what libpq takes: a URI (`postgresql://user:password@host/db`) or `key=value` pairs. Its password never
appears in an error.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import conninfo

from logstream.embedded import embedded_dsn
from logstream.errors import DatabaseAway, DatabaseError, LogstreamError, NotSetUp, excuse

CONNECT_SECONDS = 10

STATEMENT_SECONDS = 1800.0
"""How long one statement, or one piece of a COPY, may take. Counting a very large window is the slowest of them."""

# A server that has gone from the network is noticed within a minute; one that is there and says nothing, by the limit above.
_KEEPALIVE = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
DSN_VARIABLE = "LOGSTREAM_DSN"
CONTROL_DSN_VARIABLE = "LOGSTREAM_CONTROL_DSN"


def store_dsn(dsn: str | None = None) -> str:
    """The log store's DSN: the one given, else `LOGSTREAM_DSN`, else the embedded PostgreSQL (started here)."""
    return dsn or os.environ.get(DSN_VARIABLE) or embedded_dsn()


def control_dsn(dsn: str | None, store: str) -> str:
    """Where settings and ledger live: the DSN given, else `LOGSTREAM_CONTROL_DSN`, else the log store's database."""
    return dsn or os.environ.get(CONTROL_DSN_VARIABLE) or store


# These four are PostgreSQL's parameters that a pooler follows (the server reports their changes), so that they hold for a client
# whichever server connection it is given. Nothing else may be set for a session: behind PgBouncer in transaction mode it would
# stay with a server connection that other clients use. Start-up `options` are refused there.
_SESSION = """
select set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO, YMD', false),
       set_config('standard_conforming_strings', 'on', false), pg_backend_pid()
"""


class TimedConnection(psycopg.Connection[Any]):
    """A connection that a server which has fallen silent does not hold for ever."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """See `psycopg.Connection.wait`. Every statement has a limit, and a connection that passed it is closed."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, STATEMENT_SECONDS)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()  # without a word to the server: it would not hear it
            raise psycopg.OperationalError(f"it has not answered for {STATEMENT_SECONDS:.0f} s") from None


def connect(dsn: str, *, autocommit: bool = True, application: str = "logstream") -> psycopg.Connection:
    """Open a connection that speaks UTF-8 and UTC, whatever the server's, the role's or the DSN's defaults are.

    It works through PgBouncer in session and transaction mode: no statement is prepared where a pooler is seen. Raises
    `DatabaseError` naming the server, never the password.
    """
    try:
        connection = TimedConnection.connect(dsn, autocommit=True, **_parameters(dsn, application))
        row = connection.execute(_SESSION).fetchone()
        if _is_pooled(connection.info, row):
            connection.prepare_threshold = None
        connection.autocommit = autocommit
    except (psycopg.Error, UnicodeError) as error:
        raise DatabaseError(f"cannot connect to {describe(dsn)}: {first_line(error)}") from None
    return connection


async def connect_async(dsn: str, *, application: str = "logstream") -> psycopg.AsyncConnection:
    """The same for an event loop."""
    try:
        connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True, **_parameters(dsn, application))
        row = await (await connection.execute(_SESSION)).fetchone()
        if _is_pooled(connection.info, row):
            connection.prepare_threshold = None
    except (psycopg.Error, UnicodeError) as error:
        raise DatabaseError(f"cannot connect to {describe(dsn)}: {first_line(error)}") from None
    return connection


def _is_pooled(info: psycopg.ConnectionInfo, row: tuple[Any, ...] | None) -> bool:
    """Whether there is a pooler in between: it names another process at start-up than the one that does the work."""
    return row is None or row[-1] != info.backend_pid


def _parameters(dsn: str, application: str) -> dict[str, Any]:
    try:
        given = conninfo.conninfo_to_dict(dsn)
    except (psycopg.Error, UnicodeError) as error:
        raise DatabaseError(f"the DSN cannot be read: {scrub(first_line(error), dsn)}") from None
    return {
        **{name: value for name, value in _KEEPALIVE.items() if name not in given},
        "application_name": application,
        "client_encoding": "UTF8",
        "connect_timeout": int(given.get("connect_timeout") or CONNECT_SECONDS),
    }


def without_limits(connection: psycopg.Connection) -> str:
    """SQL that lifts the limits on time that the server or the role sets, for the rest of a transaction.

    They are made for requests of an application; reading a window and loading a file may take longer.
    """
    names = ["statement_timeout", "idle_in_transaction_session_timeout"]
    if connection.info.server_version >= 170000:
        names.append("transaction_timeout")
    return "".join(f"set local {name} = 0; " for name in names)


def is_stale(connection: psycopg.Connection | psycopg.AsyncConnection) -> bool:
    """Whether an idle connection was ended meanwhile (`idle_session_timeout`, a pooler, a restart): the server has said so."""
    if connection.closed:
        return True
    waiting = select.poll()
    waiting.register(connection.pgconn.socket, select.POLLIN)
    return bool(waiting.poll(0))


def describe(dsn: str) -> str:
    """Name a database for people: `database "x" at host:port`, without user or password."""
    try:
        given = conninfo.conninfo_to_dict(dsn)
    except (psycopg.Error, UnicodeError):
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
            if not isinstance(error, LogstreamError):
                excuse(caught)  # a full disk, no memory, a driver's fault: whatever it is, no destination has made it
            raise
        remedy = ""
        if isinstance(error, psycopg.errors.UndefinedTable):
            remedy = "; run `logstream store init`"
        elif isinstance(error, psycopg.errors.InsufficientPrivilege):
            remedy = _missing_right(error)
        elif isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            remedy = (
                "; this is a standby, or default_transaction_read_only is on for the server, the database or the user: switch "
                "it off, or keep settings and ledger elsewhere (--control-dsn)"
            )
        elif isinstance(error, psycopg.errors.InvalidSchemaName):
            remedy = "; give the user of this DSN a search_path with a schema that is there"
        away = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        # a database that is read-only may be so for a moment, in the middle of a failover
        missing = isinstance(
            error,
            psycopg.errors.UndefinedTable | psycopg.errors.InsufficientPrivilege | psycopg.errors.InvalidSchemaName,
        )
        kind = DatabaseAway if away else NotSetUp if missing else DatabaseError
        raise kind(f"{doing}: {first_line(error)}{remedy}") from caught


def _missing_right(error: psycopg.Error) -> str:
    """What to grant. Of a schema two rights are asked for: to look into it, and to make tables in it."""
    schema = re.search(r"permission denied for schema (\S+)", str(error))
    if schema is None:
        return "; grant it to the user of this DSN"
    return f"; `grant usage on schema {schema.group(1)}` to the user of this DSN (`create`, too, where it makes tables)"


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
