"""The log store: loading, counting and reading."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.errors import InputError
from logstream.events import EPOCH, Selection
from logstream.settings.models import LogStoreSettings
from logstream.settings.resolution import Workspace
from logstream.store import Cursor, Event, Filter, PostgresStore
from logstream.store.base import Page
from logstream.store.load import load_file
from logstream.store.schema import create_tables
from logstream.testing.events import EventMaker, workspace_line
from logstream.window import Window

from .databases import postgres  # noqa: F401 - on the oldest and the newest PostgreSQL

START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=5))
T = "2026-03-01T00:00:01Z"
ACME = {"workspace": {"id": 1, "external_id": "acme", "name": "Acme", "role": "customer"}}


def read(store: PostgresStore, *arguments: Any, **options: Any) -> Page:
    """All pages of a reading as one."""
    pages = list(store.read(*arguments, **options))
    return Page([event for page in pages for event in page.events], pages[-1].more)


def line(**changes: Any) -> dict[str, Any]:
    event = {"id": 7, "workspace_id": 1, "kind": "job", "occurred_at": T, "recorded_at": T, "payload": {"a": 1}}
    return {"event": {key: value for key, value in (event | changes).items() if value is not ...}}


def write(path: Path, *lines: object) -> Path:
    path.write_bytes(
        b"".join((item if isinstance(item, bytes) else json.dumps(item).encode()) + b"\n" for item in lines)
    )
    return path


def test_loads_and_keeps_every_byte(store: psycopg.Connection, tmp_path: Path) -> None:
    payload = (
        b'{"b" : 1.50,  "a": "\\ud800 \\u0000 \\t \xc3\xa9 \\\\", "big": 123456789012345678901234567890, "a": [ ] }'
    )
    nested = b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    event = b'{"event": {"id": %d, "workspace_id": 1, "kind": "job", "occurred_at": "2026-03-01T02:00:01+02:00", "payload": %b}}'
    file = write(tmp_path / "x.ndjson", event % (7, payload), b"", event % (8, nested), ACME)
    loaded = load_file(store, file)
    assert (loaded.workspaces, loaded.events) == (1, 2)
    rows = store.execute("select id, payload::text, occurred_at, recorded_at from events order by id").fetchall()
    assert [row[1].encode() for row in rows] == [payload, nested]
    assert rows[0][2] == datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC)
    # left out, it is stamped at insertion
    assert abs((rows[0][3] - datetime.now(UTC)).total_seconds()) < 60
    # plain INSERTs go on after what was loaded
    store.execute("insert into events (workspace_id, kind, occurred_at, payload) values (1, 'job', now(), '{}')")
    assert store.execute("select max(id) from events").fetchone() == (9,)


def test_a_workspace_may_be_loaded_again(store: psycopg.Connection, tmp_path: Path) -> None:
    load_file(store, write(tmp_path / "a", ACME))
    changed = {"workspace": {"id": 1, "external_id": None, "name": "Acme 2", "role": "admin"}}
    load_file(store, write(tmp_path / "b", ACME, changed))
    assert PostgresStore(store.info.dsn).workspaces() == [Workspace(1, None, "Acme 2", "admin")]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"{", "line 3: "),
        (b"[]", "line 3: "),
        (b'"x"', "line 3: "),
        (b"\xff\xfe", "line 3: "),
        ({}, 'line 3: expected {"workspace": ...} or {"event": ...}'),
        ({**ACME, **line()}, 'line 3: expected {"workspace": ...} or {"event": ...}'),
        ({"evnt": {}}, "line 3: Object contains unknown field `evnt`"),
        (line(kind="jobs"), "line 3: Invalid enum value 'jobs'"),
        (line(kind=...), "line 3: Object missing required field `kind`"),
        (line(id="7"), "line 3: Expected `int`, got `str`"),
        (line(id=2**63), "line 3: "),
        (line(id=7.5), "line 3: "),
        (line(occurred_at="2026-03-01"), "line 3: Invalid RFC3339"),
        (line(occurred_at="2026-03-01T00:00:00"), "line 3: Expected `datetime` with a timezone"),
        (line(recorded_at="soon"), "line 3: Invalid RFC3339"),
        (line(payload=...), "line 3: Object missing required field `payload`"),
        (line(colour="red"), "line 3: Object contains unknown field `colour`"),
        (line(id=3), "line 3: event 3 is in the file twice"),
        (line(id=1), "line 3: event 1 is already in the log store"),
        (line(workspace_id=99), "line 3: there is no workspace 99"),
        ({"workspace": {"id": 4, "role": "owner"}}, "line 3: Invalid enum value 'owner'"),
        ({"workspace": {"id": 4, "name": "a\x00b"}}, "line 3: workspace.name holds a NUL"),
        (b'{"event": {"id": 5, "workspace_id": 1, "kind": "job", "occurred_at": "2026-03-01T00:00:01Z", "payload": {"a": "\xff"}}}', "line 3: invalid byte sequence"),
        (b'{"event": {"id": 5, "workspace_id": 1, "kind": "job", "occurred_at": "2026-03-01T00:00:01Z", "payload": {"a": tru}}}', "line 3: "),
        (b'{"event": {"id": 5, "workspace_id": 1, "kind": "job", "occurred_at": "2026-03-01T00:00:01Z", "payload": {"a": "\\ud800", "b": tru}}}', "line 3: "),
        (b'{"event": {"id": 5, "workspace_id": 1, "kind": "job", "occurred_at": "2026-03-01T00:00:01Z", "payload": {"x": %b}}}' % (b"[" * 100_000 + b"]" * 100_000), "line 3: stack depth limit exceeded"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_and_nothing_is_kept(
    store: psycopg.Connection, tmp_path: Path, bad: object, reason: str
) -> None:
    load_file(store, write(tmp_path / "before", ACME, line(id=1)))
    file = write(tmp_path / "x.ndjson", {"workspace": {"id": 2}}, line(id=3), bad, line(id=4))
    with pytest.raises(InputError) as caught:
        load_file(store, file)
    assert str(caught.value).startswith(f"{file}: {reason}"), str(caught.value)
    assert store.execute("select count(*) from events").fetchone() == (1,)
    assert store.execute("select count(*) from workspaces").fetchone() == (1,)


def test_tables_are_made_once(store: psycopg.Connection) -> None:
    store.execute("insert into workspaces values (1, 'x', 'y')")
    create_tables(store)
    assert store.execute("select * from workspaces").fetchone() == (1, "x", "y", "customer")


@pytest.fixture
def filled(store: psycopg.Connection, tmp_path: Path) -> tuple[PostgresStore, list[dict[str, Any]]]:
    workspaces = [Workspace(number) for number in range(1, 8)]
    lines = list(EventMaker(workspaces).lines(600, START, timedelta(minutes=6)))
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join([*map(workspace_line, workspaces), *lines]) + "\n")
    load_file(store, file)
    # hostile log events: SQL cannot look into these, and must not stumble over them
    for number, text in enumerate(
        ('{"log_type": "recipe", "level": "warn", "x": "\\u0000"}', '{"level": "\\ud800"}', '"\\u0000"', "[]")
    ):
        store.execute(
            "insert into events values (%s, 1, 'log_service', %s, %s, %s)",
            (900 + number, START, START + timedelta(seconds=9), text),
        )
    rows = store.execute(
        "select id, workspace_id, kind, recorded_at, payload::text from events where recorded_at >= %s and recorded_at < %s"
        " order by recorded_at, id",
        (WINDOW.start, WINDOW.end),
    )
    names = ("id", "workspace_id", "kind", "recorded_at", "payload")
    return PostgresStore(store.info.dsn), [dict(zip(names, row, strict=True)) for row in rows]


SELECTIONS = [
    Selection.of(["job_status"]),
    Selection.of(["user_activity", "api_platform"]),
    Selection.of(["job_details", "user_activity", "api_platform", "log_service"]),
    Selection.of(["log_service"], ["recipe"], ["warn", "ERROR"]),
    Selection.of(["job_status", "log_service"], [], ["warn"]),
    Selection.of(["log_service"], ["connector"]),
]


def taken(selection: Selection, row: dict[str, Any]) -> bool:
    document = json.loads(row["payload"])
    fields = document if isinstance(document, dict) else {}
    return selection.matches(row["kind"], fields.get("log_type"), fields.get("level"))


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("limit", [7, 1_000])
def test_reading_and_counting_agree_with_the_rule(
    filled: tuple[PostgresStore, list[dict[str, Any]]], selection: Selection, limit: int
) -> None:
    from logstream.shapes import log_fields

    store, rows = filled
    workspaces = [1, 3, 5]
    found: list[Event] = []
    more, after = True, None
    while more:
        page = read(store, WINDOW, [Filter.of(selection, workspaces)], after, max_events=limit, max_bytes=10**9)
        found += page.events
        more, after = page.more, Cursor(page.events[-1].recorded_us, page.events[-1].id) if page.events else after
    found = [event for event in found if selection.matches(event.kind, *log_fields(event.payload))]
    wanted = [row for row in rows if row["workspace_id"] in workspaces and taken(selection, row)]
    assert [event.id for event in found] == [row["id"] for row in wanted]
    assert [event.payload.decode() for event in found] == [row["payload"] for row in wanted]
    assert [event.recorded_us for event in found] == [
        round((row["recorded_at"] - EPOCH).total_seconds() * 1e6) for row in wanted
    ]
    counts = store.count(WINDOW, by_log_type=selection.filters_logs)
    total = sum(
        c.events for c in counts if c.workspace_id in workspaces and selection.matches(c.kind, c.log_type, c.log_level)
    )
    assert total == len(wanted)
    store.close()


def test_reading_stops_when_bytes_are_full(filled: tuple[PostgresStore, list[dict[str, Any]]]) -> None:
    store, rows = filled
    everything = [Filter.of(SELECTIONS[2], list(range(1, 8)))]
    page = read(store, WINDOW, everything, None, max_events=1_000, max_bytes=1)
    assert len(page.events) == 1 and page.more
    found, after, more = [], None, True
    while more:
        page = read(store, WINDOW, everything, after, max_events=1_000, max_bytes=5_000)
        assert sum(len(event.payload) for event in page.events[:-1]) < 5_000
        found += [event.id for event in page.events]
        after, more = Cursor(page.events[-1].recorded_us, page.events[-1].id), page.more
    assert found == [row["id"] for row in rows]
    store.close()


def test_a_view_of_the_platforms_own(store: psycopg.Connection) -> None:
    store.execute("insert into workspaces values (1)")
    store.execute("create schema app")
    store.execute(
        "create table app.audit (nr bigint, tenant bigint, at timestamptz default clock_timestamp(), body jsonb)"
    )
    store.execute(
        "create view app.events as select nr as id, tenant as workspace_id, 'user_activity' as kind, at as occurred_at,"
        " at as recorded_at, body::json as payload from app.audit"
    )
    store.execute("insert into app.audit values (5, 1, '2026-03-01T00:00:01Z', '{\"a\": 1}')")
    view = PostgresStore(store.info.dsn, LogStoreSettings(events="app.events", written_tables=("app.audit",)))
    assert [count.events for count in view.count(WINDOW, by_log_type=False)] == [1]
    page = read(view, WINDOW, [Filter.of(SELECTIONS[1], [1])], None, max_events=9, max_bytes=99)
    assert [(event.id, event.payload) for event in page.events] == [(5, b'{"a": 1}')]
    closing, connection = view.closed_window(WINDOW)
    assert closing.look()
    with psycopg.connect(store.info.dsn) as writer:
        writer.execute("insert into app.audit values (6, 1, clock_timestamp(), '{}')")
        later, other = view.closed_window(WINDOW)
        assert not later.look()
        writer.rollback()
        assert later.look()
    connection.close()
    other.close()
    view.close()


def test_tables_made_before_genie_conversations_take_them_after_init(store: psycopg.Connection) -> None:
    store.execute("alter table events drop constraint events_kind_check")
    store.execute(
        "alter table events add constraint events_kind_check"
        " check (kind in ('job', 'user_activity', 'api_platform', 'log_service'))"
    )
    store.execute("insert into workspaces (id) values (1)")
    insert = "insert into events (workspace_id, kind, occurred_at, payload) values (1, %s, now(), '{}')"
    with pytest.raises(psycopg.errors.CheckViolation):
        store.execute(insert, ("genie",))
    create_tables(store)
    create_tables(store)
    store.execute(insert, ("genie",))
    with pytest.raises(psycopg.errors.CheckViolation):
        store.execute(insert, ("no such kind",))


@pytest.mark.parametrize("triggers", [False, True])
def test_loading_spares_what_it_has_checked_and_no_trigger_of_others(
    store: psycopg.Connection, tmp_path: Path, triggers: bool
) -> None:
    """Of a superuser the database need not look for each event's workspace again: unless somebody's own trigger is to be called."""
    store.execute("create table seen (role text)")
    store.execute("create function see() returns trigger language plpgsql as $$"
                  " begin insert into seen select current_setting('session_replication_role'); return new; end $$")  # fmt: skip
    store.execute("create trigger see before insert on events for each row execute function see()")
    # one that is called whatever the role, and is none of `tgisinternal`, is what tells here how the load was made
    store.execute("alter table events enable always trigger see")
    if not triggers:
        store.execute("update pg_trigger set tgisinternal = true where tgname = 'see'")
    load_file(store, write(tmp_path / "some.ndjson", ACME, line(id=1)))
    assert store.execute("select role from seen").fetchall() == [("origin" if triggers else "replica",)]
    assert store.execute("show session_replication_role").fetchone() == ("origin",)
