"""PgBouncer in front of the databases, as Debian configures it: every command works, and leaves no trace in the pool."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from logstream.database import connect
from logstream.events import Selection
from logstream.settings.resolution import Workspace
from logstream.store import Cursor, Filter, PostgresStore
from logstream.testing.events import EventMaker, workspace_line
from logstream.window import Window

from .conftest import Cli
from .databases import pgbouncer

START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=5))
EVERYTHING = ["job_details", "user_activity", "api_platform", "log_service"]
WORKSPACES = [Workspace(100 + number) for number in range(5)]
FOLLOWED = {"TimeZone", "DateStyle", "client_encoding", "application_name", "standard_conforming_strings"}


@pytest.fixture(scope="module", params=["session", "transaction"])
def pooler(postgres: str, request: pytest.FixtureRequest) -> Iterator[str]:
    with pgbouncer(postgres, request.param) as dsn:
        yield dsn


@pytest.fixture
def pooled(pooler: str, database: str) -> Iterator[str]:
    """A new database through the pooler. Beside us another client uses the same pool, with other ideas of times."""
    dsn = make_conninfo(pooler, dbname=str(conninfo_to_dict(database)["dbname"]))
    stop = threading.Event()
    failures: list[BaseException] = []

    def other() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
                while not stop.is_set():
                    connection.execute(
                        "set timezone = 'Asia/Kathmandu'; set datestyle = 'SQL, DMY'; set standard_conforming_strings = off"
                    )
                    connection.execute("begin; select pg_sleep(0.002); commit")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=other) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield dsn
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_every_command_works(cli: Cli, pooled: str, tmp_path: Path) -> None:
    lines = EventMaker(WORKSPACES).lines(800, START, timedelta(minutes=5))
    (tmp_path / "e.ndjson").write_text("\n".join([*map(workspace_line, WORKSPACES), *lines]) + "\n")
    admin = {"enabled": True, "events": EVERYTHING, "log_levels": ["warn", "error"], "destination": "d"}
    destination = {"type": "file", "path": str(tmp_path / "out"), "packaging": "batch"}
    document = {"admin": admin, "destinations": {"d": destination}}
    (tmp_path / "s.yaml").write_text(json.dumps(document))
    window = ("--from", WINDOW.start.isoformat(), "--to", WINDOW.end.isoformat())
    for words in (
        ["store", "init"], ["store", "load", "e.ndjson"], ["store", "check"], ["settings", "apply", "s.yaml"],
        ["settings", "show"], ["routes"], ["export", *window], ["export", *window], ["verify", *window], ["owed"],
        ["rejected"], ["redeliver"], ["prune", "--before", WINDOW.end.isoformat()],
    ):  # fmt: skip
        done = cli(*words, "--dsn", pooled)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    messages = [line for file in (tmp_path / "out").rglob("*.ndjson") for line in file.read_bytes().splitlines()]
    with connect(pooled) as connection:
        (wanted,) = connection.execute(
            "select count(*) from events where kind in ('job', 'user_activity', 'api_platform')"
            " or kind = 'log_service' and payload ->> 'level' in ('warn', 'error')"
        ).fetchone()  # type: ignore[misc]
    assert len(messages) == wanted > 500


def test_nothing_stays_with_the_pools_connections(pooled: str) -> None:
    with connect(pooled) as connection:
        from logstream.store.schema import create_tables

        create_tables(connection)
        connection.execute("insert into workspaces values (1)")
        connection.execute(
            "insert into events select g, 1, 'job', '2026-03-01Z', '2026-03-01Z', '{}' from generate_series(1, 50) as g"
        )
    store = PostgresStore(pooled)
    seen: set[int] = set()
    after: Cursor | None = None
    for _ in range(10):
        pages = list(
            store.read(WINDOW, [Filter.of(Selection.of(EVERYTHING), [1])], after, max_events=5, max_bytes=10**6)
        )
        seen.update(event.id for page in pages for event in page.events)
        after = pages[0].last
        store.count(WINDOW, by_log_type=True)
        store.workspaces()
    store.close()
    assert seen == set(range(1, 51))
    clients = [psycopg.connect(pooled, prepare_threshold=None) for _ in range(8)]
    try:
        servers: dict[int, Any] = {}
        for client in clients:  # each holds a server connection until it commits
            (pid,) = client.execute("select pg_backend_pid()").fetchone()  # type: ignore[misc]
            changed = client.execute("select name from pg_settings where source = 'session'").fetchall()
            prepared = client.execute("select statement from pg_prepared_statements").fetchall()
            servers[pid] = {name for (name,) in changed} - FOLLOWED, prepared
        assert len(servers) == len(clients) and set(map(str, servers.values())) == {str((set(), []))}
    finally:
        for client in clients:
            client.close()


def test_a_window_closes_behind_a_pooler(pooled: str) -> None:
    with connect(pooled) as connection:
        from logstream.store.schema import create_tables

        create_tables(connection)
        connection.execute("insert into workspaces values (1)")
    store = PostgresStore(pooled)
    with psycopg.connect(pooled, prepare_threshold=None) as writer:
        writer.execute("insert into events (workspace_id, kind, occurred_at, payload) values (1, 'job', now(), '{}')")
        now = store.now()
        closing, looking = store.closed_window(Window(now - timedelta(minutes=1), now))
        for _ in range(8):  # more often than psycopg waits before it prepares a statement
            assert not closing.look()
        assert "process" in str(closing.waiting[0])
        writer.commit()
        assert closing.look()
        looking.close()
    store.close()
