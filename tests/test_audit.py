"""What people do to the streaming itself: kept with who, when and from where, and streamed where that is chosen, each once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from logstream.airflow.operators import Redeliver, StreamAuditEvents
from logstream.cli import main
from logstream.console.access import actor_of
from logstream.console.app import create_app
from logstream.console.service import Console
from logstream.control.audit import Act, Actor, AuditEvent, AuditTrail
from logstream.errors import DatabaseError, DeliveryError, InputError
from logstream.export.audit import stream_audit_events
from logstream.export.ended import note_ended_backfills, redelivery_ended
from logstream.export.exporter import Exporter
from logstream.window import Window

from .test_engine import Connections

ANN = Actor("ann", "192.0.2.7")
LAKE = {"type": "file", "path": "/tmp/x"}
STREAMED = {"audit": {"stream": True}, "destinations": {"lake": LAKE}}
ADMIN_WORKSPACE = "insert into workspaces (id, external_id, name, role) values (7, 'us', 'Platform', 'admin'), (8, 'c', 'C', 'customer')"


@pytest.fixture
def console(database: str, store: psycopg.Connection) -> Iterator[Console]:
    made = Console(database, database, Connections())
    yield made
    made.exporter.close()


def acts(console: Console) -> list[tuple[str, str, str]]:
    """(act, who, subject), oldest first."""
    return [(event.act, event.actor.name, event.subject) for event in reversed(console.audit.newest(limit=500))]


def streamed(store: psycopg.Connection) -> list[dict[str, Any]]:
    rows = store.execute("select workspace_id, kind, occurred_at, payload from events order by id").fetchall()
    assert all(row[:2] == (7, "user_activity") for row in rows)
    assert all((datetime.now(UTC) - row[2]).total_seconds() < 3600 for row in rows)
    return [row[3] for row in rows]


def test_every_act_is_kept_with_who_when_and_from_where(console: Console, tmp_path: Path) -> None:
    lake = {"type": "file", "path": str(tmp_path)}
    version = console.settings.save({"destinations": {"lake": lake}}, ANN, None)
    assert console.settings.save({"destinations": {"lake": lake}}, ANN, None).id == version.id, (
        "what changes nothing is no act"
    )
    console.destinations.check("lake", lake, ANN)
    console.destinations.hold("lake", Actor("ben", "2001:db8::1"))
    console.destinations.resume("lake", ANN)
    console.deliveries.acknowledge_losses(ANN, "lake", datetime.now(UTC))
    console.settings.restore(console.settings.versions()[-1].id, ANN, None)
    assert acts(console) == [
        ("settings_changed", "ann", ""), ("destination_tested", "ann", "lake"), ("destination_held", "ben", "lake"),
        ("destination_resumed", "ann", "lake"), ("losses_acknowledged", "ann", "lake"),
        ("settings_changed", f"ann (version {version.id - 1} again)", ""),
    ]  # fmt: skip
    found = {event.act: event for event in console.audit.newest()}
    assert found[Act.DESTINATION_HELD].actor.source == "2001:db8::1"
    assert found[Act.DESTINATION_TESTED].detail == {"type": "file", "passed": True}
    assert [event.act for event in console.audit.newest(subject="lake", limit=2)] == [
        "losses_acknowledged",
        "destination_resumed",
    ]
    last = console.audit.newest(limit=1)[0]
    assert [event.id for event in console.audit.newest(before=last.id, limit=1)] == [last.id - 1]
    assert last.happened_at is not None and last.happened_at.tzinfo is not None


def test_what_was_refused_is_no_act(console: Console) -> None:
    for attempt in (
        lambda: console.settings.save({"admin": {"enabled": True}}, ANN, None),
        lambda: console.destinations.hold("nowhere", ANN),
        lambda: console.destinations.check("x", {"type": "nope"}, ANN),
    ):
        with pytest.raises(InputError):
            attempt()
    assert acts(console) == []


def test_settings_and_their_act_are_kept_together(console: Console, store: psycopg.Connection) -> None:
    before = console.settings.current().id
    store.execute("alter table logstream.audit_events add check (act <> 'settings_changed')")
    with pytest.raises(DatabaseError):
        console.settings.save({"destinations": {"lake": LAKE}}, ANN, None)
    assert console.settings.current().id == before


def test_commands_are_kept_too(
    database: str, store: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "operator")
    file = tmp_path / "settings.yaml"
    file.write_text(json.dumps({"destinations": {"lake": {"type": "file", "path": str(tmp_path)}}}))
    for words in (
        ["settings", "apply", str(file)], ["destinations", "check", "lake"], ["redeliver"], ["owed", "--acknowledge"],
        ["owed", "--destination", "lake", "--write-off", "gone"],
    ):  # fmt: skip
        command, rest = (words[:2], words[2:]) if words[0] in ("settings", "destinations") else (words[:1], words[1:])
        assert main([*command, "--dsn", database, *rest]) == 0, words
    with Exporter(database, database, Connections()) as exporter:
        found = AuditTrail(exporter.engine).newest()
    assert {(event.actor.name, event.actor.source) for event in found} == {("operator", "command line")}
    assert [event.act for event in reversed(found)] == [
        "settings_changed", "destination_tested", "redelivery_started", "redelivery_ended", "losses_acknowledged",
        "owed_written_off",
    ]  # fmt: skip
    assert found[0].detail == {"note": "gone", "events": 0}


def test_how_a_redelivery_ended_is_kept(
    console: Console, store: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logstream.airflow.operators.redeliver.exporter", lambda: console.exporter)
    monkeypatch.setattr(type(console.exporter), "__exit__", lambda *_: None)
    store.execute(ADMIN_WORKSPACE)
    start = datetime(2026, 3, 1, tzinfo=UTC)
    (tmp_path / "lake").write_text("a file where a folder should be")
    setting = {"enabled": True, "events": ["user_activity"], "destination": "lake"}
    lake = {"type": "file", "path": str(tmp_path / "lake")}
    console.settings.save({"admin": setting, "destinations": {"lake": lake}}, ANN, None)
    insert = "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) values (8, 'user_activity', %s, %s, '{}')"
    store.execute(insert, (start, start))
    planned = console.exporter.plan(Window(start, start + timedelta(minutes=5)))
    console.exporter.deliver(planned.shares[0].lanes)
    console.exporter.seal(planned.delivery_ids)

    def redeliver(**params: Any) -> None:
        run = SimpleNamespace(dag_id="logstream_redeliver", run_id="r", triggering_user_name="ben")
        task = SimpleNamespace(xcom_push=lambda **_: None)
        Redeliver(task_id="redeliver").execute({"params": params, "dag_run": run, "ti": task})  # type: ignore[typeddict-item]

    with pytest.raises(AirflowFailException):
        redeliver(destination="lake")
    (tmp_path / "lake").unlink()
    redeliver(destination="lake")
    redeliver(rejected=True)
    monkeypatch.setattr(type(console.exporter), "redeliver_owed", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        redeliver()
    ended = [event for event in reversed(console.audit.newest()) if event.act == "redelivery_ended"]
    assert {(event.actor.name, event.actor.source) for event in ended} == {("ben", "a run in Airflow")}
    assert [(event.subject, event.detail) for event in ended] == [
        ("lake", {"rejected": False, "delivered": 0, "failed": 1, "events": 0}),
        ("lake", {"rejected": False, "delivered": 1, "failed": 0, "events": 1}),
        ("", {"rejected": True, "events": 0, "rejected_again": 0, "gone": 0, "failed": 0}),
        ("", {"rejected": False, "broke_off": "ZeroDivisionError"}),
    ]


def test_what_broke_a_redelivery_off_is_told_though_the_control_database_is_away_by_then(
    console: Console, database: str
) -> None:
    def take_away() -> None:
        with psycopg.connect(make_conninfo(database, dbname="postgres"), autocommit=True) as server:
            name = conninfo_to_dict(database)["dbname"]
            server.execute(sql.SQL("alter database {} allow_connections false").format(sql.Identifier(str(name))))
            server.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))

    with (
        pytest.raises(DeliveryError, match="the receiver's certificate has expired"),
        redelivery_ended(console.exporter, ANN, "lake", rejected=False),
    ):
        take_away()
        raise DeliveryError("the receiver's certificate has expired")
    with pytest.raises(DatabaseError), redelivery_ended(console.exporter, ANN, "lake", rejected=False):
        pass  # nothing else is wrong: that it is not kept is what is to be told


def test_of_two_that_see_a_backfill_end_at_once_one_keeps_it(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    span = Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)).as_json()
    console.audit.record(Act.BACKFILL_STARTED, ANN, "", **span, windows=1, destinations=[], backfill=7)
    both = threading.Barrier(2)

    def outcome(*_: object) -> dict[str, int]:
        both.wait(30)
        return {"delivered": 1, "failed": 0, "missing": 0}

    monkeypatch.setattr("logstream.export.ended._backfill_outcome", outcome)
    with ThreadPoolExecutor(2) as looks:
        noted = [look.result() for look in [looks.submit(note_ended_backfills, console.exporter) for _ in range(2)]]
    assert sorted(noted) == [0, 1]
    assert [event.act for event in console.audit.newest()].count(Act.BACKFILL_ENDED) == 1


def test_how_a_backfill_ended_is_kept(console: Console, store: psycopg.Connection, tmp_path: Path) -> None:
    store.execute(ADMIN_WORKSPACE)
    start, step = datetime(2026, 3, 1, tzinfo=UTC), timedelta(minutes=5)
    windows = [Window(start + number * step, start + (number + 1) * step) for number in range(3)]
    insert = "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) values (8, 'user_activity', %s, %s, '{}')"
    for window in windows:
        store.execute(insert, (window.start, window.start))
    (tmp_path / "blocked").write_text("a file where a folder should be")
    lake, bad = (
        {"type": "file", "path": str(tmp_path / place), "packaging": "batch"} for place in ("lake", "blocked/inside")
    )

    def run(window: Window, options: dict[str, str]) -> None:
        setting = {"enabled": True, "events": ["user_activity"], "destination": "lake"}
        console.settings.save({"admin": setting, "destinations": {"lake": options}}, ANN, None)
        planned = console.exporter.plan(window)
        assert note_ended_backfills(console.exporter) == 0, "one is under way"
        console.exporter.deliver(planned.shares[0].lanes)
        console.exporter.seal(planned.delivery_ids)

    run(windows[0], lake)  # before it began: no part of it
    span = Window(windows[0].start, windows[2].end).as_json()
    console.audit.record(Act.BACKFILL_STARTED, ANN, "", **span, windows=3, destinations=["lake"], backfill=7)
    run(windows[0], lake)
    run(windows[1], bad)
    assert note_ended_backfills(console.exporter) == 0, "one is to come"
    run(windows[2], lake)
    assert note_ended_backfills(console.exporter) == 1
    assert note_ended_backfills(console.exporter) == 0, "it is kept once"
    # of one that was cancelled nothing more comes
    console.audit.record(Act.BACKFILL_STARTED, ANN, "", **span, windows=3, destinations=[], backfill=8)
    run(windows[2], lake)
    assert note_ended_backfills(console.exporter) == 0
    store.execute("update logstream.audit_events set happened_at = happened_at - interval '2 hours'")
    age = "case window_start when %s then interval '90 minutes' else interval '3 hours' end"
    store.execute(
        f"update logstream.deliveries set planned_at = planned_at - {age}, sealed_at = sealed_at - {age}",
        (windows[2].start, windows[2].start),
    )
    assert note_ended_backfills(console.exporter) == 1
    first, second = (event for event in reversed(console.audit.newest()) if event.act == "backfill_ended")
    assert (first.actor, first.detail) == (
        Actor("ann", "a run in Airflow"), {"backfill": 7, "delivered": 2, "failed": 1, "missing": 0},
    )  # fmt: skip
    assert second.detail == {"backfill": 8, "delivered": 1, "failed": 0, "missing": 2}


# streamed


def test_acts_become_events_of_the_admin_workspace(console: Console, store: psycopg.Connection) -> None:
    store.execute(ADMIN_WORKSPACE)
    console.settings.save({"destinations": {"lake": LAKE}}, ANN, None)  # it is not chosen yet
    console.settings.save(STREAMED, ANN, None)
    console.destinations.hold("lake", ANN)
    console.audit.record(Act.CONNECTION_CHANGED, ANN, "aws_lake", fields=["Secret access key"])
    console.settings.save({"destinations": {"lake": LAKE}}, ANN, None)  # that it is switched off is streamed, too
    console.destinations.resume("lake", ANN)
    assert stream_audit_events(console.exporter) == 4
    found = streamed(store)
    assert [event["event"] for event in found] == [
        "log_streaming_settings_changed", "log_streaming_destination_held", "log_streaming_connection_changed",
        "log_streaming_settings_changed",
    ]  # fmt: skip
    assert found[0]["details"]["activity"]["changed"] == ["audit.stream"]
    assert found[1]["user"]["name"] == "ann" and found[1]["details"]["request"] == {"ip_address": "192.0.2.7"}
    assert found[1]["resource"] == {"type": "Log streaming destination", "name": "lake", "id": None}
    assert found[2]["resource"]["type"] == "Connection"
    assert found[1]["team"] == {"id": 7, "external_id": "us", "name": "Platform"}
    assert stream_audit_events(console.exporter) == 0, "each once"


def test_they_are_exported_like_any_event(console: Console, store: psycopg.Connection, tmp_path: Path) -> None:
    store.execute(ADMIN_WORKSPACE)
    setting = {"enabled": True, "events": ["user_activity"], "destination": "lake"}
    out = {"type": "file", "path": str(tmp_path), "packaging": "batch"}
    console.settings.save({"audit": {"stream": True}, "admin": setting, "destinations": {"lake": out}}, ANN, None)
    stream_audit_events(console.exporter)
    (at,) = store.execute("select recorded_at from events").fetchone() or (None,)
    assert isinstance(at, datetime)
    window = Window(at.replace(microsecond=0), datetime.now(UTC))
    planned = console.exporter.plan(window)
    console.exporter.deliver(planned.shares[0].lanes)
    console.exporter.seal(planned.delivery_ids)
    text = "".join(path.read_text() for path in tmp_path.rglob("*.ndjson*"))
    assert '"event": "log_streaming_settings_changed"' in text or '"event":"log_streaming_settings_changed"' in text


def test_a_process_that_dies_between_the_databases_repeats_nothing(
    console: Console, store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.execute(ADMIN_WORKSPACE)
    console.settings.save(STREAMED, ANN, None)

    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(AuditTrail, "note_streamed", die)
        stream_audit_events(console.exporter)
    console.destinations.hold("lake", ANN)
    assert stream_audit_events(console.exporter) == 1
    assert [event["event"].removeprefix("log_streaming_") for event in streamed(store)] == [
        "settings_changed", "destination_held",
    ]  # fmt: skip


def test_events_of_others_that_look_alike_stop_nothing(console: Console, store: psycopg.Connection) -> None:
    store.execute(ADMIN_WORKSPACE)
    console.settings.save(STREAMED, ANN, None)
    for payload in ('{"id": "logstream-audit-1x"}', '["logstream-audit-1"]', '"logstream-audit-1"'):
        store.execute(
            "insert into events (workspace_id, kind, occurred_at, payload) values (7, 'user_activity', now(), %s)",
            (payload,),
        )
    assert stream_audit_events(console.exporter) == 1


@contextmanager
def without_an_admin_workspace(store: psycopg.Connection) -> Iterator[str]:
    yield "no workspace of role admin"


@contextmanager
def read_only(store: psycopg.Connection) -> Iterator[str]:
    store.execute(ADMIN_WORKSPACE)
    store.execute("alter table events rename to real_events")
    store.execute(
        "create view events as select id, workspace_id, kind, occurred_at, recorded_at, payload from real_events limit 9"
    )
    yield "set audit.stream to false"
    store.execute("drop view events")
    store.execute("alter table real_events rename to events")


@pytest.mark.parametrize("hindered", [without_an_admin_workspace, read_only])
def test_a_log_store_that_does_not_take_them_is_told_of_and_they_wait(
    console: Console, store: psycopg.Connection, hindered: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logstream.airflow.operators.audit.exporter", lambda: console.exporter)
    monkeypatch.setattr(type(console.exporter), "__exit__", lambda *_: None)
    console.settings.save(STREAMED, ANN, None)
    with hindered(store) as remedy, pytest.raises((InputError, DatabaseError), match=remedy):
        StreamAuditEvents(task_id="stream_audit_events").execute({})
    store.execute(ADMIN_WORKSPACE + " on conflict do nothing")
    StreamAuditEvents(task_id="stream_audit_events").execute({})
    assert len(streamed(store)) == 1


def test_many_at_once(console: Console, store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    store.execute(ADMIN_WORKSPACE)
    monkeypatch.setattr("logstream.export.audit.AT_ONCE", 3)
    trail = AuditTrail(console.exporter.engine)
    for number in range(7):
        trail.record(AuditEvent(Act.BACKFILL_STARTED, ANN, detail={"backfill": number}), stream=True)
    assert stream_audit_events(console.exporter) == 7
    assert [event["details"]["activity"]["backfill"] for event in streamed(store)] == list(range(7))


# no act without a trace

CHANGES_NOTHING = {"/parts/validate", "/parts/preview", "/parts/rights", "/parts/event", "/api/v1/preview"}
"""What is posted because it is long, or secret, and only looked at."""


def test_every_route_that_does_something_knows_who_does_it() -> None:
    """A route that changes anything asks for the actor, without whom no service of the console does."""
    without = set()
    for route in create_app().routes:
        methods = getattr(route, "methods", None) or set()
        if methods & {"POST", "PUT", "DELETE", "PATCH"}:
            calls = {dependant.call for dependant in everything(route.dependant)}  # type: ignore[attr-defined]
            if actor_of not in calls:
                without.add(route.path)  # type: ignore[attr-defined]
    assert without == CHANGES_NOTHING


def everything(dependant: Any) -> Iterator[Any]:
    yield dependant
    for inner in dependant.dependencies:
        yield from everything(inner)
