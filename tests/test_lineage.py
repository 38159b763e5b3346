"""Views: the tables behind them are found, and a window is open while any of them is written to."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from logstream.errors import DatabaseError
from logstream.settings.models import LogStoreSettings
from logstream.store import PostgresStore
from logstream.store.lineage import sources
from logstream.window import Window

from .databases import postgres  # noqa: F401 - on the oldest and the newest PostgreSQL

VIEW = (
    "select id, workspace_id, 'job'::text as kind, occurred_at, recorded_at, payload from {} as t where id is not null"
)

# How `app.events` is made, and a row of it is written, beside `app.one`, `app.two` and the partitioned `app.parts`.
FOUND = {
    "a view": (f"create view app.events as {VIEW.format('app.one')}", ["app.one"]),
    "a view of a view of a view": (
        f"create view app.a as {VIEW.format('app.one')}; create view app.b as select * from app.a;"
        "create view app.events as select * from app.b",
        ["app.one"],
    ),
    "a union": (
        f"create view app.events as {VIEW.format('app.one')} union all {VIEW.format('app.two')}",
        ["app.one", "app.two"],
    ),
    "a subquery in a CTE": (
        f"create view app.events as with x as ({VIEW.format('app.one')}) select * from x"
        " where exists (select from app.two) or true",
        ["app.one", "app.two"],
    ),
    "partitions": (f"create view app.events as {VIEW.format('app.parts')}", ["app.parts"]),
    "one partition": (f"create view app.events as {VIEW.format('app.part_1')}", ["app.part_1"]),
    "names with capitals": (
        'create table app."One" (like app.one including all);'
        f"create view app.events as {VIEW.format('app.' + chr(34) + 'One' + chr(34))}",
        ['app."One"'],
    ),
    "an immutable function": (
        "create function app.masked(json) returns json immutable language sql as 'select $1';"
        "create view app.events as select id, workspace_id, 'job'::text as kind, occurred_at, recorded_at,"
        " app.masked(payload) as payload from app.one",
        ["app.one"],
    ),
    "a table": ("create table app.events (like app.one including all)", ["app.events"]),
    "a partitioned table": (
        "create table app.events (like app.one including all) partition by range (id);"
        "create table app.events_1 partition of app.events default",
        ["app.events"],
    ),
    "inheritance": (
        "create table app.events (like app.one including all); create table app.child () inherits (app.events)",
        ["app.events"],
    ),
}

# Where rows are written in each of them, that the view shows.
WRITTEN = {
    "a subquery in a CTE": "app.two",
    "a union": "app.two",
    "partitions": "app.part_1",
    "one partition": "app.parts",
    "a partitioned table": "app.events_1",
    "inheritance": "app.child",
}


@pytest.fixture
def platform(store: psycopg.Connection) -> psycopg.Connection:
    store.execute(
        "create schema app;"
        "create table app.one (id bigint, workspace_id bigint, occurred_at timestamptz default clock_timestamp(),"
        " recorded_at timestamptz not null default clock_timestamp(), payload json,"
        " kind text default 'job');"
        "create table app.two (like app.one including all);"
        "create table app.parts (like app.one including all) partition by range (id);"
        "create table app.part_1 partition of app.parts for values from (0) to (100);"
    )
    return store


def ended(store: psycopg.Connection) -> Window:
    """A window that has just ended."""
    (now,) = store.execute("select clock_timestamp()").fetchone()  # type: ignore[misc]
    return Window(now - timedelta(minutes=5), now)


@pytest.mark.parametrize("case", FOUND)
def test_a_window_is_open_while_a_table_behind_it_is_written_to(platform: psycopg.Connection, case: str) -> None:
    made, tables = FOUND[case]
    platform.execute(made)
    assert list(sources(platform, "app.events").tables) == tables
    view = PostgresStore(platform.info.dsn, LogStoreSettings(events="app.events"))
    table = WRITTEN.get(case, tables[0])
    with psycopg.connect(platform.info.dsn) as writer:
        writer.execute(f"insert into {table} (id, workspace_id, payload) values (1, 1, '{{}}')")
        closing, connection = view.closed_window(ended(platform))
        with connection:
            assert not closing.look() and closing.past
            # after the first commit nothing more can come, and the row is there
            writer.commit()
            assert closing.look()
    view.close()


REFUSED = {
    "a function that reads a table": (
        "create function app.rows() returns setof app.one stable language sql as 'select * from app.one';"
        f"create view app.events as {VIEW.format('app.rows()')}",
        "calls app.rows()",
    ),
    "a function deep below, beside a table": (
        "create function app.extra(bigint) returns bigint volatile language plpgsql as"
        " 'begin return (select count(*) from app.two); end';"
        f"create view app.a as {VIEW.format('app.one')}; create view app.events as select a.* from app.a where app.extra(id) = 0",
        "calls app.extra(bigint)",
    ),
    "an operator of such a function": (
        "create function app.same(bigint, text) returns boolean stable language sql as 'select exists (select from app.two)';"
        "create operator app.=== (leftarg = bigint, rightarg = text, function = app.same);"
        f"create view app.events as {VIEW.format('app.one')} and id operator(app.===) 'x'::text",
        "calls app.same(bigint,text)",
    ),
    "no table": (
        "create view app.events as select 1::bigint as id, 1::bigint as workspace_id, 'job'::text as kind,"
        " now() as occurred_at, now() as recorded_at, '{}'::json as payload",
        "there is no table behind the view",
    ),
    "a materialized view below": (
        f"create materialized view app.m as {VIEW.format('app.one')}; create view app.events as select * from app.m",
        "app.m is a materialized view",
    ),
    "a foreign table below": (
        "create foreign data wrapper nowhere; create server elsewhere foreign data wrapper nowhere;"
        "create foreign table app.f (id bigint, workspace_id bigint, occurred_at timestamptz, recorded_at timestamptz,"
        f" payload json) server elsewhere; create view app.events as {VIEW.format('app.f')}",
        "app.f is a foreign table",
    ),
    "a foreign table as a partition": (
        "create foreign data wrapper nowhere; create server elsewhere foreign data wrapper nowhere;"
        "create foreign table app.part_2 partition of app.parts for values from (100) to (200) server elsewhere;"
        f"create view app.events as {VIEW.format('app.parts')}",
        "app.part_2 is a foreign table",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_view_that_cannot_be_followed_is_refused(platform: psycopg.Connection, case: str) -> None:
    made, words = REFUSED[case]
    platform.execute(made)
    store = PostgresStore(platform.info.dsn, LogStoreSettings(events="app.events"))
    with pytest.raises(DatabaseError) as caught:
        store.closed_window(ended(platform))
    assert words in str(caught.value)
    store.close()
    # naming the tables is the remedy, but not for rows whose writers cannot be seen at all
    named = PostgresStore(platform.info.dsn, LogStoreSettings(events="app.events", written_tables=("app.one",)))
    if "materialized" in case or "foreign" in case:
        with pytest.raises(DatabaseError, match=r"is a (materialized view|foreign table)"):
            named.closed_window(ended(platform))
    else:
        closing, connection = named.closed_window(ended(platform))
        assert closing.tables == ["app.one"] and closing.look()
        connection.close()
    named.close()


def test_what_is_named_must_be_tables(platform: psycopg.Connection) -> None:
    platform.execute(FOUND["a union"][0])
    assert sources(platform, "app.events", ["app.two"]).others == ("app.one",)
    with pytest.raises(DatabaseError, match=r"app\.events of `log_store\.written_tables` is a view"):
        sources(platform, "app.events", ["app.events"])
    with pytest.raises(DatabaseError, match=r'no table "app\.three"'):
        sources(platform, "app.events", ["app.three"])


def test_a_clock_of_fewer_digits_is_waited_for(platform: psycopg.Connection) -> None:
    platform.execute(FOUND["a view"][0])
    window = ended(platform)
    for digits, unit in ((0, 1_000_000), (3, 1_000), (5, 10), (6, 0)):
        platform.execute("drop view app.events")
        platform.execute(f"alter table app.one alter recorded_at type timestamptz({digits})")
        platform.execute(FOUND["a view"][0])
        closing, connection = PostgresStore(platform.info.dsn, LogStoreSettings(events="app.events")).closed_window(
            window
        )
        assert closing.until == window.end + timedelta(microseconds=unit)
        connection.close()
