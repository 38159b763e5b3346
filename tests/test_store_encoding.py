"""Log stores whose databases do not know their encoding (`SQL_ASCII`): texts there are any bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from logstream.database import connect
from logstream.ledger.records import State
from logstream.settings.models import LogStoreSettings
from logstream.store import PostgresStore
from logstream.store.check import check_store
from logstream.store.schema import create_tables

from .databases import postgres  # noqa: F401 - on the oldest and the newest PostgreSQL
from .test_store_contract import START, Export, events

LATIN = b"caf\xe9"


@pytest.fixture
def anything(postgres: str) -> Iterator[psycopg.Connection]:  # noqa: F811
    """A database in which texts are any bytes, with an empty log store of ours and room for a platform's tables."""
    with connect(postgres) as connection:
        connection.execute("create database any_bytes encoding 'SQL_ASCII' template template0 locale 'C'")
    try:
        with connect(make_conninfo(postgres, dbname="any_bytes")) as connection:
            create_tables(connection)
            connection.execute("create schema app")
            connection.execute("insert into workspaces values (1, 'one'), (2, 'two')")
            yield connection
    finally:
        with connect(postgres) as connection:
            connection.execute("drop database any_bytes with (force)")


def insert(
    database: psycopg.Connection, number: int | None, payload: bytes, kind: bytes = b"job", column: str = "json"
) -> None:
    database.execute(
        "insert into app.written values (%s, 1, convert_from(%b::bytea, 'SQL_ASCII'), %s, %s,"
        f" convert_from(%b::bytea, 'SQL_ASCII')::{column})",
        (number, kind, START, START, payload),
    )


@pytest.mark.parametrize("column", ["json", "jsonb", "text"])
@pytest.mark.parametrize("null", [False, True])
def test_a_row_that_is_no_utf8_is_rejected_beside_its_neighbours(
    anything: psycopg.Connection, tmp_path: Path, column: str, null: bool
) -> None:
    events(anything, "bigint", "text", "timestamptz", column, null=null)
    insert(anything, 1, '{"a": "café"}'.encode(), column=column)
    insert(anything, 2, b'{"a": "' + LATIN + b'"}', column=column)
    insert(anything, 3, b'{"a": "b"}', kind=LATIN, column=column)
    insert(anything, 4, b'{"a": "c"}', column=column)
    done = Export(anything.info.dsn, tmp_path / "out")
    assert set(done.messages) == {'{"a": "café"}'.encode(), b'{"a": "c"}'}
    assert [(report.state, report.events, report.rejected) for report in done.reports] == [(State.DELIVERED, 2, 2)]
    assert done.rejected == {
        2: (1, "job", "its payload is not UTF-8 (byte 10)"),
        3: (1, "unknown", 'there is no kind "caf\\xe9"'),
    }
    assert done.planned == 4 and done.findings == []


def test_rows_without_id_and_with_such_a_kind_are_rejected(anything: psycopg.Connection, tmp_path: Path) -> None:
    events(anything, "bigint", "text", "timestamptz", "text", null=True)
    insert(anything, None, LATIN, kind=LATIN, column="text")
    insert(anything, 1, b"{}", column="text")
    done = Export(anything.info.dsn, tmp_path / "out")
    assert [row[1:] for row in done.rejected.values()] == [("unknown", "its id is NULL")]
    assert done.messages == [b"{}"] and done.findings == []


def test_log_events_are_selected_by_what_can_be_read(anything: psycopg.Connection, tmp_path: Path) -> None:
    """The words of one that cannot be read are not known: it is rejected wherever its kind is streamed."""
    events(anything, "bigint", "text", "timestamptz", "json")
    for number, payload in enumerate([b'{"level": "warn"}', b'{"level": "' + LATIN + b'"}', b'{"level": "info"}'], 1):
        insert(anything, number, payload, kind=b"log_service")
    admin = {"enabled": True, "events": ["log_service"], "log_levels": ["warn"], "destination": "d"}
    done = Export(anything.info.dsn, tmp_path / "out", admin=admin)
    assert done.messages == [b'{"level": "warn"}'] and sorted(done.rejected) == [2]
    assert [report.state for report in done.reports] == [State.DELIVERED] and done.findings == []


def test_workspaces_whose_names_are_no_utf8_can_be_told_apart(anything: psycopg.Connection, tmp_path: Path) -> None:
    for number, word in enumerate([LATIN, b"caf\xe8"], 1):
        anything.execute(
            "update workspaces set name = convert_from(%b::bytea, 'SQL_ASCII'),"
            " external_id = convert_from(%b::bytea, 'SQL_ASCII') where id = %s",
            (word, word, number),
        )
    store = PostgresStore(anything.info.dsn)
    assert [(item.name, item.external_id) for item in store.workspaces()] == [("caf\\xe9",) * 2, ("caf\\xe8",) * 2]
    store.close()
    events(anything, "bigint", "text", "timestamptz", "json")
    insert(anything, 1, b'{"a": "b"}')
    assert Export(anything.info.dsn, tmp_path / "out").messages == [b'{"a": "b"}']


def test_the_check_of_the_store_names_such_a_row(anything: psycopg.Connection) -> None:
    events(anything, "bigint", "text", "timestamptz", "json")
    insert(anything, 7, b'{"a": "' + LATIN + b'"}')
    settings = LogStoreSettings(events="app.events", written_tables=("app.written",))
    steps = {step.name: step for step in check_store(anything.info.dsn, settings)}
    assert "event 7: its payload is not UTF-8 (byte 10)" in steps["the newest rows are events"].detail
