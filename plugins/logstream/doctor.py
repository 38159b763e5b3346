"""Looks at all that a deployment stands on, step by step, and says what is wrong in words. Reads only; nothing is sent.

Databases, versions, writers that keep windows open, connections, clocks, plug-ins, permissions. `cli/doctor.py` adds what only
Airflow can tell.
"""

from __future__ import annotations

import asyncio
import difflib
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import UTC, timedelta
from typing import Any

import psycopg

from logstream import __version__, clock
from logstream.control.engine import HEAD, open_control, revision_of
from logstream.control.tables import SCHEMA
from logstream.database import connect, database_errors
from logstream.database import describe as named
from logstream.destinations.base import Destination
from logstream.destinations.credentials import Connections, SharedConnections
from logstream.destinations.registry import destination_type, make_destination, registered
from logstream.embedded import home
from logstream.errors import DatabaseError, InputError, LogstreamError
from logstream.proof.signing import Signer
from logstream.settings.models import LogStoreSettings, Settings
from logstream.settings.notices import absent
from logstream.settings.repository import SettingsRepository
from logstream.steps import Step
from logstream.store.check import check_store
from logstream.store.closing import WRITERS, Writer, writer_of
from logstream.store.lineage import sources
from logstream.units import counted

CLOCK_SECONDS = 30.0
"""Clocks that differ by more than this are named. Windows go by the log store's clock alone; leases, schedules and tokens of
cloud services go by others."""

WRITER_AGE = timedelta(minutes=5)
"""A transaction that has held a writer's lock for longer keeps windows open that people wait for."""

VARIABLES = {
    "LOGSTREAM_ALLOW_PRIVATE_ADDRESSES": "destinations may be on loopback and private networks",
    "LOGSTREAM_CHECK_SCHEDULE": "when destinations are tried out",
    "LOGSTREAM_CONTROL_DSN": "where settings and ledger live, if not beside the log store",
    "LOGSTREAM_DEADLINE_MINUTES": "after how long a scheduled run that has not sealed its window is told of",
    "LOGSTREAM_DELIVER_POOL": "the Airflow pool of the tasks that deliver",
    "LOGSTREAM_DELIVER_POOLS": "Airflow pools of groups of destinations",
    "LOGSTREAM_DSN": "the log store",
    "LOGSTREAM_FILE_ROOTS": "folders below which `file` destinations may write",
    "LOGSTREAM_GAPS_PER_RUN": "windows of gaps that a run takes along",
    "LOGSTREAM_HOME": "where Logstream keeps what it keeps locally",
    "LOGSTREAM_NOTIFIERS": "who is told of what",
    "LOGSTREAM_OWED_PER_RUN": "owed windows that a run takes along for each destination",
    "LOGSTREAM_PERMISSION": "the resource of the auth manager that decides who may use the console",
    "LOGSTREAM_SCHEDULE": "the export DAG's schedule",
    "LOGSTREAM_SUSPEND_AFTER": "failed windows in a row that suspend a destination",
    "LOGSTREAM_WAIT_SECONDS": "how long a run waits for a window to close",
}
"""Every variable of the environment that an operator may set, and what it means."""

ELSEWHERE = {f"LOGSTREAM_{word}" for word in ("IMAGE", "SOAK")}
"""Those that docker-compose.yml and the tests read."""


def examine(
    store: str, control: str, connections: Connections, signer: Callable[[], Signer | None] | None = None
) -> Iterator[Step]:
    """Every step, in an order in which the first failure is the one to mend first."""
    yield Step("Python 3.11 or newer", sys.version_info >= (3, 11), sys.version.split()[0], "Install a newer Python.")
    yield Step("Logstream is installed", True, __version__)
    yield from variables(os.environ)
    yield _home()
    yield from _plugins()
    revision = yield from _control(control)
    settings = None
    if revision == HEAD:
        settings = yield from _settings(control)
    log_store = settings.log_store if settings else LogStoreSettings()
    yield from _store(store, log_store)
    if settings is not None:
        yield from _destinations(settings, SharedConnections(connections))
        yield from _receivers(settings)
    if signer is not None:
        yield _signing(signer)


def variables(environment: Mapping[str, str]) -> Iterator[Step]:
    """Whether every `LOGSTREAM_...` of an environment is one that means something."""
    unknown = sorted(
        name for name in environment if name.startswith("LOGSTREAM_") and name not in {*VARIABLES, *ELSEWHERE}
    )
    for name in unknown:
        near = difflib.get_close_matches(name, VARIABLES, 1)
        remedy = f"Did you mean {near[0]}?" if near else "Take it out, or correct its name."
        yield Step(f"{name} means something", False, "no such variable is read", remedy)
    if not unknown:
        known = sorted(name for name in environment if name in VARIABLES)
        yield Step("the environment's LOGSTREAM_ variables mean something", True, ", ".join(known) or "there are none")


def _home() -> Step:
    folder = home()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    remedy = f"Give this user the right to write {there}, or set LOGSTREAM_HOME to a folder that it may write."
    return Step("LOGSTREAM_HOME may be written", os.access(there, os.W_OK), str(folder), remedy)


def _plugins() -> Iterator[Step]:
    broken = 0
    names = registered()
    for name in names:
        try:
            destination_type(name)
        except InputError as error:
            broken += 1
            yield Step(f"destination type {name} can be loaded", False, str(error))
    if not broken:
        yield Step("all destination types can be loaded", True, ", ".join(names))


def _control(dsn: str) -> Generator[Step, None, str | None]:
    try:
        found = revision_of(dsn)
        with connect(dsn, application="logstream doctor") as connection:
            yield Step("the control database answers", True, named(dsn))
            yield _clock("the control database's clock", connection)
            yield from _may_write(connection)
    except DatabaseError as error:
        yield Step("the control database answers", False, str(error), "Correct --control-dsn or LOGSTREAM_CONTROL_DSN.")
        return None
    remedy = "logstream control upgrade" if found is None or found < HEAD else "Upgrade Logstream on this machine."
    yield Step(
        "its schema is of this version", found == HEAD, found or "there is none yet", f"{remedy}.".replace("..", ".")
    )
    return found


def _may_write(connection: psycopg.Connection) -> Iterator[Step]:
    # of a list of rights it is told whether the user has any of them: each is asked for
    each = " and ".join(f"has_table_privilege(c.oid, '{right}')" for right in ("select", "insert", "update", "delete"))
    query = (
        f"select has_schema_privilege(n.oid, 'usage'), coalesce(bool_and({each}), true)"  # noqa: S608 - words of ours
        " from pg_namespace n left join pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'p')"
        " where n.nspname = %s group by n.oid"
    )
    with database_errors("looking at rights in the control database"):
        row = connection.execute(query, (SCHEMA,)).fetchone()
        read_only = connection.execute("show transaction_read_only").fetchone()
    if row is not None:
        remedy = f"grant usage on schema {SCHEMA} and all rights on its tables to the user of this DSN."
        yield Step("its tables may be written", all(row), "", remedy)
    writes = read_only == ("off",)
    yield Step("it takes writes", writes, "", "It is a standby, or read-only: name the primary.")


def _settings(control: str) -> Generator[Step, None, Settings | None]:
    try:
        snapshot = SettingsRepository(open_control(control)).current()
    except LogstreamError as error:
        yield Step("the settings in force can be read", False, str(error), "Apply settings that hold together.")
        return None
    settings = snapshot.settings
    streaming = sum(one.streaming.enabled for one in settings.workspaces)
    admin = settings.admin is not None and settings.admin.enabled
    words = "the admin setting is on" if admin else counted(streaming, "workspace streams", "workspaces stream")
    yield Step("the settings in force can be read", True, f"version {snapshot.id}: {words}")
    return settings


def _store(dsn: str, settings: LogStoreSettings) -> Iterator[Step]:
    try:
        with connect(dsn, application="logstream doctor") as connection:
            yield Step("the log store answers", True, named(dsn))
            yield _clock("the log store's clock", connection)
            yield _writers(connection, settings)
    except DatabaseError as error:
        yield Step("the log store answers", False, str(error), "Correct --dsn or LOGSTREAM_DSN.")
        return
    try:
        yield from check_store(dsn, settings)
    except LogstreamError as error:
        yield Step("the log store is what it must be", False, str(error), "See `logstream store check --help`.")


def _clock(what: str, connection: psycopg.Connection) -> Step:
    before = clock.now()
    with database_errors("asking for the time"):
        (theirs,) = connection.execute("select clock_timestamp()").fetchone() or (before,)
    ours = before + (clock.now() - before) / 2
    apart = abs((theirs.astimezone(UTC) - ours).total_seconds())
    remedy = "Set both by NTP: services refuse requests, and runs wait, by clocks that differ."
    return Step(f"{what} agrees with this machine's", apart <= CLOCK_SECONDS, f"{apart:.1f} s apart", remedy)


def _writers(connection: psycopg.Connection, settings: LogStoreSettings) -> Step:
    title = "no writer keeps windows open for long"
    try:
        tables = sources(connection, settings.events, settings.written_tables).tables
        with database_errors("looking for writers of the log store"):
            rows = connection.execute(WRITERS, {"tables": list(tables)}).fetchall()
    except DatabaseError as error:
        return Step(title, True, f"not known: {error}", "See the steps about the log store.", advice=True)
    old = [writer for writer in map(writer_of, rows) if _age(writer) > WRITER_AGE]
    remedy = "No window since then can be exported: end that transaction, with pg_terminate_backend if need be."
    return Step(title, not old, "; ".join(map(str, old[:3])), remedy)


def _age(writer: Writer) -> timedelta:
    if writer.prepared:
        return timedelta.max  # the database does not say since when, and it ends by hand alone
    return clock.now() - writer.since if writer.since else timedelta()


def _remedy_of(type_name: str) -> str:
    """What to do about a destination of a type that cannot be made."""
    if type_name not in registered():
        return "Install the package that its type is of wherever Logstream runs, or take the destination out of the settings."
    try:
        destination_type(type_name)
    except InputError:
        return ""  # the error says what is wrong with the package
    return "Correct the Airflow connection or the destination's options."


def _destinations(settings: Settings, connections: SharedConnections) -> Iterator[Step]:
    """Whether each destination can be made and its connection read. That says nothing of the receiver: `check` does."""
    bad = 0
    for name, found in settings.destinations.items():
        title = f"destination {name} and its connection can be used"
        try:
            asyncio.run(_open(make_destination(name, found, connections)))
        except LogstreamError as error:
            bad += 1
            yield Step(title, False, str(error), _remedy_of(found.type))
        except Exception as error:  # a hook or a plug-in may raise anything
            bad += 1
            yield Step(
                title, False, type(error).__name__, "Correct its connection, or the plug-in that its type is of."
            )
    if settings.destinations and not bad:
        title = "all destinations and their connections can be used"
        yield Step(title, True, f"{len(settings.destinations):,}; `logstream destinations check NAME` tries one out")


def _receivers(settings: Settings) -> Iterator[Step]:
    """Whether what tells people the news is installed. That it takes a notice is seen when there is one."""
    title = "all receivers of notices can be told"
    missing = list(absent(settings.receivers()))
    for problem in missing:
        yield Step(title, False, problem, "")
    if settings.receivers() and not missing:
        yield Step(title, True, counted(len(settings.receivers()), "receiver"))


async def _open(destination: Destination[Any]) -> None:
    await destination.start()
    await destination.close()


def _signing(signer: Callable[[], Signer | None]) -> Step:
    try:
        found = signer()
    except LogstreamError as error:
        return Step("the key that signs manifests can be used", False, str(error), "")
    return Step(
        "the key that signs manifests can be used", True, "" if found else "there is none: manifests are not signed"
    )
