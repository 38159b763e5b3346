"""What the suite stands on: a log store, the settings, an export, and the readings that its tests compare."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, LiteralString

import orjson
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL

from logstream.control.engine import open_control
from logstream.destinations.base import Destination
from logstream.destinations.credentials import Connections, HttpCredentials
from logstream.destinations.outcome import Outcome
from logstream.destinations.parcel import LaneRef, Parcel
from logstream.destinations.registry import make_destination
from logstream.destinations.request import RequestDestination
from logstream.destinations.transport.addresses import VARIABLE as ALLOW_VARIABLE
from logstream.errors import ConnectionNotFound
from logstream.events import Event
from logstream.export.exporter import Exporter
from logstream.export.send import RetryPolicy
from logstream.ledger.records import Delivery
from logstream.messages import Messages
from logstream.settings.models import Settings
from logstream.settings.resolution import Workspace
from logstream.store.schema import create_tables
from logstream.testing.filling import fill
from logstream.testing.postgres import new_database, quick_postgres
from logstream.testing.statements import share_statements
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
def _server() -> str:
    """The suite's PostgreSQL, until the process ends: the DSN of a log store with all tables, and nothing in them."""
    share_statements()
    held = ExitStack()
    atexit.register(held.close)
    dsn = held.enter_context(quick_postgres())
    with psycopg.connect(dsn, autocommit=True) as connection:
        create_tables(connection)
    open_control(dsn).dispose()
    return dsn


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


class ContractBase:
    """A receiver, the credentials to it, a log store, and an export between them."""

    type: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    keeps_order: ClassVar[bool] = True
    """Whether the receiver gives events back in the order in which they came."""
    permanent_status: ClassVar[int] = 403
    events: ClassVar[int] = 1_500
    many: ClassVar[int] = 11_000

    @pytest.fixture
    def server(self) -> Iterator[Vendor]:
        """The receiver: it counts what comes, in `taken`, and fails on purpose, by `fail`."""
        raise NotImplementedError("give the fixture `server`")

    def connections(self, server: Vendor) -> Connections:
        """The credentials to it."""
        return StaticConnections(HttpCredentials(server.url, password=server.token))

    def settings_for(self, server: Vendor) -> dict[str, Any]:
        """Options that name the server itself, where that is not the connection's part. `None` leaves out one of the suite's."""
        return {}

    @pytest.fixture
    def store(self) -> Iterator[psycopg.Connection]:
        """An empty log store."""
        server = _server()
        with (
            new_database(make_conninfo(server, dbname="postgres"), template="logstream") as dsn,
            psycopg.connect(dsn, autocommit=True) as connection,
        ):
            yield connection

    def fill(self, store: psycopg.Connection, events: int) -> None:
        """Load events of all kinds."""
        fill(store, WORKSPACES, events, START, timedelta(minutes=5))

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
            "destinations": {"d": {name: value for name, value in destination.items() if value is not None}},
        }
        return validate_settings(document)

    def export(
        self,
        store: psycopg.Connection,
        server: Vendor,
        connections: Connections | None = None,
        window: Window = WINDOW,
        settings: Settings | None = None,
        **options: Any,
    ) -> Delivery:
        """Export a window, by `settings` that were made before or by those of the options."""
        dsn = store.info.dsn
        with Exporter(dsn, dsn, connections or self.connections(server), policy=QUICK) as exporter:
            exporter.settings.apply(settings or self.settings(server, **options))
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

    small_requests: ClassVar[dict[str, Any]] = {}
    """Options that make requests small, where there are any."""
    kill_at: ClassVar[int] = 1
    """After how many requests of `events` events, so made, to be killed."""


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


def frozen_at(send: int, export: Callable[[], object], kind: type[Destination[Any]]) -> None:
    """Run an export in a thread that freezes for ever right after its `send`-th sending; return when it has.

    A client in native code may not outlive a fork, so a process of its own is not for every destination.
    """
    original, seen, frozen = kind.send, 0, threading.Event()

    async def counted(self: Any, parcel: Parcel) -> Outcome:
        nonlocal seen
        outcome = await original(self, parcel)
        seen += 1
        if seen >= send:
            frozen.set()
            threading.Event().wait()  # the whole event loop with it: it renews no lease
        return outcome

    kind.send = counted  # type: ignore[method-assign]
    try:
        threading.Thread(target=export, name="frozen worker", daemon=True).start()
        assert frozen.wait(60), f"nothing was sent {send} times"
    finally:
        kind.send = original  # type: ignore[method-assign]


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
    return Counter(map(_as_text, documents))


def _as_text(document: Any) -> str:
    try:
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # numbers and texts that JSON has and orjson has not
        return json.dumps(document, sort_keys=True)
