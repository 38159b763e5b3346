"""The control database: an engine over it, and its migrations."""

from __future__ import annotations

from pathlib import Path

import psycopg
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import NullPool, QueuePool

from logstream import __version__
from logstream.control.tables import SCHEMA
from logstream.database import connect, database_errors, describe, is_stale
from logstream.errors import DatabaseError

HEAD = "0018"
"""The newest migration; a test holds it equal to the one Alembic finds."""

MIGRATION_LOCK = 0x10957EA3
"""Key of the advisory lock that lets one process migrate at a time."""


def open_control(dsn: str, *, pooled: bool = False) -> Engine:
    """Return an engine over the control database, its schema made or brought up to date.

    Raises `DatabaseError` if the database cannot be reached or the schema cannot be made.
    """

    def creator() -> psycopg.Connection:
        return connect(dsn, autocommit=False, application="logstream control")

    engine = create_engine("postgresql+psycopg://", creator=creator, poolclass=QueuePool if pooled else NullPool)
    event.listen(engine, "checkout", _refuse_stale)
    with database_errors("preparing the control schema"):
        _migrate(engine, dsn)
    return engine


def _refuse_stale(connection: psycopg.Connection, *_: object) -> None:
    """Make the pool give another connection for one that was ended while it was idle."""
    if is_stale(connection):
        raise DisconnectionError


def has_control(dsn: str) -> bool:
    """Whether a database has the control schema. Makes nothing."""
    return revision_of(dsn) is not None


def revision_of(dsn: str) -> str | None:
    """The version of the control schema in a database, `None` if it has none. Makes nothing."""
    with connect(dsn, application="logstream control") as connection, database_errors("looking for the control schema"):
        return _revision(connection)


def _migrate(engine: Engine, dsn: str) -> None:
    connection = connect(dsn, application="logstream migrations")
    with connection:
        _refuse_encoding(connection, dsn)
        revision = _revision(connection)
        if revision == HEAD:
            return
        if revision is not None and revision > HEAD:
            raise DatabaseError(
                f"the control database is of a newer Logstream (schema {revision}; this one, {__version__}, knows {HEAD}): "
                "upgrade this worker, it has done nothing"
            )
        # most commands find the schema up to date: they need not wait for Alembic's import
        from alembic import command
        from alembic.config import Config

        with engine.begin() as target:
            # of the transaction, not of the session: behind a pooler that would be another's in the next statement
            target.execute(text("select pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            if _revision(connection) == HEAD:
                return
            target.execute(text(f'create schema if not exists "{SCHEMA}"'))
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
            config.attributes["connection"] = target
            command.upgrade(config, "head")


def _refuse_encoding(connection: psycopg.Connection, dsn: str) -> None:
    """Settings hold any character, and so do the words of receivers: one that the database lacks would stop a window."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8", "SQL_ASCII"):
        raise DatabaseError(
            f"{describe(dsn)} has the encoding {encoding}, in which settings and ledger cannot be kept: they hold any character. "
            "Keep them in a database with encoding UTF8 (--control-dsn, LOGSTREAM_CONTROL_DSN)"
        )


def _revision(connection: psycopg.Connection) -> str | None:
    known = connection.execute("select to_regclass(%s)", (f"{SCHEMA}.alembic_version",)).fetchone()
    if known is None or known[0] is None:
        return None
    row = connection.execute(f"select version_num from {SCHEMA}.alembic_version").fetchone()  # noqa: S608
    return row[0] if row else None
