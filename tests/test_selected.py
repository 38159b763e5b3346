"""Which log events are selected: one rule in Python, which counting and reading both follow; SQL only narrows."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from logstream.database import connect
from logstream.events import Selection
from logstream.export.exporter import Exporter
from logstream.ledger.records import State
from logstream.settings.models import LogStoreSettings
from logstream.shapes import log_fields
from logstream.store import Filter, PostgresStore
from logstream.store.logs import may_hold
from logstream.store.schema import create_tables
from logstream.validation import validate_settings
from logstream.verify.verifier import verify
from logstream.window import Window

from .databases import postgres  # noqa: F401 - on the oldest and the newest PostgreSQL

START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=5))

# Words as people write them in settings, and values as platforms write them in events.
WORDS = ["warn", "WARN", "30", "30.0", "-1", "true", "null", "recipe", "user_activity", "ok", "100%", "a/b", 'q"', "\\u",
         "straße", "STRASSE", "İ", "i̇", "Kelvin", "[]", "{}", "", "wa rn"]  # fmt: skip
SCALARS = ["30", "30.0", "3e1", "-1", "-0", "0.1", "1E400", "true", "false", "null", '"30"', '"true"', '""']


def escaped(word: str) -> st.SearchStrategy[str]:
    """A word as JSON may write it: each character as it is, or as an escape."""

    def one(character: str) -> st.SearchStrategy[str]:
        plain = json.dumps(character, ensure_ascii=False)[1:-1]
        written = [f"\\u{ord(character):04x}", f"\\u{ord(character):04X}"] if ord(character) < 0x10000 else []
        return st.sampled_from([plain, plain, plain, *written, *(["\\/"] if character == "/" else [])])

    return st.tuples(*map(one, word)).map(lambda parts: '"' + "".join(parts) + '"')


cased = st.sampled_from(WORDS).flatmap(
    lambda word: st.sampled_from([word, word.upper(), word.lower(), word.replace("k", "\u212a").replace("K", "\u212a")])
)
scalars = st.one_of(
    st.sampled_from(SCALARS),
    cased.flatmap(escaped),
    st.sampled_from(['"\\ud800"', '"warn\\ud800"', '"\\u0000"', '"war\\u212a"']),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda items: "[" + ", ".join(items) + "]"),
        inner.map(lambda item: '{"level": ' + item + ', "log_type": ' + item + "}"),
    ),
    max_leaves=3,
)
keys = st.sampled_from(['"level"', '"log_type"', '"l\\u0065vel"', '"Level"', '"message"', '"level "'])
objects = st.lists(st.tuples(keys, values), max_size=5).map(
    lambda members: "{" + " , ".join(f"{key} :{value}" for key, value in members) + "}"
)
payloads = st.one_of(objects, values)


def reference(payload: str) -> tuple[str | None, str | None]:
    """The fields by the standard library: the rule, written once more in another way."""
    document = json.loads(payload, parse_int=_Written, parse_float=_Written, strict=False)
    if not isinstance(document, dict):
        return None, None
    found = []
    for name in ("log_type", "level"):
        value = document.get(name)
        found.append(
            str(value) if isinstance(value, str) else ("false", "true")[value] if isinstance(value, bool) else None
        )
    return found[0], found[1]


class _Written(str):
    """A number as it is written."""


@given(payloads)
@example('{"level": {"a": 1}, "level": "warn"}')
@example('{"level": "warn", "level": {"a": "warn"}}')
@example('{"x": "\\ud800", "level": "a", "level": [1]}')
@example('{"level": 30, "x": ' + "[" * 3_000 + "]" * 3_000 + "}")
def test_the_rule(payload: str) -> None:
    if "[[[" in payload:
        assert log_fields(payload.encode()) == (None, "30")
    else:
        assert log_fields(payload.encode()) == reference(payload)


@pytest.fixture(scope="module")
def window(postgres: str) -> Any:  # noqa: F811
    """A log store for the whole module, of which each example fills a window anew: as `json`, `jsonb` and text."""
    with connect(postgres) as connection:
        connection.execute("create database selected")
    dsn = psycopg.conninfo.make_conninfo(postgres, dbname="selected")
    with connect(dsn) as connection:
        create_tables(connection)
        connection.execute("insert into workspaces values (1)")
        for name, type_ in (("as_jsonb", "jsonb"), ("as_text", "text")):
            connection.execute(f"create table {name} (like events)")
            connection.execute(f"alter table {name} alter payload type {type_} using payload::{type_}")
        yield connection, dsn
    with connect(postgres) as connection:
        connection.execute("drop database selected with (force)")


def fill(connection: psycopg.Connection, table: str, texts: list[str]) -> list[str]:
    """Put payloads into the window; return those that the column's type takes."""
    connection.execute(sql.SQL("truncate {}").format(sql.Identifier(table)))
    kept = []
    for number, text in enumerate(texts):
        moment = START + timedelta(seconds=number)
        try:
            connection.execute(
                sql.SQL("insert into {} values (%s, 1, 'log_service', %s, %s, %s)").format(sql.Identifier(table)),
                (number, moment, moment, text),
            )
        except psycopg.DataError:  # jsonb has no \u0000, lone surrogates or endless numbers
            continue
        kept.append(text)
    return kept


TABLES = ["events", "as_jsonb", "as_text"]


@settings(max_examples=150)
@given(
    st.sampled_from(TABLES), st.lists(payloads, max_size=6), st.lists(cased, max_size=2), st.lists(cased, max_size=2)
)
@example("events", ['{"level": 30}'], [], ["30"])
@example("as_jsonb", ['{"level": 3e1}', '{"level": true, "log_type": false}'], ["false"], ["TRUE"])
@example("events", ['{"level": "\u212aelvin"}'], [], ["kelvin"])
@example("events", ['{"level": "WARN", "x": "\\u0000"}'], [], ["warn"])
@example("as_text", ['{"level": "warn", "x": "\\ud800"}'], [], ["warn"])
def test_counting_reading_and_the_rule_agree(
    window: tuple[psycopg.Connection, str], table: str, texts: list[str], types: list[str], levels: list[str]
) -> None:
    connection, dsn = window
    fill(connection, table, texts)
    selection = Selection.of(["log_service"], types, levels)
    store = PostgresStore(dsn, LogStoreSettings(events=table))
    pages = list(store.read(WINDOW, [Filter.of(selection, [1])], None, max_events=100, max_bytes=10**6))
    found = [event.payload for page in pages for event in page.events]
    assert not any(page.bad for page in pages)
    counts = store.count(WINDOW, by_log_type=selection.filters_logs)
    store.close()
    rows = connection.execute(sql.SQL("select payload::text from {} order by id").format(sql.Identifier(table)))
    wanted = [text.encode() for (text,) in rows if selection.matches("log_service", *log_fields(text.encode()))]
    # SQL lets through a superset, in order; the rule takes the wanted ones of it, and counting agrees
    assert [payload for payload in found if selection.matches("log_service", *log_fields(payload))] == wanted
    assert sum(count.events for count in counts if count.streamed_by(selection)) == len(wanted)


@pytest.mark.parametrize(
    ("words", "dropped", "let_through"),
    [
        (["warn"], ['{"level": "info"}', '{"level": "warning"}', '{"warn": 1}'.replace("warn", "warned")], ['{"level": "WARN"}', '{"x": "\\u0041"}']),
        (["30"], ['{"level": 20}', "{}"], ['{"level": 30}', '{"level": "30"}', '{"x": 1300}']),
        (["100%"], ['{"level": "10"}'], ['{"level": "100%"}']),
        (["a/b"], [], ['{"level": "a\\/b"}', '{"level": "info"}']),
    ],
)  # fmt: skip
def test_sql_narrows(store: psycopg.Connection, words: list[str], dropped: list[str], let_through: list[str]) -> None:
    """What SQL can leave out it does leave out: a filter that lets everything through would be right, and slow."""
    condition = may_hold("e.payload::text", words)
    for texts, wanted in ((dropped, False), (let_through, True)):
        for text in texts:
            query = sql.SQL("select {} from (select {}::json as payload) as e").format(condition, sql.Literal(text))
            assert store.execute(query).fetchone() == (wanted,), text


def test_a_window_with_numbers_for_levels_completes(store: psycopg.Connection, tmp_path: Path) -> None:
    store.execute("insert into workspaces values (1)")
    levels = Counter({"30": 5, '"30"': 4, '"warn"': 3, "null": 2, "[30]": 2, "true": 1, "30.5": 1})
    for number, level in enumerate(levels.elements()):
        store.execute(
            "insert into events values (%s, 1, 'log_service', %s, %s, %s)",
            (number, START, START, f'{{"level": {level}}}'),
        )
    document = {
        "admin": {"enabled": True, "events": ["log_service"], "log_levels": ["30", "Warn"], "destination": "d"},
        "destinations": {"d": {"type": "file", "path": str(tmp_path / "out"), "packaging": "batch"}},
    }
    with Exporter(store.info.dsn, store.info.dsn, None) as exporter:  # type: ignore[arg-type]
        exporter.settings.apply(validate_settings(document))
        planned = exporter.plan(WINDOW)
        exporter.deliver([key for share in planned.shares for key in share.lanes])
        (report,) = exporter.seal(planned.delivery_ids)
        assert (report.state, report.events) == (State.DELIVERED, 12)
        assert verify(exporter, WINDOW).findings == []
