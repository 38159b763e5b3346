"""Log stores whose databases have another encoding than UTF-8, or do not know theirs (`SQL_ASCII`): texts there are any bytes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from logstream.control.engine import open_control
from logstream.database import connect
from logstream.errors import DatabaseError
from logstream.ledger.records import State
from logstream.settings.models import LogStoreSettings
from logstream.store import PostgresStore
from logstream.store.catalogue import Relation
from logstream.store.check import check_store
from logstream.store.schema import create_tables
from logstream.testing.postgres import new_database

from .databases import postgres  # noqa: F401 - on the oldest and the newest PostgreSQL
from .test_store_contract import START, Export, events

LATIN = b"caf\xe9"


@pytest.fixture
def anything(postgres: str) -> Iterator[psycopg.Connection]:  # noqa: F811
    """A database in which texts are any bytes, with an empty log store of ours and room for a platform's tables."""
    with new_database(postgres, _of_any_bytes(postgres)) as dsn, furnished(dsn) as connection:
        yield connection


@functools.cache
def _of_any_bytes(postgres: str) -> str:  # noqa: F811
    """The name of such a database of a server that has the control schema: copied, it saves each test all migrations."""
    name = "of_any_bytes"
    with connect(postgres) as connection:
        connection.execute(f"create database {name} encoding 'SQL_ASCII' template template0 locale 'C'")
    open_control(make_conninfo(postgres, dbname=name)).dispose()
    return name


@contextmanager
def encoded(postgres: str, encoding: str) -> Iterator[psycopg.Connection]:  # noqa: F811
    """A database with an encoding, with an empty log store of ours and room for a platform's tables."""
    name = f"in_{encoding.lower()}"
    with connect(postgres) as connection:
        connection.execute(f"create database {name} encoding '{encoding}' template template0 locale 'C'")
    try:
        with furnished(make_conninfo(postgres, dbname=name)) as connection:
            yield connection
    finally:
        with connect(postgres) as connection:
            connection.execute(f"drop database {name} with (force)")


@contextmanager
def furnished(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection to a database that gets an empty log store of ours, and room for a platform's tables."""
    with connect(dsn) as connection:
        create_tables(connection)
        connection.execute("create schema app")
        connection.execute("insert into workspaces values (1, 'one'), (2, 'two')")
        yield connection


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


TEXTS = {
    "LATIN1": ("caf\u00e9 \u0081", None),
    "LATIN9": ("caf\u00e9 \u20ac", None),
    "WIN1252": ("caf\u00e9 \u20ac \u201c", b"\x81"),
    "WIN1253": ("\u039a\u03b1\u03bb\u03b7", b"\xaa"),
    "ISO_8859_7": ("\u039a\u03b1\u03bb\u03b7", b"\xae"),
    "KOI8R": ("\u041f\u0440\u0438\u0432\u0435\u0442", None),
    "WIN866": ("\u041f\u0440\u0438\u0432\u0435\u0442", None),
    "EUC_JP": ("\u65e5\u672c", b"\xa9\xa1"),
    "EUC_CN": ("\u4f60\u597d", b"\xaa\xa1"),
    "EUC_KR": ("\uc548\ub155", b"\xc9\xa1"),
}
"""A text of each encoding, and bytes that its servers take though they stand for no character."""


# both kinds of columns have a reader of their own: each encoding needs one of them
@pytest.mark.parametrize(
    ("encoding", "column"), [*zip(TEXTS, itertools.cycle(["json", "text"]), strict=False), ("WIN1252", "text")]
)
def test_texts_of_other_encodings_arrive_in_utf8_and_what_is_no_character_is_rejected_alone(
    postgres: str,  # noqa: F811
    database: str,
    tmp_path: Path,
    encoding: str,
    column: str,
) -> None:
    text, no_character = TEXTS[encoding]
    codec = {"WIN1252": "cp1252", "WIN1253": "cp1253", "WIN866": "cp866", "KOI8R": "koi8_r", "EUC_CN": "gb2312"}.get(
        encoding, encoding
    )
    with encoded(postgres, encoding) as store:
        events(store, "bigint", "text", "timestamptz", column)

        def put(number: int, body: bytes, kind: str) -> None:
            store.execute(
                f"insert into app.written values (%s, 1, %s, %s, %s, convert_from(%b::bytea, '{encoding}')::{column})",
                (number, kind, START, START, body),
            )

        for number, kind in enumerate(["job", "log_service", "user_activity"], 1):
            put(number, b'{"level": "warn", "a": "' + text.encode(codec) + b'"}', kind)
        put(4, rb'{"level": "warn", "b": "\u674e \ud800"}', "log_service")
        put(5, b'{"level": "info"}', "log_service")
        bad = {}
        if no_character is not None:
            put(6, b'{"level": "warn", "a": "' + no_character + b'"}', "log_service")
            bad = {6: (1, "log_service", f"its payload is not {encoding} (byte 24)")}
        put(7, b"{}", "x" * 60)  # of no kind: the reason has a character that few encodings have
        store.execute(
            "update workspaces set name = convert_from(%b::bytea, %s) where id = 1", (text.encode(codec), encoding)
        )
        admin = {"enabled": True, "events": ["job_details", "user_activity", "log_service"], "log_levels": ["warn"],
                 "destination": "d"}  # fmt: skip
        done = Export(store.info.dsn, tmp_path / "out", control=database, admin=admin)
        sent = {f'{{"level": "warn", "a": "{text}"}}'.encode(), rb'{"level": "warn", "b": "\u674e \ud800"}'}
        assert set(done.messages) == sent and len(done.messages) == 4
        assert done.rejected.pop(7)[1] == "unknown" and done.rejected == bad
        assert [report.state for report in done.reports] == [State.DELIVERED] and done.findings == []
        reader = PostgresStore(store.info.dsn)
        assert reader.workspaces()[0].name == text
        reader.close()


@pytest.mark.parametrize("encoding", [*TEXTS, "EUC_JIS_2004"])
def test_each_character_is_read_as_postgresql_reads_it(database: str, encoding: str) -> None:
    """All that its own table has: what the platform's people see is what arrives, circled digits and company signs too."""
    relation = Relation(1, "events", "r", encoding, {})
    places = range(0xA1, 0xFF)
    texts = [bytes((byte,)) for byte in range(0x80, 0x100)]
    if encoding.startswith("EUC_"):
        pairs = list(itertools.product(places, places))
        texts = [*map(bytes, pairs), *(bytes((0x8E, place)) for place in places)]
        texts += [bytes((0x8F, *pair)) for pair in pairs]
    with connect(database) as connection:
        connection.execute(
            "create function pg_temp.read(text bytea, encoding name) returns text language plpgsql as $$"
            " begin return convert_from(text, encoding); exception when others then return null; end $$"
        )
        query = "select text, pg_temp.read(text, %s) from unnest(%s::bytea[]) as text"
        found = {bytes(text): read for text, read in connection.execute(query, (encoding, texts)) if read is not None}
    assert len(found) > 80
    assert {text: (read.encode(), None) for text, read in found.items()} == {
        text: relation.utf8(text) for text in found
    }
    assert {text: relation.received(text) for text in found} == found


def test_settings_and_ledger_are_not_kept_where_characters_are_missing(postgres: str) -> None:  # noqa: F811
    """They would stop a window, with the first word of a receiver that the database cannot hold."""
    with (
        encoded(postgres, "LATIN1") as store,
        pytest.raises(DatabaseError, match=r"has the encoding LATIN1.*--control-dsn"),
    ):
        open_control(store.info.dsn)
