"""Log stores that are not our own tables: other types, NULLs, rows that are no events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.errors import DatabaseError
from logstream.events import NO_WORKSPACE, Cursor, Selection
from logstream.export.exporter import Exporter
from logstream.ledger.records import State
from logstream.settings.models import LogStoreSettings
from logstream.store import Filter, PostgresStore
from logstream.validation import validate_settings
from logstream.verify.verifier import verify
from logstream.window import Window

from .databases import postgres  # noqa: F401 - on the oldest and the newest PostgreSQL

START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=5))
EVERYTHING = ["job_details", "user_activity", "api_platform", "log_service"]


@pytest.fixture
def platform(store: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A database with an empty log store of ours, and room for a platform's own tables."""
    store.execute("create schema app")
    store.execute("insert into workspaces values (1, 'one'), (2, 'two')")
    yield store


class Export:
    """What became of a window of `app.events`."""

    def __init__(self, dsn: str, folder: Path, control: str | None = None, **document: Any) -> None:
        given = {
            "admin": {"enabled": True, "events": EVERYTHING, "destination": "d"},
            "destinations": {"d": {"type": "file", "path": str(folder), "packaging": "batch", "manifests": False}},
            "log_store": {"events": "app.events", "written_tables": ["app.written"]},
            **document,
        }
        settings = validate_settings(given)
        with Exporter(dsn, control or dsn, None) as exporter:  # type: ignore[arg-type]
            exporter.settings.apply(settings)
            planned = exporter.plan(WINDOW)
            self.planned = planned.events
            exporter.deliver([key for share in planned.shares for key in share.lanes])
            self.reports = exporter.seal(planned.delivery_ids)
            self.rejected = {
                row.event_id: (row.workspace_id, row.kind, row.reason) for row in exporter.ledger.rejected()
            }
            self.findings = [str(finding) for finding in verify(exporter, WINDOW).findings]
        lines = [line for file in sorted(folder.rglob("*.ndjson")) for line in file.read_bytes().splitlines()]
        self.messages = sorted(lines, key=lambda line: json.dumps(json.loads(line), sort_keys=True))


def events(database: psycopg.Connection, ids: str, kind: str, time: str, payload: str, *, null: bool = False) -> None:
    """Make `app.written` with columns of some types, and `app.events` as a view of it, if they may be NULL."""
    constraint = "" if null else "not null"
    columns = ", ".join(
        f"{name} {type_} {constraint}"
        for name, type_ in (
            ("id", ids), ("workspace_id", ids), ("kind", kind), ("occurred_at", time), ("recorded_at", time),
            ("payload", payload),
        )
    )  # fmt: skip
    database.execute(f"create table app.written ({columns})")
    database.execute("create view app.events as select * from app.written")


TYPES = {
    "ours": ("bigint", "text", "timestamptz", "json"),
    "jsonb": ("bigint", "text", "timestamptz", "jsonb"),
    "text": ("bigint", "text", "timestamptz", "text"),
    "narrow": ("integer", "varchar(40)", "timestamptz(3)", "jsonb"),
    "narrower": ("smallint", "char(20)", "timestamptz", "varchar(10000)"),
    "enum and domains": ("app.number", "app.kind", "app.moment", "app.document"),
}


@pytest.mark.parametrize("table", ["a table", "a view"])
@pytest.mark.parametrize("types", TYPES)
def test_columns_of_other_types_are_read_for_what_they_are(
    platform: psycopg.Connection, tmp_path: Path, types: str, table: str
) -> None:
    platform.execute(
        "create type app.kind as enum ('job', 'user_activity', 'api_platform', 'log_service');"
        "create domain app.small as integer check (value > 0); create domain app.number as app.small;"
        "create domain app.moment as timestamptz; create domain app.document as jsonb"
    )
    events(platform, *TYPES[types])
    documents = [{"number": number, "text": "\u00e9\n\\", "list": [1, {"a": None}]} for number in range(7)]
    for number, document in enumerate(documents):
        platform.execute(
            "insert into app.written values (%s, %s, %s, %s, %s, %s)",
            (number + 1, 1 + number % 2, ("job", "user_activity", "log_service")[number % 3], START, START, json.dumps(document)),
        )  # fmt: skip
    store = {"events": "app.written" if table == "a table" else "app.events", "written_tables": ["app.written"]}
    done = Export(platform.info.dsn, tmp_path / "out", log_store=store)
    assert [json.loads(line) for line in done.messages] == documents
    assert [(report.state, report.events, report.rejected) for report in done.reports] == [(State.DELIVERED, 7, 0)]
    assert done.findings == []


BAD = {
    # what the row has, and how it is rejected: its id (NULL's is told apart), workspace, kind and reason
    "payload is NULL": ({"payload": None}, (1, "job", "its payload is NULL")),
    "payload is empty": ({"payload": ""}, (1, "job", "its payload is not JSON")),
    "payload is no JSON": ({"payload": "{'a': 1}"}, (1, "job", "its payload is not JSON")),
    "payload is cut off": ({"payload": '{"a": "\\ud800'}, (1, "job", "its payload is not JSON")),
    "payload is NaN": ({"payload": '{"a": NaN}'}, (1, "job", "its payload is not JSON")),
    "payload has a BOM": ({"payload": "\ufeff{}"}, (1, "job", "its payload is not JSON")),
    "two documents": ({"payload": "{} {}"}, (1, "job", "its payload is not JSON")),
    "occurred_at is NULL": ({"occurred_at": None}, (1, "job", "its occurred_at is NULL")),
    "occurred_at is infinite": ({"occurred_at": "infinity"}, (1, "job", "its occurred_at is not in the years 1 to 9999")),
    "occurred_at before": ({"occurred_at": "-infinity"}, (1, "job", "its occurred_at is not in the years 1 to 9999")),
    "the year 10000": ({"occurred_at": "10000-01-01Z"}, (1, "job", "its occurred_at is not in the years 1 to 9999")),
    "before the year 1": ({"occurred_at": "0001-12-31Z BC"}, (1, "job", "its occurred_at is not in the years 1 to 9999")),
    "workspace_id is NULL": ({"workspace_id": None}, (NO_WORKSPACE, "job", "its workspace_id is NULL")),
    "kind is NULL": ({"kind": None}, (1, "unknown", "its kind is NULL")),
    "kind is unknown": ({"kind": "elephant"}, (1, "unknown", 'there is no kind "elephant"')),
    "kind has another case": ({"kind": "JOB"}, (1, "unknown", 'there is no kind "JOB"')),
    "kind is very long": ({"kind": "x" * 5000}, (1, "unknown", f'there is no kind "{"x" * 39}…"')),
    "id is NULL": ({"id": None}, (1, "job", "its id is NULL")),
    "nothing is there": (
        dict.fromkeys(["id", "workspace_id", "kind", "occurred_at", "payload"]), (NO_WORKSPACE, "unknown", "its id is NULL"),
    ),
}  # fmt: skip

GOOD = {"workspace_id": 1, "kind": "job", "occurred_at": START, "recorded_at": START, "payload": '{"good": true}'}


def insert(database: psycopg.Connection, **row: Any) -> None:
    names = ("id", "workspace_id", "kind", "occurred_at", "recorded_at", "payload")
    given = {**GOOD, **row}
    database.execute(
        "insert into app.written values (%s, %s, %s, %s::timestamptz, %s, %s)", [given[name] for name in names]
    )


@pytest.fixture
def loose(platform: psycopg.Connection) -> psycopg.Connection:
    """`app.events` is a view of a table in which anything may be NULL, and payloads are text."""
    events(platform, "bigint", "text", "timestamptz", "text", null=True)
    return platform


@pytest.mark.parametrize("bad", BAD)
def test_a_row_that_is_no_event_is_rejected_beside_its_neighbours(
    loose: psycopg.Connection, tmp_path: Path, bad: str
) -> None:
    row, rejection = BAD[bad]
    insert(loose, id=1)
    insert(loose, **{"id": 2, **row})
    insert(loose, id=3)
    done = Export(loose.info.dsn, tmp_path / "out")
    assert done.messages == [b'{"good": true}'] * 2
    assert [(report.state, report.events, report.rejected) for report in done.reports] == [(State.DELIVERED, 2, 1)]
    ((number, (workspace, kind, reason)),) = done.rejected.items()
    assert (workspace, kind) == rejection[:2] and reason.startswith(rejection[2]), reason
    assert number == 2 or (number < -(2**62) and "id" in row)
    assert done.planned == 3 and done.findings == []


def test_a_window_of_nothing_but_bad_rows_and_each_workspace_by_itself(
    loose: psycopg.Connection, tmp_path: Path
) -> None:
    for number, (row, _) in enumerate(BAD.values(), start=1):
        for moment in (START, START + timedelta(minutes=4)):
            insert(loose, **{"id": 10 * number + moment.minute, "recorded_at": moment, **row})
    done = Export(loose.info.dsn, tmp_path / "all")
    assert [(report.events, report.rejected) for report in done.reports] == [(0, 2 * len(BAD))]
    assert len(done.rejected) == 2 * len(BAD) and done.planned == 2 * len(BAD)
    assert done.messages == [] and done.findings == []
    # without the admin's setting rows of no workspace are streamed by none; workspace 2 has nothing at all
    own = {"enabled": True, "events": ["user_activity"], "destination": "d"}
    alone = Export(
        loose.info.dsn,
        tmp_path / "own",
        admin=None,
        workspaces=[{"id": number, "streaming": own} for number in (1, 2)],
        destinations={"d": {"type": "file", "path": str(tmp_path / "own"), "packaging": "batch", "lanes": 7}},
    )
    unknown = [row for row, (_, kind, _) in BAD.values() if kind == "unknown" and "workspace_id" not in row]
    assert [(report.events, report.rejected) for report in alone.reports] == [(0, 2 * len(unknown))]


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_reading_in_chunks_passes_every_row_once(loose: psycopg.Connection, limit: int) -> None:
    for number in range(9):
        moment = START + timedelta(seconds=number // 4)
        insert(loose, id=None if number % 2 else number, recorded_at=moment, payload='{"level": "x"}')
        insert(loose, id=100 + number, recorded_at=moment, occurred_at=None if number % 3 else START)
    store = PostgresStore(loose.info.dsn, LogStoreSettings(events="app.events", written_tables=("app.written",)))
    selection = Selection.of(EVERYTHING)
    good, bad, after, more = [], [], None, True
    while more:
        places: list[Cursor] = [] if after is None else [after]
        for page in store.read(WINDOW, [Filter.of(selection, [1])], after, max_events=limit, max_bytes=10**6):
            good += page.events
            bad += page.bad
            more = page.more
            if page.last is not None:
                places.append(page.last)
        assert places == sorted(places)
        after = places[-1]
    store.close()
    assert [event.id for event in good] == [0, 2, 100, 103, 4, 6, 106, 8]
    ids = [event.id for event, _ in bad]
    assert len(ids) == len(set(ids)) == 10 and sum(number < 0 for number in ids) == 4
    assert sorted(number for number in ids if number > 0) == [101, 102, 104, 105, 107, 108]
    counted = store.count(WINDOW, by_log_type=True)
    assert sum(found.events for found in counted) == len(good) + len(bad)


def test_a_bad_log_event_is_rejected_whatever_the_filter(loose: psycopg.Connection, tmp_path: Path) -> None:
    insert(loose, id=1, kind="log_service", payload='{"level": "warn"}')
    insert(loose, id=2, kind="log_service", payload='{"level": "info"}')
    insert(loose, id=3, kind="log_service", payload=None)
    insert(loose, id=4, kind="log_service", payload="info")
    insert(loose, id=5, kind="log_service", payload='{"level": "info"}', occurred_at="infinity")
    insert(loose, id=6, kind="job", payload=None)
    admin = {"enabled": True, "events": ["log_service"], "log_levels": ["warn"], "destination": "d"}
    done = Export(loose.info.dsn, tmp_path / "out", admin=admin)
    assert done.messages == [b'{"level": "warn"}'] and sorted(done.rejected) == [3, 4, 5]
    assert [report.state for report in done.reports] == [State.DELIVERED] and done.findings == []


def test_dead_letters_that_are_no_events_stay_so_until_they_are_mended(
    loose: psycopg.Connection, tmp_path: Path
) -> None:
    insert(loose, id=1)
    insert(loose, id=2, payload=None)
    insert(loose, id=3, payload="{")
    insert(loose, id=None)
    assert len(Export(loose.info.dsn, tmp_path / "out").rejected) == 3
    loose.execute("update app.written set payload = '{\"mended\": true}' where id = 2")
    with Exporter(loose.info.dsn, loose.info.dsn, None) as exporter:  # type: ignore[arg-type]
        (result,) = exporter.redeliver_rejected()
    assert (result.delivered, result.rejected_again, result.gone, result.error) == (1, 2, 0, None)


REFUSED = {
    "no such table": ("drop view app.events", 'no table or view "app.events"'),
    "a column is missing": ("drop view app.events; create view app.events as select id, workspace_id, kind, occurred_at, recorded_at from app.written", "events.payload is json, jsonb or text: no (there is no such column)"),
    "ids are texts": ("drop view app.events; alter table app.written alter id type text; create view app.events as select * from app.written", "events.id is an integer: no (text)"),
    "ids have fractions": ("drop view app.events; alter table app.written alter id type numeric; create view app.events as select * from app.written", "events.id is an integer: no (numeric)"),
    "times have no zone": ("drop view app.events; alter table app.written alter recorded_at type timestamp; create view app.events as select * from app.written", "events.recorded_at is timestamp with time zone: no (timestamp without time zone)"),
    "payload is bytes": ("drop view app.events; alter table app.written alter payload type bytea using payload::bytea; create view app.events as select * from app.written", "events.payload is json, jsonb or text: no (bytea)"),
    "kind is a number": ("drop view app.events; alter table app.written alter kind type int using 1; create view app.events as select * from app.written", "events.kind is text: no (integer)"),
    "a materialized view": ("drop view app.events; create materialized view app.events as select * from app.written", "app.events is a materialized view"),
}  # fmt: skip


@pytest.mark.parametrize("refused", REFUSED)
def test_a_log_store_that_cannot_be_read_for_sure_is_refused(
    loose: psycopg.Connection, tmp_path: Path, refused: str
) -> None:
    change, words = REFUSED[refused]
    loose.execute(change)
    with pytest.raises(DatabaseError) as caught:
        Export(loose.info.dsn, tmp_path / "out")
    assert words in str(caught.value)


def test_workspaces_of_other_types_and_listed_twice(loose: psycopg.Connection) -> None:
    loose.execute(
        "create view app.customers as select x.id::smallint, x.partner as external_id, x.name::varchar, null::text as role"
        " from (values (7, 70, 'Seven'), (8, null, null), (7, 70, 'Seven'), (null, 1, 'none')) as x(id, partner, name)"
    )
    store = PostgresStore(loose.info.dsn, LogStoreSettings(workspaces="app.customers"))
    assert [tuple(vars_of(item)) for item in store.workspaces()] == [
        (7, "70", "Seven", "customer"), (8, None, None, "customer"),
    ]  # fmt: skip
    store.close()
    loose.execute("create view app.nameless as select 1 as id, 'customer'::text as role, null::text as name")
    with pytest.raises(DatabaseError, match=r"workspaces\.external_id is text: no"):
        PostgresStore(loose.info.dsn, LogStoreSettings(workspaces="app.nameless")).workspaces()


def vars_of(item: Any) -> tuple[Any, ...]:
    return (item.id, item.external_id, item.name, item.role)
