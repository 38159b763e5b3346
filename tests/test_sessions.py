"""Servers and roles with defaults of their own: zones, date styles, limits on time, search paths. What they mean is defined."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from logstream.database import connect
from logstream.events import Selection
from logstream.store import Filter, PostgresStore
from logstream.store.schema import create_tables
from logstream.window import Window

from .conftest import Cli, one_error_line
from .databases import postgres  # noqa: F401 - on the oldest and the newest PostgreSQL

START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=5))
EVERYTHING = Selection.of(["job_details", "user_activity", "api_platform", "log_service"])


@pytest.fixture
def defaults(database: str) -> Iterator[Any]:
    """Sets defaults of the database, which every session begins with, roles' and servers' alike."""
    name = str(conninfo_to_dict(database)["dbname"])

    def set_(**values: str) -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            for key, value in values.items():
                connection.execute(f"alter database {name} set {key} = {value}")

    yield set_


def filled(dsn: str, rows: int = 3) -> None:
    with connect(dsn) as connection:
        create_tables(connection)
        connection.execute("insert into workspaces values (1)")
        connection.execute(
            "insert into events select g, 1, 'log_service', '2026-03-01T00:00:01Z', '2026-03-01T00:00:01Z',"
            ' \'{"level": "a\\\\b"}\' from generate_series(1, %s) as g',
            (rows,),
        )


def read(store: PostgresStore, selection: Selection = EVERYTHING) -> list[int]:
    pages = store.read(WINDOW, [Filter.of(selection, [1])], None, max_events=1000, max_bytes=10**7)
    return [event.id for page in pages for event in page.events]


STYLES = {
    "a zone with half hours": {"timezone": "'Asia/Kathmandu'"},
    "a zone with summer time": {"timezone": "'America/New_York'", "datestyle": "'SQL, DMY'"},
    "German dates": {"datestyle": "'German'", "intervalstyle": "'sql_standard'"},
    "backslashes are escapes": {"standard_conforming_strings": "off", "backslash_quote": "off"},
    "bytes as escapes": {"bytea_output": "'escape'", "extra_float_digits": "0", "quote_all_identifiers": "on"},
}


@pytest.mark.parametrize("style", STYLES)
def test_styles_of_the_server_change_nothing(
    cli: Cli, database: str, defaults: Any, tmp_path: Path, style: str
) -> None:
    filled(database)
    defaults(**STYLES[style])
    log = {"enabled": True, "events": ["log_service"], "log_levels": ["a\\b"], "destination": "d"}
    destination = {"type": "file", "path": str(tmp_path / "out"), "packaging": "batch"}
    (tmp_path / "s.yaml").write_text(json.dumps({"admin": log, "destinations": {"d": destination}}))
    assert cli("settings", "apply", "s.yaml", "--dsn", database).returncode == 0
    window = ("--from", WINDOW.start.isoformat(), "--to", WINDOW.end.isoformat())
    done = cli("export", *window, "--json", "--dsn", database)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["window"] == {"start": "2026-03-01T00:00:00Z", "end": "2026-03-01T00:05:00Z"}
    assert json.loads(done.stdout)["totals"]["events"] == 3
    assert cli("verify", *window, "--dsn", database).returncode == 0
    assert cli("store", "check", "--dsn", database).returncode == 0
    with connect(database) as connection:
        assert connection.execute("select clock_timestamp()").fetchone()[0].tzinfo is not None  # type: ignore[index]


def test_limits_on_statements_are_not_for_windows(database: str, defaults: Any, tmp_path: Path) -> None:
    filled(database)
    # each row takes longer to read than any statement may take
    with connect(database) as connection:
        connection.execute(
            "create function slowly(json) returns json volatile language plpgsql as"
            " 'begin perform pg_sleep(0.1); return $1; end';"
            "alter table events rename to written;"
            "create view events as select id, workspace_id, kind, occurred_at, recorded_at, slowly(payload) as payload from written"
        )
    defaults(statement_timeout="'50ms'", idle_in_transaction_session_timeout="'50ms'")
    store = PostgresStore(database)
    assert read(store) == [1, 2, 3]
    assert sum(found.events for found in store.count(WINDOW, by_log_type=True)) == 3
    store.close()
    # what is not reading keeps the limit, and so do the sessions of others
    with connect(database) as connection, pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute("select slowly(payload) from written")


def test_a_connection_that_was_ended_while_idle_is_noticed(database: str) -> None:
    filled(database)
    store = PostgresStore(database)
    assert read(store) == [1, 2, 3]
    # of this database alone: other tests' readers may be idle at the same server
    ended = (
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where application_name = 'logstream reader' and datname = current_database()"
    )
    with connect(database) as connection:
        assert connection.execute(ended).fetchall() == [(True,)]  # as idle_session_timeout does, and a restart
    assert read(store) == [1, 2, 3]
    store.close()


def test_a_database_that_is_read_only(cli: Cli, database: str, defaults: Any) -> None:
    filled(database)
    with connect(database) as connection:
        connection.execute("drop schema logstream cascade")
    defaults(default_transaction_read_only="on")
    store = PostgresStore(database)
    assert read(store) == [1, 2, 3]
    store.close()
    assert cli("store", "check", "--dsn", database).returncode == 0
    error = one_error_line(cli("routes", "--dsn", database))
    assert "default_transaction_read_only" in error and "--control-dsn" in error


def test_names_follow_the_search_path(cli: Cli, database: str, defaults: Any) -> None:
    filled(database)
    with connect(database) as connection:
        connection.execute(
            "create schema app; alter table events set schema app; alter table workspaces set schema app"
        )
    assert one_error_line(cli("routes", "--dsn", database)).count("search path") == 1
    defaults(search_path="app")
    store = PostgresStore(database)
    assert read(store) == [1, 2, 3] and [workspace.id for workspace in store.workspaces()] == [1]
    store.close()
    assert cli("store", "check", "--dsn", database).returncode == 0
    defaults(search_path="nowhere")
    assert "search_path" in one_error_line(cli("store", "init", "--dsn", database))


def test_times_at_the_ends_of_what_can_be_told(store: psycopg.Connection) -> None:
    """Events from the year 1 to 9999 are read; what is beyond is rejected (tests/test_store_contract.py)."""
    times = ["0001-01-01 00:00:00+00", "1969-12-31 23:59:59.5+00", "9999-12-31 23:59:59.999999+00"]
    store.execute("insert into workspaces values (1)")
    for number, time in enumerate([*times, "0001-01-01 00:00:00+00 BC", "10000-01-01+00", "infinity", "-infinity"]):
        store.execute("insert into events values (%s, 1, 'job', %s::timestamptz, %s, '{}')", (number, time, START))
    reader = PostgresStore(store.info.dsn)
    pages = list(reader.read(WINDOW, [Filter.of(EVERYTHING, [1])], None, max_events=100, max_bytes=10**6))
    reader.close()
    assert [event.id for page in pages for event in page.events] == [0, 1, 2]
    assert [event.id for page in pages for event, _ in page.bad] == [3, 4, 5, 6]
