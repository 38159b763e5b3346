"""Where worlds can be: a PostgreSQL, the receivers, a clock of their own, quick retries, and no log."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from logstream import clock
from logstream.destinations.credentials import AwsCredentials, HttpCredentials
from logstream.destinations.transport import way
from logstream.errors import ConnectionNotFound
from logstream.export.exporter import Exporter
from logstream.store.schema import create_tables
from logstream.testing.postgres import new_database, quick_postgres
from tests.simulation.fates import FatedLoops
from tests.simulation.memory import without_wire
from tests.simulation.moments import START
from tests.simulation.receivers import Receivers
from tests.simulation.wire import Wire

QUICKLY = 0.05
"""A second that the engine waits, in seconds."""

LOOKS = 1.0
"""Seconds that are slept at most between two looks; longer sleeps are for other reasons."""


class WorldClock(clock.Clock):
    """The world's time: waiting is quick, hours pass when the world says so, and the time of day steps to and fro."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.stepped = 0
        self.waited = 0.0
        """Seconds that were slept by those who look again and again whether what they wait for has come."""

    def monotonic(self) -> float:
        """Real seconds, and those that the world let pass."""
        return time.monotonic() + self.ahead

    def time_ns(self) -> int:
        """The time of day of a machine whose clock has stepped."""
        return time.time_ns() + self.stepped * 1_000_000_000

    async def sleep(self, seconds: float) -> None:
        """A little of it."""
        if seconds <= LOOKS:
            self.waited += seconds
        await asyncio.sleep(seconds * QUICKLY)

    def pause(self, seconds: float) -> None:
        """A little of it."""
        time.sleep(seconds * QUICKLY)


class Connections:
    """Connections to the receivers of one world."""

    def __init__(self, url: str, world: str) -> None:
        self._url, self._world = url, world

    def aws(self, connection: str) -> AwsCredentials:
        """To a bucket; buckets are told apart by the path before them."""
        return AwsCredentials(dict, "us-east-1", f"{self._url}/s3", anonymous=True)

    def http(self, connection: str, default_url: str | None = None) -> HttpCredentials:
        """To a service."""
        return HttpCredentials(f"{self._url}/post/{self._world}-{connection}", password="token")

    def azure_blob(self, connection: str) -> Any:
        """There is none."""
        raise ConnectionNotFound(connection)

    gcs = azure_token = azure_blob


class Universe:
    """What the worlds of a process share: the receivers, how they are reached, and a PostgreSQL with a database to copy."""

    def __init__(self, dsn: str, receivers: Receivers, url: str) -> None:
        self.dsn, self.receivers, self.url = dsn, receivers, url
        self._numbers = itertools.count(1)

    @contextmanager
    def database(self) -> Iterator[tuple[str, str]]:
        """The name of a new world, and its database."""
        name = f"w{os.getpid()}x{next(self._numbers)}"
        try:
            with new_database(self.dsn, "world_template", name) as dsn:
                yield name, dsn
        finally:
            self.receivers.forget(name)


@contextmanager
def universe(dsn: str, *, wire: bool = True) -> Iterator[Universe]:
    """Make one, with or without the wire. `dsn` is that of a `server`, which the universes of several processes may share."""
    with ExitStack() as stack:
        stack.enter_context(_replaced())
        receivers = Receivers()
        url = Wire(receivers).url if wire else stack.enter_context(without_wire(receivers))
        yield Universe(dsn, receivers, url)


@contextmanager
def server() -> Iterator[str]:
    """Start a PostgreSQL for worlds, in memory where the machine has such a folder; gives its DSN."""
    with quick_postgres() as dsn:
        _make_template(dsn)
        yield dsn


def _make_template(dsn: str) -> None:
    """Make the database that every world begins with: a log store and a control database, both empty."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create database world_template")
    template = make_conninfo(dsn, dbname="world_template")
    with psycopg.connect(template, autocommit=True) as connection:
        create_tables(connection)
        # as in a platform's own tables: workspaces may go before their events
        connection.execute("alter table events drop constraint events_workspace_id_fkey")
    Exporter(template, template, Connections("", "")).close()
    with psycopg.connect(template, autocommit=True) as connection:
        connection.execute("update logstream.settings_snapshots set created_at = %s", (START - timedelta(days=1),))


@contextmanager
def _replaced() -> Iterator[None]:
    """Event loops that know of fates, no retries below ours, private addresses, and silence."""
    before, retries = asyncio.get_event_loop_policy(), way.RETRIES
    os.environ["LOGSTREAM_ALLOW_PRIVATE_ADDRESSES"] = "1"
    asyncio.set_event_loop_policy(FatedLoops())
    way.RETRIES = 0
    sys.setswitchinterval(0.0005)  # a world's threads have little to do each, and hand over to one another all the time
    loggers = [logging.getLogger(name) for name in ("logstream", "asyncio", "sqlalchemy")]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(before)
        way.RETRIES = retries
        for logger in loggers:
            logger.setLevel(logging.NOTSET)
