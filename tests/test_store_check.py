"""`logstream store check`, and the same looks when settings are applied."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import yaml

from .conftest import Cli, one_error_line
from .databases import postgres  # noqa: F401 - on the oldest and the newest PostgreSQL

T = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def database(empty_database: str) -> str:
    """What is looked at has nothing in it that a test did not put there."""
    return empty_database


def lines(text: str) -> dict[str, str]:
    """Step to its mark, of what the command printed."""
    return {line[5:].split(": ")[0]: line[:4].strip() for line in text.splitlines()}


def test_our_own_tables_are_as_they_must_be(cli: Cli, store: psycopg.Connection) -> None:
    for filled in (False, True):
        if filled:
            store.execute("insert into workspaces values (1)")
            store.execute(
                "insert into events (workspace_id, kind, occurred_at, payload) values (1, 'job', now(), '{}')"
            )
        done = cli("store", "check", "--dsn", store.info.dsn)
        assert done.returncode == 0, done.stdout + done.stderr
        assert set(lines(done.stdout).values()) == {"ok"}, done.stdout
        for words in ("events.payload is json, jsonb or text: yes (json)", "workspaces.role is text",
                      "it is known whose writers close windows: yes (public.events)", "(workspace_id, recorded_at, id)"):  # fmt: skip
            assert words in done.stdout
    # it makes nothing: settings and ledger are not there yet
    assert store.execute("select to_regnamespace('logstream')").fetchone() == (None,)


def platform(store: psycopg.Connection, columns: str) -> None:
    store.execute(f"create schema app; create table app.audit ({columns})")
    store.execute("create view app.events as select * from app.audit")


LOOSE = (
    "id bigint, workspace_id bigint, kind text, occurred_at timestamptz, recorded_at timestamptz default clock_timestamp(),"
    " payload text"
)
ROW = "insert into app.audit values (7, 1, 'job', now(), now(), '{}')"

WRONG = {
    # what is wrong: how the platform's table is, and what it is told
    "a type": (LOOSE.replace("payload text", "payload bytea"), "", "FAIL", "events.payload is json, jsonb or text: no (bytea)"),
    "a column": (LOOSE.replace("kind text", "sort text"), "", "FAIL", "events.kind is text: no (there is no such column)"),
    "a time without a zone": (LOOSE.replace("occurred_at timestamptz", "occurred_at timestamp"), "", "FAIL", "events.occurred_at is timestamp with time zone: no"),
    "a row that is no event": (LOOSE, "insert into app.audit values (9, 1, 'job', now(), now(), '{')", "FAIL", "1 of 2 are not, for example event 9: its payload is not JSON"),
    "a row without an id": (LOOSE, "insert into app.audit values (null, 1, 'job', now(), now(), '{}')", "FAIL", "some have no id"),
    "a row without recorded_at": (LOOSE, "insert into app.audit values (9, 1, 'job', now(), null, '{}')", "FAIL", "every event has a recorded_at: no (event 9)"),
    "a row at infinity": (LOOSE, "insert into app.audit values (9, 1, 'job', now(), 'infinity', '{}')", "FAIL", "every event has a recorded_at: no (event 9)"),
    "a row in the future": (LOOSE, "insert into app.audit values (9, 1, 'job', now(), now() + interval '9 days', '{}')", "FAIL", "no recorded_at is in the future: no (event 9)"),
    "an id twice": (LOOSE, ROW, "FAIL", "their ids are unique: no (7 is there 2 times)"),
    "stamps of a transaction's begin": (LOOSE.replace("clock_timestamp()", "now()"), "", "FAIL", "alter table app.audit alter recorded_at set default clock_timestamp()"),
    "no stamps": (LOOSE.replace("default clock_timestamp()", ""), "", "note", "app.audit.recorded_at is stamped at insertion: no (it has no default)"),
    "no index": (LOOSE, "", "note", "an index has the order of windows: no. create index"),
    "a view that hides its tables": (LOOSE, "create function app.f() returns setof app.audit language sql as 'select * from app.audit';"
        "create or replace view app.events as select * from app.f()", "FAIL", "it calls app.f(), which may read tables"),
    "no view": (LOOSE, "drop view app.events", "FAIL", 'events are there: no (the log store has no table or view "app.events"'),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_told(cli: Cli, store: psycopg.Connection, tmp_path: Path, wrong: str) -> None:
    columns, more, mark, words = WRONG[wrong]
    document = {"log_store": {"events": "app.events"}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(document))
    platform(store, LOOSE)
    assert cli("settings", "apply", "--dsn", store.info.dsn, "s.yaml").returncode == 0
    store.execute("drop view app.events; drop table app.audit; drop schema app")
    platform(store, columns)
    if "bytea" not in columns:
        store.execute(ROW)
    if more:
        store.execute(more)
    done = cli("store", "check", "--dsn", store.info.dsn)
    found = [line for line in done.stdout.splitlines() if words in line]
    assert found and found[0].startswith(mark), done.stdout
    assert done.returncode == (1 if mark == "FAIL" else 0), done.stdout
    assert "{" not in done.stdout.replace('{"', "")  # nothing of what events hold


def test_settings_are_refused_for_a_log_store_that_cannot_be_read(
    cli: Cli, store: psycopg.Connection, tmp_path: Path
) -> None:
    assert cli("settings", "apply", "--dsn", store.info.dsn, write(tmp_path, {})).returncode == 0
    before = cli("settings", "show", "--dsn", store.info.dsn).stdout
    platform(store, LOOSE.replace("id bigint", "id uuid", 1))
    for log_store, words in (
        ({"events": "app.events"}, "events.id is an integer: no (uuid)"),
        ({"events": "app.nowhere"}, 'no table or view "app.nowhere"'),
        ({"workspaces": "app.events"}, "workspaces.id is an integer: no (uuid)"),
        ({"written_tables": ["app.events"]}, "app.events of `log_store.written_tables` is a view"),
    ):
        done = cli("settings", "apply", "--dsn", store.info.dsn, write(tmp_path, {"log_store": log_store}))
        assert words in one_error_line(done)
    assert cli("settings", "show", "--dsn", store.info.dsn).stdout == before


def test_settings_are_applied_before_the_log_store_is_there(cli: Cli, database: str, tmp_path: Path) -> None:
    done = cli("settings", "apply", "--dsn", database, write(tmp_path, {}))
    assert done.returncode == 0 and "could not be looked at" in done.stderr and "store init" in done.stderr
    away = cli(
        "settings", "apply", "--dsn", "postgresql://127.0.0.1:9/x", "--control-dsn", database, write(tmp_path, {})
    )
    assert away.returncode == 0 and "cannot connect" in away.stderr
    assert one_error_line(cli("store", "check", "--dsn", "postgresql://127.0.0.1:9/x", "--control-dsn", database))
    missing = cli("store", "check", "--dsn", database)
    assert missing.returncode == 1 and "run `logstream store init`" in missing.stdout


def test_rights_and_policies(cli: Cli, store: psycopg.Connection) -> None:
    store.execute("drop role if exists reader; create role reader login")
    try:
        dsn = psycopg.conninfo.make_conninfo(store.info.dsn, user="reader")
        done = cli("store", "check", "--dsn", dsn)
        assert (
            done.returncode == 1
            and "events may be read, all rows of them: no. grant select on public.events" in done.stdout
        )
        store.execute("grant select on events, workspaces to reader")
        assert cli("store", "check", "--dsn", dsn).returncode == 0
        store.execute("alter table events enable row level security")
        done = cli("store", "check", "--dsn", dsn)
        assert done.returncode == 1 and "row-level security is active for this user" in done.stdout
    finally:
        store.execute("drop owned by reader; drop role reader")


def write(folder: Path, document: object) -> Path:
    path = folder / "settings.yaml"
    path.write_text(json.dumps(document))
    return path
