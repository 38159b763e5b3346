"""One destination's trouble, of whatever kind, is its own: the others' windows are delivered and sealed."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from logstream import database
from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.file import FileDestination
from logstream.errors import DatabaseError
from logstream.export import deliver, opening, pipeline
from logstream.export.exporter import Exporter
from logstream.export.outbox import Outbox
from logstream.ledger import checkpoints, leases
from logstream.ledger.records import State
from logstream.testing.servers import LogSink
from logstream.validation import validate_settings
from tests.test_engine import (
    EVERYTHING,
    QUICK,
    WINDOW,
    WORKSPACES,
    Connections,
    Make,
    canonical,
    engine,
    export,
    files,
    filled,
    override,
    stored,
)
from tests.test_healing import run, two_destinations

__all__ = ["engine", "filled"]  # fixtures


def own(*destinations: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """The workspaces, one after another, each to a destination of its own."""
    streaming = {"enabled": True, "events": EVERYTHING}
    return {
        "workspaces": [
            {"id": workspace.id, "streaming": {**streaming, "destination": name}}
            for workspace, (name, _) in zip(WORKSPACES, destinations, strict=False)
        ],
        "destinations": dict(destinations),
    }


class Troubled(Connections):
    """Connections of which some break, or never answer."""

    def http(self, connection: str, default_url: str | None = None) -> HttpCredentials:
        if connection.startswith("malformed"):
            raise ValueError("Could not deserialize key data: s3cr3t-key-text")
        if connection.startswith("stuck"):
            time.sleep(3_600)
        return super().http(connection, default_url)


def troubled(store: psycopg.Connection, sink: LogSink, document: dict[str, Any]) -> Exporter:
    good = HttpCredentials(sink.url, headers={"Authorization": f"Bearer {sink.token}"})
    exporter = Exporter(store.info.dsn, store.info.dsn, Troubled(sink=good), policy=QUICK)
    exporter.settings.apply(validate_settings(document))
    return exporter


def test_a_malformed_key_and_a_hook_that_never_answers(
    filled: psycopg.Connection, sink: LogSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "OPEN_SECONDS", 1.0)
    http = {"type": "http", "format": "array"}
    broken = [
        ("key", {**http, "connection": "malformed"}),
        *((f"stuck{n}", {**http, "connection": f"stuck{n % 2}", "path": f"/{n}"}) for n in range(6)),
    ]
    healthy = [
        ("folder", {"type": "file", "path": str(tmp_path / "folder"), "packaging": "batch"}),
        ("hook", {**http, "connection": "sink"}),
    ]
    with troubled(filled, sink, own(*broken, *healthy)) as exporter:
        results, reports = export(exporter)
    states = {report.destination: report.state for report in reports}
    assert {name for name, state in states.items() if state is State.DELIVERED} == {"folder", "hook"}
    errors = {report.destination: report.error or "" for report in reports}
    assert "ValueError" in errors["key"] and "`malformed`" in errors["key"]
    assert "s3cr3t" not in repr(results) + repr(errors)
    assert all("has not answered" in errors[f"stuck{n}"] for n in range(6))


def test_receivers_that_never_answer_do_not_keep_the_memory_from_a_healthy_one(
    filled: psycopg.Connection, sink: LogSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight of them hold all the memory there is: each gives way, and the folder has its turn before one of them ends."""
    monkeypatch.setattr(deliver, "MEMORY_BYTES", 200_000)
    monkeypatch.setattr(deliver, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(deliver, "LOOK_SECONDS", 0.1)
    arrived = threading.Event()

    def fail(_: int) -> int | None:
        arrived.wait(60)  # until the folder is complete: a receiver that is asked and says nothing
        return None

    sink.fail = fail
    slow = [(f"a{n}", {"type": "http", "connection": "sink", "format": "array", "path": f"/{n}"}) for n in range(8)]
    folder = ("z", {"type": "file", "path": str(tmp_path / "z"), "packaging": "batch"})
    order: list[str] = []

    def progress(result: Any) -> None:
        order.append(result.lane.destination)
        if result.lane.destination == "z" and not result.error:
            arrived.set()

    with troubled(filled, sink, own(*slow, folder)) as exporter:
        planned = exporter.plan(WINDOW)
        exporter.deliver([key for share in planned.shares for key in share.lanes], progress)
        reports = exporter.seal(planned.delivery_ids)
    assert order[0] == "z"
    assert {report.state for report in reports} == {State.DELIVERED}
    assert sum(report.events for report in reports) == sum(
        len(body.splitlines()) for name, body in files(tmp_path / "z").items() if "_manifests" not in name
    ) + len({str(event) for event in sink.events()})
    assert sink.changed_repetitions == 0


def test_what_stopped_a_lane_is_written_where_it_gives_way_at_that_moment(
    filled: psycopg.Connection, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the ledger says that its task never ran, and not what its receiver has said."""
    monkeypatch.setattr(deliver, "MEMORY_BYTES", 400_000)
    monkeypatch.setattr(deliver, "STALL_SECONDS", 0.1)
    monkeypatch.setattr(deliver, "LOOK_SECONDS", 0.05)
    abandon, given_way = Outbox.abandon, 0
    leave = pipeline.DeliveryPipeline.leave

    async def slow(outbox: Outbox) -> None:
        await asyncio.sleep(0.3)
        await abandon(outbox)

    async def counting(left: pipeline.DeliveryPipeline) -> Any:
        nonlocal given_way
        given_way += 1
        return await leave(left)

    monkeypatch.setattr(Outbox, "abandon", slow)
    monkeypatch.setattr(pipeline.DeliveryPipeline, "leave", counting)
    sink.fail = lambda _: 401
    http = {"type": "http", "connection": "sink", "format": "array", "lanes": 1}
    refused = [(f"a{n}", {**http, "path": f"/{n}"}) for n in range(3)]
    with troubled(filled, sink, own(*refused)) as exporter:
        results, reports = export(exporter)
    assert given_way
    assert all("answered 401" in (result.error or "") for result in results)
    assert [report.error for report in reports if "answered 401" not in (report.error or "")] == []


def test_a_destination_planned_anew_by_another_run_fails_no_other(engine: Make, sink: LogSink, tmp_path: Path) -> None:
    destinations = [(f"d{n}", {"type": "file", "path": str(tmp_path / f"d{n}")}) for n in range(11)]
    hook = ("hook", {"type": "http", "connection": "sink", "format": "array", "lanes": 4})
    exporter = engine(own(*destinations, hook))
    planned = exporter.plan(WINDOW)
    other = engine(own(*destinations, (hook[0], {**hook[1], "lanes": 1})))
    anew = other.plan(WINDOW, only=["hook"])
    keys = [key for share in planned.shares for key in share.lanes]
    results = exporter.deliver(keys)
    assert {result.lane.destination for result in results if not result.error} >= {f"d{n}" for n in range(11)}
    other.deliver([key for share in anew.shares for key in share.lanes])
    assert {report.state for report in exporter.seal(planned.delivery_ids)} == {State.DELIVERED}


class SilentDatabase:
    """A way to a PostgreSQL, over TCP, that can fall silent: what is sent is taken, and nothing comes back."""

    def __init__(self, dsn: str) -> None:
        given = conninfo_to_dict(dsn)
        self._path = f"{given['host']}/.s.PGSQL.{given.get('port') or 5432}"
        self._server = socket.create_server(("127.0.0.1", 0))
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=self._server.getsockname()[1])
        self._speaks = threading.Event()
        self._speaks.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> None:
        self._speaks.clear()

    def speak(self) -> None:
        self._speaks.set()

    def _accept(self) -> None:
        while True:
            ours, _ = self._server.accept()
            theirs = socket.socket(socket.AF_UNIX)
            theirs.connect(self._path)
            for source, target in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                self._speaks.wait()
                target.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, target):
                end.close()


@pytest.fixture
def silent(filled: psycopg.Connection) -> Iterator[SilentDatabase]:
    database = SilentDatabase(filled.info.dsn)
    yield database
    database.speak()


def test_a_database_that_falls_silent_ends_every_statement(
    filled: psycopg.Connection, silent: SilentDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those, too, that no task of an event loop waits for: planning, sealing, the command line, the console."""
    document = override({"type": "file", "path": str(tmp_path)})
    with Exporter(silent.dsn, silent.dsn, Connections(), policy=QUICK) as exporter:
        exporter.settings.apply(validate_settings(document))
        planned = exporter.plan(WINDOW)
        monkeypatch.setattr(database, "STATEMENT_SECONDS", 0.5)
        silent.silence()
        for statement in (
            lambda: exporter.plan(WINDOW),
            lambda: exporter.seal(planned.delivery_ids),
            exporter.ledger.owed,
            exporter.settings.current,
        ):
            with pytest.raises(DatabaseError, match="it has not answered for"):
                statement()
            silent.speak()
            assert exporter.settings.current().id == planned.snapshot.id, "a new connection is made"
            silent.silence()


@pytest.mark.parametrize("which", ["control database", "log store"])
def test_a_database_that_falls_silent_fails_the_lane_instead_of_holding_it(
    filled: psycopg.Connection, sink: LogSink, silent: SilentDatabase, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    for module, name in ((leases, "ANSWER_SECONDS"), (checkpoints, "ANSWER_SECONDS"), (pipeline, "READ_SECONDS")):
        monkeypatch.setattr(module, name, 1.0)
    good = HttpCredentials(sink.url, headers={"Authorization": f"Bearer {sink.token}"})
    store, control = filled.info.dsn, filled.info.dsn
    given = (store, silent.dsn) if which == "control database" else (silent.dsn, control)
    monkeypatch.setattr(pipeline, "CHUNK_EVENTS", 200)
    document = override({"type": "http", "connection": "sink", "format": "array", "max_events": 50, "lanes": 1,
                         "concurrency": 1})  # fmt: skip

    def fail(number: int) -> None:
        if number == 5:
            silent.silence()

    sink.fail = fail  # type: ignore[assignment]
    exporter = Exporter(*given, Connections(sink=good), policy=QUICK)
    exporter.settings.apply(validate_settings(document))
    planned = exporter.plan(WINDOW)
    keys = [key for share in planned.shares for key in share.lanes]
    results = exporter.deliver(keys)
    assert [f"the {which} has not answered" in (result.error or "") for result in results] == [True]
    silent.speak()
    sink.fail = lambda _: None
    with Exporter(store, control, Connections(sink=good), policy=QUICK) as again:
        assert [result.error for result in again.deliver(keys)] == [None]
        (report,) = again.seal(planned.delivery_ids)
    assert (report.state, report.events) == (State.DELIVERED, 1_500)
    assert set(canonical(sink.events())) == set(stored(filled))
    assert sink.changed_repetitions == 0


@pytest.mark.parametrize(
    "raised", [StopIteration, StopAsyncIteration, asyncio.CancelledError, SystemExit, KeyboardInterrupt]
)
@pytest.mark.parametrize("method", ["put_now", "open", "close"])
def test_what_ends_loops_and_processes_ends_one_destination(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str,
    raised: type[BaseException],
) -> None:  # fmt: skip
    document = two_destinations(tmp_path / "out")
    document["destinations"]["hook"] = {"type": "file", "path": str(tmp_path / "bad"), "manifests": True}
    document["destinations"]["out"]["manifests"] = True
    exporter = engine(document)
    exporter.policy = type(exporter.policy)(attempts=1, base=0.001, cap=0.001)
    real = getattr(FileDestination, method)

    def breaks(self: FileDestination, *arguments: Any, **named: Any) -> Any:
        if self.name == "hook":
            raise raised("of a plug-in")
        return real(self, *arguments, **named)

    monkeypatch.setattr(FileDestination, method, breaks)
    found = run(exporter, 0)
    states = {name: delivery.state for (name, _), delivery in found.items()}
    assert states["out"] is State.DELIVERED
    assert states["hook"] is (State.DELIVERED if method == "close" else State.FAILED)
    assert method == "close" or raised.__name__ in str(
        next(d.error for (name, _), d in found.items() if name == "hook")
    )
