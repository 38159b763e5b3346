"""The contract of destinations that take requests, as pytest classes: for ours, and for authors of plug-ins.

    class TestAcme(LimitsBytes):  # and RefusesSingleEvents, where it does
        type = "acme"
        options = {"stream": "audit"}

        @pytest.fixture
        def server(self):
            with AcmeServer() as server:  # a LogSink or a Vendor: strict, counting, and able to fail on purpose
                yield server

Needs pytest; the log store is an embedded PostgreSQL of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import json
import logging
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, LiteralString

import psycopg
import pytest
from psycopg.sql import SQL

from logstream.destinations import check_options
from logstream.destinations.base import Destination
from logstream.destinations.credentials import Connections, HttpCredentials
from logstream.destinations.outcome import Outcome
from logstream.destinations.parcel import LaneRef, Parcel
from logstream.destinations.registry import destination_type, make_destination
from logstream.destinations.request import RequestDestination
from logstream.destinations.transport.addresses import VARIABLE as ALLOW_VARIABLE
from logstream.destinations.transport.secrets import EXCERPT
from logstream.embedded import embedded_dsn
from logstream.errors import ConnectionNotFound
from logstream.events import Event
from logstream.export.exporter import Exporter
from logstream.export.send import RetryPolicy
from logstream.ledger.records import Delivery, State
from logstream.messages import Messages
from logstream.settings.models import Settings
from logstream.settings.resolution import Workspace
from logstream.store.load import load_file
from logstream.store.schema import create_tables
from logstream.testing.echoes import ECHOES, cut_at_secrets, given_away, packed, sent_secrets
from logstream.testing.events import EventMaker, workspace_line
from logstream.testing.servers import CLOSED, HALF
from logstream.testing.vendors import Vendor
from logstream.validation import validate_settings
from logstream.window import Window

START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=5))
WORKSPACES = [Workspace(100 + number, f"c{number}") for number in range(12)]
EVERYTHING = ["job_details", "user_activity", "api_platform", "log_service"]
QUICK = RetryPolicy(attempts=12, base=0.005, cap=0.02)
CANARY = "canary-7b1f0c94e2"

Export = Callable[..., Delivery]


@functools.cache
def _folder() -> Path:
    """Where the suite's PostgreSQL keeps its data until the process ends.

    Not below pytest's own temporary folder: every start of pytest closes that to other users, and the server is one when root
    runs the tests.
    """
    folder = Path(tempfile.mkdtemp(prefix="logstream-contract-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class StaticConnections:
    """Credentials from a dictionary, where Airflow is not wanted."""

    def __init__(self, http: HttpCredentials, token: str = "") -> None:
        self._http, self._token = http, token

    def http(self, connection: str, default_url: str | None = None) -> HttpCredentials:
        """See `Connections`."""
        return self._http

    def azure_token(self, connection: str) -> Callable[[str], str]:
        """See `Connections`."""
        return lambda _: self._token

    def aws(self, connection: str) -> Any:
        """See `Connections`."""
        raise ConnectionNotFound(connection)

    azure_blob = gcs = aws


class RequestContract:
    """What every destination that takes requests must hold to."""

    type: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    keeps_order: ClassVar[bool] = True
    """Whether the receiver gives events back in the order in which they came."""
    permanent_status: ClassVar[int] = 403
    events: ClassVar[int] = 1_500
    many: ClassVar[int] = 20_000

    @pytest.fixture
    def server(self) -> Iterator[Vendor]:
        """The receiver: it counts what comes, in `taken`, and fails on purpose, by `fail`."""
        raise NotImplementedError("give the fixture `server`")

    def connections(self, server: Vendor) -> Connections:
        """The credentials to it."""
        return StaticConnections(HttpCredentials(server.url, password=server.token))

    def settings_for(self, server: Vendor) -> dict[str, Any]:
        """Options that name the server itself, where that is not the connection's part."""
        return {}

    @pytest.fixture
    def store(self) -> Iterator[psycopg.Connection]:
        """An empty log store."""
        data = _folder() / "postgres"
        name = f"contract_{time.time_ns()}"
        dsn = embedded_dsn(name, data)
        with psycopg.connect(dsn, autocommit=True) as connection:
            create_tables(connection)
            yield connection
        with psycopg.connect(embedded_dsn("postgres", data), autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")

    def fill(self, store: psycopg.Connection, folder: Path, events: int) -> None:
        """Load events of all kinds."""
        file = folder / "events.ndjson"
        lines = EventMaker(WORKSPACES).lines(events, START, timedelta(minutes=5))
        file.write_text("\n".join([*map(workspace_line, WORKSPACES), *lines]) + "\n")
        load_file(store, file)

    def settings(self, server: Vendor, **options: Any) -> Settings:
        """The override to the server."""
        destination = {
            "type": self.type,
            "connection": "contract",
            **self.options,
            **self.settings_for(server),
            **options,
        }
        document = {
            "admin": {"enabled": True, "events": EVERYTHING, "destination": "d"},
            "destinations": {"d": destination},
        }
        return validate_settings(document)

    def export(
        self,
        store: psycopg.Connection,
        server: Vendor,
        connections: Connections | None = None,
        window: Window = WINDOW,
        **options: Any,
    ) -> Delivery:
        """Export a window."""
        dsn = store.info.dsn
        with Exporter(dsn, dsn, connections or self.connections(server), policy=QUICK) as exporter:
            exporter.settings.apply(self.settings(server, **options))
            planned = exporter.plan(window)
            exporter.deliver([key for share in planned.shares for key in share.lanes])
            (report,) = exporter.seal(planned.delivery_ids)
            return report

    def opened(self, server: Vendor) -> Destination[Any]:
        """The destination, not yet open."""
        return make_destination("d", self.settings(server).destinations["d"], self.connections(server))

    @pytest.fixture(autouse=True)
    def _allow_this_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(ALLOW_VARIABLE, "1")

    @pytest.mark.parametrize("compression", ["none", "gzip"])
    def test_all_once_and_in_order(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path, compression: str
    ) -> None:
        """With one request at a time, the order is the store's."""
        self.fill(store, tmp_path, self.events)
        report = self.export(store, server, compression=compression, lanes=1, concurrency=1)
        assert (report.state, report.events, report.error) == (State.DELIVERED, self.events, None)
        assert canonical(server.taken) == stored(store)
        assert report.requests == server.requests
        if self.keeps_order:
            rows = store.execute("select payload::text from events order by recorded_at, id").fetchall()
            assert server.taken == [json.loads(text) for (text,) in rows]

    def test_quiet_workspaces_beside_a_busy_one(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path
    ) -> None:
        """Most pages of the window hold nothing of the quiet ones: their one event arrives all the same."""
        file = tmp_path / "events.ndjson"
        busy, quiet = WORKSPACES[:1], WORKSPACES[1:10]
        lines = [*EventMaker(busy).lines(2_500, START, timedelta(minutes=5))]
        lines += [
            line
            for number, workspace in enumerate(quiet)
            for line in EventMaker([workspace]).lines(
                1, START + timedelta(seconds=30 * number), timedelta(seconds=1), 10_000 + number
            )
        ]
        file.write_text("\n".join([*map(workspace_line, WORKSPACES), *lines]) + "\n")
        load_file(store, file)
        report = self.export(store, server, lanes=8)
        assert (report.state, report.events, report.error) == (State.DELIVERED, 2_509, None)
        assert canonical(server.taken) == stored(store)

    def test_complete_while_one_request_in_five_fails(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path
    ) -> None:
        """429, 503, broken connections, half answers: all arrives, and what is repeated is the same under the same key."""
        self.fill(store, tmp_path, self.many)
        dice = random.Random(5)
        server.fail = lambda _: dice.choice((429, 503, CLOSED, HALF)) if dice.random() < 0.2 else None
        report = self.export(store, server, concurrency=4)
        assert (report.state, report.events, report.error) == (State.DELIVERED, self.many, None)
        assert canonical(server.taken) == stored(store)
        assert server.changed_repetitions == 0

    def test_retry_after_is_honoured(self, store: psycopg.Connection, server: Vendor, tmp_path: Path) -> None:
        """Nothing comes before the time the receiver asked for."""
        self.fill(store, tmp_path, 5)
        times: list[float] = []

        def fail(_: int) -> int | None:
            times.append(time.monotonic())
            return 429 if len(times) == 1 else None

        server.fail, server.answer_headers = fail, {"Retry-After": "1"}
        assert self.export(store, server, lanes=1, concurrency=1).state is State.DELIVERED
        assert times[1] - times[0] >= 1.0

    def test_what_cannot_be_helped_is_not_tried_again(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path
    ) -> None:
        """A refused credential fails at once, with words that tell what to do."""
        self.fill(store, tmp_path, 100)
        server.fail = lambda _: self.permanent_status
        report = self.export(store, server, lanes=1, concurrency=1)
        assert (report.state, report.events) == (State.FAILED, 0)
        assert server.requests == 1
        assert "`contract`" in (report.error or "")

    def test_after_a_kill_at_most_what_was_under_way_comes_again(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path
    ) -> None:
        """With the same key and the same bytes."""
        self.fill(store, tmp_path, self.events)
        killed_at(self.kill_at, lambda: self.export(store, server, lanes=1, concurrency=2, **self.small_requests))
        report = self.export(store, server, lanes=1, concurrency=2, **self.small_requests)
        assert (report.state, report.events) == (State.DELIVERED, self.events)
        assert sum(times - 1 for times in server.keys.values()) <= 2
        assert server.changed_repetitions == 0
        assert set(canonical(server.taken)) == set(stored(store))

    small_requests: ClassVar[dict[str, Any]] = {}
    """Options that make requests small, where there are any."""
    kill_at: ClassVar[int] = 1
    """After how many requests of `events` events, so made, to be killed."""

    def test_secrets_appear_nowhere(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Not in the ledger, in errors, in logs or in a `repr`, whatever the receiver answers."""
        self.fill(store, tmp_path, 50)
        caplog.set_level(logging.DEBUG)
        server.token = CANARY
        connections = self.connections(server)
        written = [repr(connections.http("contract")), repr(self.opened(server))]
        server.failure_answer = lambda status: f"{status}: no token {CANARY} at {server.url}/{CANARY}".encode()  # type: ignore[method-assign]
        for status in (400, 401, 403, 404, 413, 429, 503, CLOSED, HALF, None):
            server.fail = lambda _, status=status: status  # type: ignore[misc]
            report = self.export(store, server, connections)
            written += [repr(report), json.dumps(report.as_json())]
        written += ledger_texts(store)
        written += [record.getMessage() for record in caplog.records]
        assert [text for text in written if CANARY in text] == []

    @pytest.mark.parametrize("status", [400, 413, 415, 422])
    def test_events_that_are_refused_for_their_content_are_rejected_alone(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path, status: int
    ) -> None:
        """The first, one in the middle and the last of a window: the others arrive, once; the right ones are dead letters."""
        self.fill(store, tmp_path, 200)
        bad = [min(ids_in_order(store)), ids_in_order(store)[100], ids_in_order(store)[-1]]
        poison(store, bad)
        server.poison = lambda plain: status if b"p0is0n" in plain else None
        report = self.export(store, server, lanes=1)
        assert (report.state, report.events, report.rejected) == (State.DELIVERED, 197, 3), report.error
        rows = store.execute("select event_id, reason from logstream.rejections").fetchall()
        assert {row[0] for row in rows} == set(bad)
        assert all(str(status) in row[1] for row in rows)
        assert canonical(server.taken) == stored(store, "payload->>'p' is null")

    @pytest.mark.parametrize("method", ["entry", "encode"])
    def test_an_exception_for_one_event_rejects_that_event(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        """Whatever the class raises for it: the others arrive."""
        self.fill(store, tmp_path, 60)
        bad = ids_in_order(store)[30]
        poison(store, [bad])
        kind = destination_type(self.type)
        original = getattr(kind, method)

        def broken(destination: Any, *arguments: Any) -> bytes:
            made: bytes = original(destination, *arguments)
            if b"p0is0n" in made:
                raise OverflowError("date value out of range")
            return made

        monkeypatch.setattr(kind, method, broken)
        report = self.export(store, server)
        assert (report.state, report.events, report.rejected) == (State.DELIVERED, 59, 1), report.error
        rows = store.execute("select event_id, reason from logstream.rejections").fetchall()
        assert rows == [(bad, "it cannot be made ready for sending (OverflowError: date value out of range)")]
        assert canonical(server.taken) == stored(store, "payload->>'p' is null")

    def test_strange_values_stop_nothing(self, store: psycopg.Connection, server: Vendor, tmp_path: Path) -> None:
        """Half a surrogate pair, a number beyond all floats, no time at all: each arrives or is rejected, all others arrive."""
        self.fill(store, tmp_path, 50)
        payloads = [
            '{"id": "1", "x": "\\ud800"}',
            '{"id": "2", "x": 1e999}',
            '{"id": "3", "x": [1e400, "\\udfff\\ud800"]}',
        ]
        times = ["2026-03-01T00:00:00Z", "infinity", "-infinity", "0001-01-01T00:00:00Z BC"]
        for number, (payload, moment) in enumerate(itertools.product(payloads, times)):
            store.execute(
                "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload)"
                " values (%s, 100, 'job', %s, %s, %s)",
                (9000 + number, moment, START + timedelta(seconds=20 * number), payload),
            )
        report = self.export(store, server)
        assert (report.state, report.events + report.rejected) == (State.DELIVERED, 62), report.error
        assert canonical(server.taken) >= stored(store, "id < 9000")

    def test_a_receiver_that_refuses_everything_is_failing(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path
    ) -> None:
        """Sixty of sixty refused are no dead letters, and nothing is lost: it is delivered once the receiver is mended."""
        self.fill(store, tmp_path, 60)
        server.poison = lambda _: 400
        for lanes in (1, 4):
            report = self.export(store, server, lanes=lanes, concurrency=2)
            assert (report.state, report.events, report.rejected) == (State.FAILED, 0, 0)
            assert "refused each of" in (report.error or "") and "400" in (report.error or "")
        assert store.execute("select count(*) from logstream.rejections").fetchone() == (0,)
        assert server.requests < 600
        server.poison = lambda _: None
        report = self.export(store, server, lanes=4, concurrency=2)
        assert (report.state, report.events, report.rejected) == (State.DELIVERED, 60, 0)
        assert canonical(server.taken) == stored(store)

    def test_one_poisoned_event_alone_is_believed_after_the_receiver_has_taken_others(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path
    ) -> None:
        """In a window of its own, or in a lane of its own beside lanes that arrive; not in the first window ever."""
        self.fill(store, tmp_path, 1)
        poison(store, ids_in_order(store))
        server.poison = lambda plain: 400 if b"p0is0n" in plain else None
        report = self.export(store, server)
        assert (report.state, report.events, report.rejected) == (State.FAILED, 0, 0)
        later = Window(WINDOW.end, WINDOW.end + (WINDOW.end - WINDOW.start))
        store.execute(
            "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload) values (50, 100, 'job', %s, %s, %s)",
            (later.start, later.start, json.dumps({"id": "later"})),
        )
        assert self.export(store, server, window=later).state is State.DELIVERED
        report = self.export(store, server)
        assert (report.state, report.events, report.rejected) == (State.DELIVERED, 0, 1)

    @pytest.mark.parametrize(
        "page", ["<!DOCTYPE html><html><body>Sign in</body></html>", "\n <HTML lang=en><p>It works!</p>"]
    )
    def test_a_page_of_html_is_no_success(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path, page: str
    ) -> None:
        """A login wall and the wrong port answer 200, too."""
        self.fill(store, tmp_path, 5)
        server.fail, server.echo = lambda _: 200, lambda _, __: page.encode()
        report = self.export(store, server, lanes=1, concurrency=1)
        assert (report.state, report.events) == (State.FAILED, 0)
        assert "correct the address of connection `contract`" in (report.error or "")
        assert server.requests == 1
        failed = [step for step in asyncio.run(steps_of(self.opened(server))) if not step.ok]
        assert failed and all(step.remedy for step in failed)

    def test_what_a_receiver_echoes_is_masked(self, server: Vendor) -> None:
        """In every encoding, cut anywhere, packed or not, with every status, by an export and by a check."""

        async def outcomes() -> list[str]:
            destination = self.opened(server)
            await destination.start()
            try:
                return [str(await destination.deliver(one_event(destination))) for _ in range(2)]
            finally:
                await destination.close()

        server.token, server.fail = CANARY, lambda _: 400
        asyncio.run(outcomes())
        secrets = {server.token, *sent_secrets(server.heads)}

        def cut(head: str) -> list[str]:
            sent = {server.token, *sent_secrets(server.heads[-1:])}
            return list(cut_at_secrets(head, sent, EXCERPT))

        ways: list[Callable[[str], str]] = [*ECHOES.values()]
        ways += [lambda head, n=n: (cut(head) or [head])[n % max(1, len(cut(head)))] for n in range(15)]  # type: ignore[misc]
        for number, way in enumerate(ways):
            server.fail = lambda _, number=number: (400, 401, 403, 404, 413, 429, 500)[number % 7]  # type: ignore[misc]
            server.answer_headers = {"Content-Encoding": "gzip"} if number % 2 else {}
            server.echo = lambda head, _, way=way, pack=number % 2: (packed if pack else bytes)(way(head).encode())
            written = [*asyncio.run(outcomes()), *map(str, asyncio.run(steps_of(self.opened(server))))]
            secrets |= sent_secrets(server.heads)
            for text in written:
                assert given_away(text, secrets) == [], (number, text, given_away(text, secrets))

    def test_an_echo_reaches_neither_ledger_nor_logs(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Through the whole engine: errors, dead letters and the log."""
        self.fill(store, tmp_path, 5)
        caplog.set_level(logging.DEBUG)
        server.token = CANARY
        written: list[str] = []
        for status in (400, 403, 413, 503):
            server.fail, server.echo = (lambda _, status=status: status), lambda head, _: head.encode()  # type: ignore[misc]
            report = self.export(store, server)
            written += [repr(report), json.dumps(report.as_json())]
        written += ledger_texts(store) + [record.getMessage() for record in caplog.records]
        assert any("answered" in text for text in written)
        secrets = {server.token, *sent_secrets(server.heads)}
        told = [(text, given_away(text, secrets)) for text in written if given_away(text, secrets)]
        assert told == [], told

    def test_this_machine_and_private_networks_are_refused_unless_allowed(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Customers choose addresses; only the operator may open what is inside."""
        self.fill(store, tmp_path, 5)
        monkeypatch.delenv(ALLOW_VARIABLE)
        report = self.export(store, server)
        assert report.state is State.FAILED
        assert ALLOW_VARIABLE in (report.error or "")
        assert server.requests == 0

    def test_redirects_are_not_followed(self, store: psycopg.Connection, server: Vendor, tmp_path: Path) -> None:
        """They would lead around the address check, with the credentials."""
        self.fill(store, tmp_path, 5)
        server.fail, server.answer_headers = (lambda _: 302), {"Location": f"{server.url}/elsewhere"}
        report = self.export(store, server, lanes=1, concurrency=1)
        assert report.state is State.FAILED
        assert "redirects are not followed" in (report.error or "")
        assert server.requests == 1

    def test_options_are_checked_and_explained(self) -> None:
        """Unknown ones are refused; each says what it is for."""
        given = {"connection": "c", **self.options}
        assert any(path == ("no_such_option",) for path, _ in check_options(self.type, {**given, "no_such_option": 1}))
        for name, field in destination_type(self.type).options_model.model_fields.items():
            assert field.description, f"{name} has no description"

    def test_a_check_takes_a_test_event(self, server: Vendor) -> None:
        """Every step says what it found, and a failed one what to do."""
        assert [step.ok for step in asyncio.run(steps_of(self.opened(server)))].count(False) == 0
        server.fail = lambda _: self.permanent_status
        failed = [step for step in asyncio.run(steps_of(self.opened(server))) if not step.ok]
        assert failed and all(step.remedy for step in failed)


class RefusesSingleEvents(RequestContract):
    """Besides, for a receiver that says which event of a request it finds bad (`server.bad` decides)."""

    def test_one_bad_event_is_rejected_and_the_rest_arrives(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path
    ) -> None:
        """The ledger names it, with the reason."""
        self.fill(store, tmp_path, self.events)
        poison(store, [3, 500, 501, 1200])
        server.bad = lambda event: "p" in event
        report = self.export(store, server, lanes=2)
        assert (report.state, report.events, report.rejected) == (State.DELIVERED, self.events - 4, 4)
        rows = store.execute("select event_id, reason from logstream.rejections").fetchall()
        assert {row[0] for row in rows} == {3, 500, 501, 1200} and all(row[1] for row in rows)
        assert len(server.taken) == self.events - 4


class LimitsBytes(RequestContract):
    """Besides, for a receiver for which there is an event too large."""

    def test_events_too_large_are_rejected_alone(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path
    ) -> None:
        """Before anything is sent: the receiver sees nothing that is beyond its limits."""
        self.fill(store, tmp_path, self.events)
        store.execute(
            "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload)"
            " values (9000, 100, 'job', %s, %s, %s)",
            (START, START + timedelta(minutes=2), json.dumps({"id": "big", "text": "x" * 6_000_000})),
        )
        report = self.export(store, server)
        assert (report.state, report.events, report.rejected) == (State.DELIVERED, self.events, 1)
        (rejection,) = store.execute("select event_id, reason from logstream.rejections").fetchall()
        assert rejection[0] == 9000 and "at most" in rejection[1]


async def steps_of(destination: Destination[Any]) -> list[Any]:
    """All steps of a check."""
    return [step async for step in destination.run_check()]


def killed_at(send: int, export: Callable[[], object], method: tuple[type, str] = (RequestDestination, "send")) -> None:
    """Run an export in a process of its own that is killed (SIGKILL) right after its `send`-th sending."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
        return
    try:  # the child: only the killing ends it as it should
        owner, name = method
        original, seen = getattr(owner, name), 0

        async def counted(self: Any, *arguments: Any) -> Outcome:
            nonlocal seen
            outcome: Outcome = await original(self, *arguments)
            seen += 1
            if seen >= send:
                os.kill(os.getpid(), signal.SIGKILL)
            return outcome

        setattr(owner, name, counted)
        export()
    finally:
        os._exit(1)


def one_event(destination: Destination[Any]) -> Parcel:
    """A parcel with one small event."""
    (parcel,) = small_parcels(destination, 1)
    return parcel


def small_parcels(destination: Destination[Any], events: int) -> list[Parcel]:
    """The parcels of a lane with so many small events, numbered from 0."""
    messages = [b'{"id": "%d"}' % number for number in range(events)]
    found = [Event(number, 100, "job", 0, number, message) for number, message in enumerate(messages)]
    packer = destination.packer(LaneRef("d", WINDOW, 0, 1), 0)
    return [*packer.pack(found, Messages(messages)), *packer.finish()]


def ledger_texts(connection: psycopg.Connection) -> list[str]:
    """Every row of settings and ledger, as text."""
    tables = connection.execute("select tablename from pg_tables where schemaname = 'logstream'").fetchall()
    return [row[0] for (table,) in tables for row in connection.execute(f"select t::text from logstream.{table} t")]


def ids_in_order(connection: psycopg.Connection) -> list[int]:
    """The ids of the store's events, in the order in which they are delivered."""
    return [row[0] for row in connection.execute("select id from events order by recorded_at, id")]


def poison(connection: psycopg.Connection, ids: list[int]) -> None:
    """Put a mark into events by which a receiver may refuse them (`Vendor.poison`)."""
    mark = 'update events set payload = (payload::jsonb || \'{"p": "p0is0n"}\')::json where id = any(%s)'
    connection.execute(mark, (ids,))


def stored(connection: psycopg.Connection, condition: LiteralString = "true") -> Counter[str]:
    """The payloads of the store, as text that compares."""
    rows = connection.execute(SQL("select payload::text from events where " + condition)).fetchall()
    return canonical([json.loads(text) for (text,) in rows])


def canonical(documents: list[Any]) -> Counter[str]:
    """Documents as text that compares."""
    return Counter(json.dumps(document, sort_keys=True) for document in documents)
