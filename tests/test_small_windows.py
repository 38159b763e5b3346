"""Very many destinations with a few events each: what a window costs is counted in statements, clients and threads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event

from logstream.airflow.connections import AirflowConnections
from logstream.destinations.credentials import AwsCredentials
from logstream.events import Event
from logstream.export.exporter import Exporter
from logstream.ledger.records import State
from logstream.rendering import Renderer
from logstream.testing.servers import S3Server
from logstream.validation import validate_settings
from logstream.window import Window, parse_time

START = parse_time("2026-01-05T00:00:00Z", "start")
WINDOW = Window(START, parse_time("2026-01-05T00:05:00Z", "end"))
FEW = 10
MANY = 300


def fill(store: psycopg.Connection, workspaces: int) -> None:
    """Two events for each workspace in the window; each fifth is quiet."""
    store.execute("insert into workspaces (id) select generate_series(1, %s)", (workspaces,))
    store.execute(
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
        " select w, 'user_activity', %s, %s, '{\"event\": \"user_login\"}' from generate_series(1, %s) w,"
        " generate_series(1, 2) where w %% 5 <> 0",
        (START, START, workspaces),
    )


def each_its_own(workspaces: int, destination: dict[str, Any], place: str) -> dict[str, Any]:
    """Settings by which every workspace has a destination of its own; `place` is the option that tells them apart."""
    streaming = {"enabled": True, "events": ["user_activity"]}
    numbers = range(1, workspaces + 1)
    return {
        "workspaces": [{"id": n, "streaming": {**streaming, "destination": f"d{n}"}} for n in numbers],
        "destinations": {f"d{n}": {**destination, "lanes": 1, place: f"{destination[place]}{n}/"} for n in numbers},
    }


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """The statements that are made meanwhile through an engine."""
    made: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        made.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield made
    finally:
        event.remove(engine, "before_cursor_execute", note)


def delivered(exporter: Exporter, settings: dict[str, Any]) -> list[int]:
    """Plan and deliver the window; the deliveries, to be sealed."""
    exporter.settings.apply(validate_settings(settings))
    planned = exporter.plan(WINDOW)
    results = exporter.deliver([key for share in planned.shares for key in share.lanes])
    assert [result.error for result in results if result.error] == []
    return planned.delivery_ids


@pytest.mark.parametrize("workspaces", [FEW, MANY])
def test_sealing_takes_as_many_statements_for_many_destinations_as_for_few(
    store: psycopg.Connection, database: str, tmp_path: Path, workspaces: int
) -> None:
    fill(store, workspaces)
    folder = {"type": "file", "path": f"{tmp_path}/out/", "packaging": "batch", "manifests": True}
    with Exporter(database, database, AirflowConnections()) as exporter:
        ids = delivered(exporter, each_its_own(workspaces, folder, "path"))
        assert len(ids) == workspaces * 4 // 5
        with statements(exporter.engine) as made:
            sealed = exporter.seal(ids)
        assert {delivery.state for delivery in sealed} == {State.DELIVERED}
        assert len(list((tmp_path / "out").rglob("_manifests/*/00000001.json"))) == len(ids)
        assert len(made) < 40, made
        # sealing again makes nothing new, and looks at each manifest beside the data
        with statements(exporter.engine) as made:
            assert {delivery.error for delivery in exporter.seal(ids)} == {None}
        assert len(made) < 40, made


def test_health_is_noted_with_as_many_statements_for_many_destinations_as_for_few(
    store: psycopg.Connection, database: str, tmp_path: Path
) -> None:
    from logstream.ledger.health import Outcome

    with Exporter(database, database, AirflowConnections()) as exporter:
        for failed in (True, False):
            outcomes = {
                f"d{n}": Outcome(WINDOW, failed=failed, reached=not failed, error='no "way"\0') for n in range(MANY)
            }
            with statements(exporter.engine) as made:
                exporter.ledger.note(outcomes, 3)
            assert len(made) < 10, made
            found = exporter.ledger.health()
            assert len(found) == (MANY if failed else 0)
            assert {(health.failures, health.last_window, health.error) for health in found.values()} <= {
                (1, WINDOW.end, 'no "way" ')
            }


def test_the_settings_of_a_snapshot_are_read_once(store: psycopg.Connection, database: str, tmp_path: Path) -> None:
    folder = {"type": "file", "path": f"{tmp_path}/out/"}
    with Exporter(database, database, AirflowConnections()) as exporter:
        number = exporter.settings.apply(validate_settings(each_its_own(3, folder, "path"))).id
        with statements(exporter.engine) as made:
            found = [exporter.settings.get(number), exporter.settings.current(), exporter.settings.get_all([number])]
        assert len([statement for statement in made if "document" in statement]) == 1
        assert found[0] == found[1] == found[2][number]  # type: ignore[index]
        # a new version is another one
        exporter.settings.apply(validate_settings(each_its_own(2, folder, "path")))
        assert len(exporter.settings.current().settings.destinations) == 2
        assert len(exporter.settings.get(number).settings.destinations) == 3


class Counting(AirflowConnections):
    """Counts how often connections are asked for."""

    asked = 0

    def aws(self, connection: str) -> AwsCredentials:
        self.asked += 1
        return super().aws(connection)


def test_destinations_of_one_connection_share_one_client(
    store: psycopg.Connection, database: str, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logstream.destinations.s3 import S3Destination

    fill(store, 30)
    monkeypatch.setenv("AIRFLOW_CONN_SHARED_S3", s3.connection)
    clients: list[str] = []
    make = S3Destination.make_store
    monkeypatch.setattr(S3Destination, "make_store", lambda self: clients.append(self.name) or make(self))
    connections = Counting()
    lake = {"type": "s3", "connection": "shared_s3", "bucket": bucket, "prefix": "c", "packaging": "batch"}
    with Exporter(database, database, connections) as exporter:
        ids = delivered(exporter, each_its_own(30, lake, "prefix"))
        # sealing, too, uses what delivering has made
        assert {delivery.error for delivery in exporter.seal(ids)} == {None}
    assert len(ids) == 24
    assert len(clients) == 1
    assert connections.asked == 1
    assert len([key for key in s3.objects(bucket) if "_manifests" not in key]) == 24


def test_a_message_of_many_workspaces_is_compiled_once() -> None:
    from logstream.settings.parsing import parse_settings

    compiled: list[str] = []
    document = each_its_own(MANY, {"type": "file", "path": "/srv/"}, "path")
    for number, workspace in enumerate(document["workspaces"]):
        workspace["streaming"]["message"] = "{{{log_message}}}" if number % 2 else "{{{log_message_str}}}"
    parse_settings(document, check_destination=lambda *_: [], check_message=compiled.append, check_mask=str)
    assert sorted(compiled) == ["{{{log_message_str}}}", "{{{log_message}}}"]


def test_a_message_of_many_deliveries_is_compiled_once() -> None:
    from logstream.rendering import renderer

    source = '{"once": {{{log_message}}}}'
    compiled = [Renderer.of(source, drop_lines=False, now_ns=number) for number in range(3)]
    assert renderer._compiled.cache_info().hits >= 2
    event = Event(1, 1, "user_activity", 0, 0, b'{"a": 1}')
    assert {each.render(event) for each in compiled} == {b'{"once": {"a": 1}}'}


def test_garbage_is_looked_for_rarely_until_the_last_who_asked_for_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    import gc

    from logstream import garbage
    from logstream.garbage import RARELY, rare_garbage_collection

    monkeypatch.setattr(garbage, "_inside", 0)  # a worker that another test has killed may still be in it
    usual, before = gc.get_threshold(), (700, 10, 10)
    gc.set_threshold(*before)
    first, second = rare_garbage_collection(), rare_garbage_collection()
    first.__enter__()
    second.__enter__()
    assert gc.get_threshold() == RARELY
    first.__exit__(None, None, None)  # in another order than they came: they are several threads'
    assert gc.get_threshold() == RARELY
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before
    gc.set_threshold(*usual)


def test_sealing_very_many_looks_for_garbage_rarely(store: psycopg.Connection, database: str, tmp_path: Path) -> None:
    import gc

    fill(store, MANY)
    looks: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            looks.append(info["generation"])

    folder = {"type": "file", "path": f"{tmp_path}/out/", "packaging": "batch", "manifests": True}
    with Exporter(database, database, AirflowConnections()) as exporter:
        ids = delivered(exporter, each_its_own(MANY, folder, "path"))
        gc.collect()
        gc.callbacks.append(note)
        try:
            exporter.seal(ids)
        finally:
            gc.callbacks.remove(note)
    assert len(looks) < 5, looks


def test_a_new_manifest_is_put_with_its_listings_in_one_turn_of_a_thread(
    store: psycopg.Connection, database: str, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logstream.destinations.objects import ObjectDestination

    fill(store, 30)
    monkeypatch.setenv("AIRFLOW_CONN_SHARED_S3", s3.connection)
    turns: list[str] = []
    for name in ("put", "put_new"):
        did = getattr(ObjectDestination, name)

        def noted(self: Any, *given: Any, did: Any = did, name: str = name, **more: Any) -> Any:
            turns.append(name)
            return did(self, *given, **more)

        monkeypatch.setattr(ObjectDestination, name, noted)
    lake = {"type": "s3", "connection": "shared_s3", "bucket": bucket, "prefix": "c", "packaging": "batch"}
    with Exporter(database, database, AirflowConnections()) as exporter:
        ids = delivered(exporter, each_its_own(30, lake, "prefix"))
        assert {delivery.error for delivery in exporter.seal(ids)} == {None}
        assert turns == ["put_new"] * 24
        keys = [item["Key"] for item in s3.client().list_objects_v2(Bucket=bucket)["Contents"]]
        assert len([key for key in keys if key.endswith("/00000001.json")]) == 24
        assert len([key for key in keys if key.endswith("/00000001-00000.ndjson.gz")]) == 24
        # where anything is there already, that is looked at
        store.execute("update logstream.manifests set put_at = null where destination = 'd1'")
        assert {delivery.error for delivery in exporter.seal(ids)} == {None}
    assert turns[24:] == ["put_new"] * 24


def test_keys_that_destinations_share_the_begin_of_are_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from logstream.destinations.transport import pattern_index

    made: list[int] = []
    begin = pattern_index.PatternIndex.__init__
    monkeypatch.setattr(pattern_index.PatternIndex, "__init__", lambda self: (made.append(1), begin(self))[1])
    index = pattern_index.PatternIndex()
    for number in range(MANY):
        index.add((("customers",), ("all",), (f"c{number}",)), f"d{number}")
    assert len(made) == MANY + 3
    assert index.find((("customers",), ("all",), ("c7",))) == "d7"


@pytest.mark.parametrize(("items", "turns"), [(0, 1), (3, 1), (512, 2), (1_000, 2)])
def test_few_parts_are_read_in_one_turn_of_a_thread(monkeypatch: pytest.MonkeyPatch, items: int, turns: int) -> None:

    from logstream.verify.aside import aside

    made: list[object] = []
    turn = asyncio.to_thread

    async def noted(*given: Any) -> Any:
        made.append(given)
        return await turn(*given)

    async def taken() -> list[int]:
        return [item async for item in aside(iter(range(items)))]

    monkeypatch.setattr(asyncio, "to_thread", noted)
    assert asyncio.run(taken()) == list(range(items))
    assert len(made) == turns


def test_options_are_written_out_only_where_a_problem_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from logstream.destinations.file import FileOptions
    from logstream.destinations.registry import check_options

    dumped: list[object] = []
    monkeypatch.setattr(FileOptions, "model_dump", lambda *given, **_: dumped.append(given))
    assert check_options("file", {"path": "/srv/", "packaging": "batch"}) == []
    assert dumped == []
