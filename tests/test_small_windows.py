"""Very many destinations with a few events each: what a window costs is counted in statements, clients and threads."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event

from logstream import clock
from logstream.airflow.connections import AirflowConnections
from logstream.destinations.credentials import AwsCredentials
from logstream.destinations.parcel import Part
from logstream.events import Cursor, Event
from logstream.export.exporter import Exporter
from logstream.ledger import checkpoints
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.lane_writes import Announcement, LaneWrite
from logstream.ledger.records import Lane, News, State
from logstream.rendering import Renderer
from logstream.testing.servers import S3Server
from logstream.threads import LeftBehindThreads, SharedThreads
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
        assert len(made) < 30, made
        # sealing again makes nothing new, and looks at each manifest beside the data
        with statements(exporter.engine) as made:
            assert {delivery.error for delivery in exporter.seal(ids)} == {None}
        assert len(made) < 30, made


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


def test_users_of_shared_threads_have_few_between_them() -> None:
    names: set[str] = set()

    def call(number: int) -> int:
        names.add(threading.current_thread().name + str(threading.get_ident()))
        return number

    users = [SharedThreads(4) for _ in range(MANY)]
    assert [user.submit(call, number).result() for number, user in enumerate(users)] == list(range(MANY))
    assert len(names) < MANY // 3


def test_no_user_of_shared_threads_waits_for_another_and_none_has_more_than_its_share() -> None:
    go, running, most = threading.Event(), 0, 0
    lock = threading.Lock()

    def hang() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go.wait(60)
        with lock:
            running -= 1

    hung = SharedThreads(3)
    waiting = [hung.submit(hang) for _ in range(9)]
    others = [SharedThreads(1) for _ in range(50)]
    assert [other.submit(lambda: "there").result(30) for other in others] == ["there"] * 50
    given_up = hung.submit(hang)
    hung.shutdown(cancel_futures=True)
    assert given_up.cancelled()
    go.set()
    assert [future.result(30) for future in waiting if not future.cancelled()] == [None] * 3
    assert most == 3


def test_what_a_call_in_shared_threads_raises_is_given_to_its_caller() -> None:
    def broken() -> None:
        raise KeyError("x")

    def ending() -> None:
        raise SystemExit(3)

    threads = SharedThreads(1)
    with pytest.raises(KeyError):
        threads.submit(broken).result(30)
    with pytest.raises(RuntimeError, match="SystemExit"):
        threads.submit(ending).result(30)
    assert threads.submit(lambda: 1).result(30) == 1


NEVER = {"alembic", "azure", "fastapi", "google", "jinja2", "mako", "pandas", "pyarrow", "rich"}
"""What no command needs that only reads the ledger."""


@pytest.mark.parametrize(
    ("command", "not_imported"),
    [
        (
            ["--help"],
            {*NEVER, "airflow", "aiohttp", "boto3", "obstore", "psycopg", "pydantic", "requests", "sqlalchemy"},
        ),
        (["status"], {*NEVER, "airflow", "aiohttp", "boto3", "obstore", "requests"}),
        (["owed"], {*NEVER, "airflow", "aiohttp", "boto3", "obstore", "requests"}),
        (["settings", "show"], {*NEVER, "airflow", "aiohttp", "boto3", "obstore", "requests"}),
        (
            ["export", "--from", "2026-01-05T00:00:00Z", "--to", "2026-01-05T00:05:00Z"],
            {"aiohttp", "alembic", "azure", "boto3", "fastapi", "google", "obstore", "pandas", "pyarrow"},
        ),
    ],
)
def test_a_command_imports_what_it_needs(
    store: psycopg.Connection, database: str, tmp_path: Path, command: list[str], not_imported: set[str]
) -> None:
    fill(store, 3)
    with Exporter(database, database, AirflowConnections()) as exporter:
        folder = {"type": "file", "path": f"{tmp_path}/out/"}
        exporter.settings.apply(validate_settings(each_its_own(3, folder, "path")))
    program = (
        "import sys; from logstream.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    environment = {**os.environ, "LOGSTREAM_DSN": database, "LOGSTREAM_FILE_ROOTS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program, *command], env=environment, capture_output=True, text=True, check=True
    )
    imported = set(done.stderr.splitlines()[-1].split())
    assert "logstream" in imported
    assert imported & not_imported == set()


def test_a_message_of_many_workspaces_is_compiled_once() -> None:
    from logstream.settings.models import parse_settings

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


class Turns(clock.Clock):
    """A clock by which who waits goes on when the test says so."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.waited: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        await self.go_on.wait()


class Book:
    """A ledger that notes what is written together."""

    def __init__(self) -> None:
        self.written: list[list[int]] = []

    def write(self, writes: list[LaneWrite]) -> set[tuple[int, int]]:
        self.written.append(sorted(write.key[0] for write in writes))
        return set()

    def announce(self, announcements: list[Announcement]) -> dict[int, int]:
        self.written.append(sorted(each.key[0] for each in announcements))
        return dict.fromkeys(range(len(announcements)), 1)


def lane_of(delivery: int) -> Lane:
    return Lane(delivery, 0, f"d{delivery}", WINDOW, 1, State.DELIVERING, Counter(), 0, position=Cursor(1, delivery))


@pytest.mark.parametrize("many", [True, False])
def test_what_many_deliveries_write_is_written_together(many: bool) -> None:
    """A transaction for each announcement and each end was a third of what thousands of small deliveries cost."""
    turns, book = Turns(), Book()
    deliveries = checkpoints.MANY if many else checkpoints.MANY - 1

    async def deliver() -> None:
        threads = LeftBehindThreads(1, "test")
        writer = LedgerWriter(book, "", threads)  # type: ignore[arg-type]
        with ExitStack() as under_way:
            for _ in range(deliveries):
                under_way.enter_context(writer.delivery())
            part = Part("a", 1, "", 1, "1")
            writes = [asyncio.create_task(writer.announce(lane_of(number), [part])) for number in range(2)]
            await asyncio.sleep(0.05)
            writes += [asyncio.create_task(writer.announce(lane_of(number), [part])) for number in range(2, 4)]
            await asyncio.sleep(0.05)
            turns.go_on.set()
            await asyncio.gather(*writes)
            turns.go_on.clear()
            ends = [asyncio.create_task(writer.finish(lane_of(number), News())) for number in range(3)]
            await asyncio.sleep(0.05)
            turns.go_on.set()
            await asyncio.gather(*ends)
        threads.shutdown()

    with clock.use(turns):
        asyncio.run(deliver())
    assert book.written == ([[0, 1, 2, 3], [0, 1, 2]] if many else [[0, 1], [2, 3], [0, 1, 2]])
    assert turns.waited == ([checkpoints.GATHER_SECONDS] * 2 if many else [])


def test_a_step_waits_for_no_other_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests one by one go no faster than their steps: among many small deliveries there may be a large one."""
    turns, steps = Turns(), list[int]()

    async def written(_: Any, writes: list[LaneWrite]) -> set[tuple[int, int]]:
        steps.extend(write.key[0] for write in writes)
        return set()

    monkeypatch.setattr(checkpoints.StepWriter, "write", written)

    async def deliver() -> None:
        writer = LedgerWriter(Book(), "", LeftBehindThreads(1, "test"))  # type: ignore[arg-type]
        with ExitStack() as under_way:
            for _ in range(100):
                under_way.enter_context(writer.delivery())
            await asyncio.wait_for(writer.step(lane_of(1)), 5)

    with clock.use(turns):
        asyncio.run(deliver())
    assert steps == [1] and not turns.waited


@pytest.mark.parametrize("text", ["[" * 1_000_000, "{a: " * 200_000, "- " * 200_000, "[" * 200_000 + "]" * 200_000])
def test_settings_that_are_nested_deeply_are_refused_in_words(text: str) -> None:
    from logstream.errors import InputError
    from logstream.settings.document import parse_yaml

    with pytest.raises(InputError, match="nested too deeply"):
        parse_yaml(text)


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


@pytest.mark.parametrize("broken", [False, True])
def test_what_each_process_would_import_is_imported_before_there_are_any(
    database: str, monkeypatch: pytest.MonkeyPatch, *, broken: bool
) -> None:
    from logstream.errors import InputError
    from logstream.export import exporter as module
    from logstream.export.shares import Share

    did: list[str] = []

    def signer() -> None:
        did.append("looked for the key")
        if broken:
            raise InputError("it is no key")

    class Begun:
        def __init__(self, *_: object) -> None:
            did.append("began processes")

        def results(self, _: object = None) -> list[object]:
            return []

    monkeypatch.setattr(module, "Processes", Begun)
    with Exporter(database, database, AirflowConnections(), signer=signer) as exporter:
        exporter.deliver_shares([Share("a", (), 1), Share("b", (), 1)])
        assert did == []  # too little for processes
        exporter.deliver_shares([Share("a", (), 10**9), Share("b", (), 10**9)])()
    assert did == ["looked for the key", "began processes"]


SCALARS = [
    "1", "-3", "0x1F", "1e3", "1.5", ".inf", "~", "", "yes", "on", "2020-01-01", "'q'", '"d\\n"', "a b", "1_000", "1:30", "<<",
    "=", "!!str 5", "!foo x", "&a x", "*a", "- x", "%x", "@x", "a: b", "[1, 2]", "{a: 1, a: 2}", "{1: x, true: y}", "{2.5: x}",
    "|\n   lit\n", "{<<: {a: 1}}", "[", "\x01", "---",
]  # fmt: skip


@pytest.mark.parametrize(
    "shape", ["{0}", "k: {0}", "k: {0}\nk: {1}", "- {0}\n- {1}", "- {{a: {0}, b: [{1}]}}", "{0}: {1}"]
)
def test_settings_are_what_yaml_says_they_are(shape: str) -> None:
    import yaml

    from logstream.errors import InputError
    from logstream.settings.document import _Loader, parse_yaml

    for first in SCALARS:
        for second in SCALARS:
            text = shape.format(first, second)
            try:
                wanted = repr(yaml.load(text, Loader=_Loader))
            except (yaml.YAMLError, RecursionError):
                with pytest.raises(InputError):
                    parse_yaml(text)
            else:
                assert repr(parse_yaml(text)) == wanted, text


def test_settings_of_very_many_are_built_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    from logstream.settings.document import parse_yaml

    document = each_its_own(MANY, {"type": "file", "path": "/srv/", "packaging": "batch"}, "path")
    text, passes = yaml.safe_dump(document), list[str]()
    for name in ("load", "parse"):
        did = getattr(yaml, name)
        monkeypatch.setattr(yaml, name, lambda *a, did=did, name=name, **k: passes.append(name) or did(*a, **k))
    assert parse_yaml(text) == document
    assert passes == ["parse"]


def test_a_destination_of_s3_is_made_without_what_makes_requests() -> None:
    program = (
        "import sys; from logstream.destinations.registry import destination_type; destination_type('s3')\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & {"aiohttp", "requests", "boto3", "airflow"} == set()


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
    import asyncio

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
