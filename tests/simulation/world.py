"""One world: a script happens to the real engine, then everything calms down, and the model judges."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import logging
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo

from logstream import clock
from logstream.destinations.credentials import AwsCredentials, HttpCredentials
from logstream.destinations.transport import way
from logstream.embedded import embedded_dsn
from logstream.errors import ConnectionNotFound, LogstreamError
from logstream.export.exporter import Exporter
from logstream.export.plan import Planned
from logstream.export.send import RetryPolicy
from logstream.ledger.coverage import AskedBy
from logstream.store.schema import create_tables
from logstream.validation import validate_settings
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.simulation.fates import Attempt, Fate, FatedLoops, Killed, watch
from tests.simulation.model import OBJECTS, Model
from tests.simulation.receivers import Receivers, messages_of
from tests.simulation.script import (
    WINDOW_SECONDS,
    Apply,
    Blow,
    Document,
    Insert,
    Prune,
    Redeliver,
    Run,
    Script,
    Step,
    Tick,
    Weather,
)

T = TypeVar("T")

START = datetime(2026, 3, 1, tzinfo=UTC)
TRIES = 3
PATIENCE = 14
"""Calm runs after which nothing may be owed."""
HOURS_7 = 7 * 3600.0
QUICKLY = 0.05
"""A second that the engine waits, in seconds."""


class WorldClock(clock.Clock):
    """The world's time: waiting is quick, hours pass when the world says so, and the time of day steps to and fro."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        """Real seconds, and those that the world let pass."""
        return time.monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        """A little of it."""
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
        path = "splunk" if connection == "splunk" else "hook"
        return HttpCredentials(f"{self._url}/{path}/{self._world}-{connection}", password="token")

    def azure_blob(self, connection: str) -> Any:
        """There is none."""
        raise ConnectionNotFound(connection)

    gcs = azure_token = azure_blob


class Universe:
    """What worlds share: a PostgreSQL with a database to copy, and the server of all receivers."""

    def __init__(self, folder: Path) -> None:
        self.dsn = embedded_dsn("postgres", folder / "postgres")
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("alter system set fsync = off")
            connection.execute("alter system set autovacuum = off")
            connection.execute("select pg_reload_conf()")
            connection.execute("drop database if exists world_template")
            connection.execute("create database world_template")
        template = make_conninfo(self.dsn, dbname="world_template")
        with psycopg.connect(template, autocommit=True) as connection:
            create_tables(connection)
        Exporter(template, template, Connections("", "")).close()
        with psycopg.connect(template, autocommit=True) as connection:
            connection.execute("update logstream.settings_snapshots set created_at = %s", (START - timedelta(days=1),))
        self.receivers = Receivers()
        self.folder = folder
        self._numbers = itertools.count(1)

    @contextmanager
    def database(self) -> Iterator[tuple[str, str]]:
        """The name of a new world, and its database."""
        name = f"w{os.getpid()}x{next(self._numbers)}"
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"create database {name} template world_template")
        try:
            yield name, make_conninfo(self.dsn, dbname=name)
        finally:
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                connection.execute(f"drop database {name} with (force)")


@contextmanager
def universe() -> Iterator[Universe]:
    """Where worlds can be: their clock, their event loops, quick retries, no log."""
    before = asyncio.get_event_loop_policy()
    retries = way.RETRIES
    os.environ["LOGSTREAM_ALLOW_PRIVATE_ADDRESSES"] = "1"
    asyncio.set_event_loop_policy(FatedLoops())
    way.RETRIES = 0
    for name in ("logstream", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory(prefix="logstream-worlds-", ignore_cleanup_errors=True) as folder:
            yield Universe(Path(folder))
    finally:
        asyncio.set_event_loop_policy(before)
        way.RETRIES = retries
        for name in ("logstream", "asyncio"):
            logging.getLogger(name).setLevel(logging.NOTSET)


def live(place: Universe, script: Script) -> list[str]:
    """Let a world happen. Returns what was wrong with it."""
    with place.database() as (name, dsn):
        time_of_world = WorldClock()
        with clock.use(time_of_world):
            world = World(place, name, dsn, script, time_of_world)
            try:
                world.run()
                return world.judge()
            finally:
                world.end()


class World:
    """A script while it happens."""

    def __init__(self, place: Universe, name: str, dsn: str, script: Script, time_of_world: WorldClock) -> None:
        self._place, self._name, self._dsn, self._script = place, name, dsn, script
        self._clock = time_of_world
        self.model = Model(WINDOW_SECONDS)
        self._document: Document = {}
        self._connections = Connections(place.receivers.url, name)
        self.receivers = {
            receiver: place.receivers.new(f"{name}-{receiver}") for receiver in ("lake", "bucket", "hook", "splunk")
        }
        self._idle: list[Exporter] = []
        self._zombies: list[Attempt] = []
        self._newest = script.windows - 1
        self._now = self._runs_so_far = 0
        self._at_end: dict[int, Document] = {}
        self.complaints: list[str] = []
        self._store = psycopg.connect(dsn, autocommit=True)
        with self._store.cursor() as cursor:
            cursor.executemany(
                "insert into workspaces (id, name) values (%s, %s)", [(n, f"w{n}") for n in range(1001, 1013)]
            )

    def end(self) -> None:
        """Leave nothing behind."""
        self._wake()
        for engine in self._idle:
            engine.close()
        self._store.close()
        for receiver in self.receivers:
            self._place.receivers.forget(f"{self._name}-{receiver}")

    def run(self) -> None:
        """Everything that the script says, and then calm."""
        for step in self._script.steps:
            self._happen(step)
            self._at_end |= dict.fromkeys(range(self._now, self._script.windows), self._document)
        self._calm()

    def _happen(self, step: Step) -> None:
        match step:
            case Apply(document):
                self._document = document
                self._quietly(lambda engine: engine.settings.apply(validate_settings(self._real(document))))
                # the database's clock is the world's: settings are saved in the first second of a window
                self._store.execute(
                    "update logstream.settings_snapshots set created_at = %s where created_at > %s",
                    (
                        START + timedelta(seconds=self._now * WINDOW_SECONDS + (self._now > 0)),
                        START + timedelta(days=30),
                    ),
                )
            case Insert(rows):
                self.model.rows |= {row.id: row for row in rows}
                with self._store.cursor() as cursor:
                    cursor.executemany(
                        "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload)"
                        " values (%s, %s, %s, %s, %s, %s)",
                        [(row.id, row.workspace, row.kind, moment := START + timedelta(seconds=row.second), moment,
                          row.payload) for row in rows],
                    )  # fmt: skip
            case Weather(receiver, faults, always):
                self.receivers[receiver].weather.extend(faults)
                self.receivers[receiver].always = always
            case Tick(window):
                self._now = window
            case Run(window, blows, doubled, again):
                self._runs(window, list(blows), doubled=doubled, again=again)
            case Redeliver(rejected):
                self._note_owed()
                self._quietly(lambda engine: engine.redeliver_rejected() if rejected else engine.redeliver_owed())
            case Prune(window):
                self._quietly(lambda engine: engine.ledger.prune(self._window(window).end))

    def _real(self, document: Document) -> Document:
        """The document with the buckets of this world."""
        found = {
            name: {**options, "bucket": f"{self._name}-{name}"} if "bucket" in options else options
            for name, options in document["destinations"].items()
        }
        return {**document, "destinations": found}

    def _window(self, number: int) -> Window:
        start = START + timedelta(seconds=number * WINDOW_SECONDS)
        return Window(start, start + timedelta(seconds=WINDOW_SECONDS))

    def _engine(self) -> Exporter:
        policy = RetryPolicy(attempts=4, base=0.05, cap=0.1)
        engine = Exporter(self._dsn, self._dsn, self._connections, policy=policy)
        watch(engine.engine)
        return engine

    def _quietly(self, call: Callable[[Exporter], T]) -> T:
        """Something that an administrator does, under no fate."""
        engine = self._idle.pop() if self._idle else self._engine()
        result = call(engine)
        self._idle.append(engine)
        return result

    def _attempt(self, call: Callable[[Exporter], T], fate: Fate | None = None) -> Attempt:
        """A task's worker. Its deployment is used again, unless it was killed or broke: then it is left as it is."""

        def work() -> T:
            engine = self._idle.pop() if self._idle else self._engine()
            result = call(engine)
            self._idle.append(engine)
            return result

        return Attempt(work, fate or Fate())

    def _pass(self, seconds: float) -> None:
        """Let time pass: for the workers, and for what the database has noted."""
        self._clock.ahead += seconds
        for column, table in (("leased_until", "lanes"), ("planned_at", "deliveries")):
            self._store.execute(
                f"update logstream.{table} set {column} = {column} - make_interval(secs => %s)", (seconds,)
            )

    def _wake(self, *, wait: bool = True) -> None:
        """All zombies go on where they were; `wait` for their ends."""
        for zombie in self._zombies:
            zombie.fate.wake()
        if not wait:
            return
        for zombie in self._zombies:
            zombie.until_it_ends()
            if zombie.error is not None and not isinstance(zombie.error, LogstreamError | Killed):
                self.complaints.append(f"a zombie broke by {zombie.error!r}")
        self._zombies.clear()

    # runs, as the DAG has them

    def _runs(self, window: int, blows: list[Blow], *, doubled: bool = False, again: bool = False) -> None:
        other: Attempt | None = None
        if doubled:
            self._note_plans(window)
            other = self._attempt(lambda engine: self._whole(engine, window))
        self._run(window, blows, again=again)
        if other is not None:
            other.until_it_ends()
            if other.error is not None and not isinstance(other.error, LogstreamError):
                self.complaints.append(f"a doubled run broke by {other.error!r}")
        self._wake()
        self._pass(60)

    def _whole(self, engine: Exporter, window: int) -> None:
        planned = engine.plan(self._window(window), heal=True)
        engine.deliver([key for share in planned.shares for key in share.lanes])
        engine.seal(planned.delivery_ids)

    def _run(self, window: int, blows: list[Blow], *, again: bool = False) -> None:
        """A scheduled run, or (`again`) a backfill."""
        self._runs_so_far += 1
        by, carrier = AskedBy.REQUEST if again else AskedBy.SCHEDULE, f"run {self._runs_so_far}"

        def plan(engine: Exporter) -> Planned:
            return engine.plan(self._window(window), heal=True, asked_by=by, carrier=carrier)

        planned = self._task("plan", blows, plan, lambda: self._note_plans(window))
        if not isinstance(planned, Planned):
            return
        if not again:
            for number in range(window + 1):
                if self.model.last(number) is None:
                    self.model.plan(number, self._at_end[number], certain=True)
        else:
            self.model.plan(window, self._document, certain=True)
        lanes = [key for share in planned.shares for key in share.lanes]
        self._task("deliver", blows, lambda engine: engine.deliver(lanes))
        self._task("seal", blows, lambda engine: engine.seal(planned.delivery_ids))

    def _task(
        self, phase: str, blows: list[Blow], call: Callable[[Exporter], Any], before: Callable[[], None] | None = None
    ) -> Any:
        """A task, tried again when its worker was lost or it failed."""
        blows = [blow for blow in blows if blow.phase == phase]
        result: Any = None
        for _ in range(TRIES):
            if before is not None:
                before()
            blow = blows.pop(0) if blows else None
            attempt = self._attempt(call, Fate(blow.moment, zombie=blow.zombie) if blow else None)
            attempt.until_it_sleeps()
            if attempt.is_sleeping:
                self._zombies.append(attempt)
                self._pass(30)
                if blow and blow.moment % 3 == 0:
                    self._wake(wait=False)  # while the next try works
                continue
            attempt.until_it_ends()
            if attempt.killed:
                self._pass(30)
                continue
            result = attempt.result
            if attempt.error is not None:
                if not isinstance(attempt.error, LogstreamError):
                    self.complaints.append(f"{phase} broke by {attempt.error!r}")
                continue
            if phase == "deliver" and any(item.error and not item.permanent for item in result):
                continue
            break
        return result

    def _note_plans(self, window: int) -> None:
        """A plan begins: it may plan its window, the gaps before it, and what is owed, with what the store holds now."""
        self._note_owed()
        self.model.plan(window, self._document, certain=False)
        for number in range(window):
            self.model.plan(number, self._at_end[number], certain=False)

    def _note_owed(self) -> None:
        """What is owed may be planned along: by the settings of then, with what the store holds now."""
        for window in list(self.model.planned):
            for document in self.model.documents(window):
                self.model.plan(window, document, certain=False)

    # the end

    def _calm(self) -> None:
        """All is well again: receivers take everything, and runs go on until nothing is owed."""
        self._wake()
        for receiver in self.receivers.values():
            receiver.weather.clear()
            receiver.always = None
        self._pass(HOURS_7)
        for _ in range(PATIENCE):
            self._newest += 1
            self._at_end[self._newest] = self._document
            self._run(self._newest, [])
            if not self._owed():
                break
        self.complaints += [
            f"{gap} is a gap for ever" for gap in self._quietly(lambda engine: engine.ledger.coverage()).gaps()
        ]

    def _owed(self) -> set[tuple[int, str]]:
        found = self._quietly(lambda engine: engine.ledger.owed())
        return {(_number(item.window.start), item.destination) for item in found}

    def judge(self) -> list[str]:
        """What is wrong: by the model, by `verify`, and by the auditor's script."""
        rejected: dict[str, set[int]] = defaultdict(set)
        for letter in self._quietly(lambda engine: engine.ledger.rejected()):
            rejected[letter.destination].add(letter.event_id)
        held = {name: messages_of(receiver) for name, receiver in self.receivers.items()}
        owed = self._owed()
        wrong = self.complaints + self.model.judge(held, rejected, owed)
        wrong += [f"window {window} is owed to {name} for ever" for window, name in sorted(owed)
                  if not self.model.may_stay_owed(window, name)]  # fmt: skip
        many = {
            (window, name)
            for window in range(self._newest + 1)
            for name in self.receivers
            if self.model.ways(window, name) > 1
        }
        for name in self.receivers.keys() - {name for _, name in many}:
            if self.receivers[name].changed_repetitions:
                wrong.append(f"{name} got other bytes under a key that it had before")
        wrong += self._verified({window for window, _ in many} | {window for window, _ in owed})
        for name in sorted(set(OBJECTS) - {name for _, name in many | owed}):
            wrong += [f"the auditor's script at {name}: {line}" for line in self._audited(name)]
        return wrong

    def _verified(self, doubtful: set[int]) -> list[str]:
        """`verify` must find the windows with late rows, and nothing else; of doubtful ones it may say what it likes."""
        span = Window(START, self._window(self._newest).end)
        found = [
            (set(range(_number(finding.window.start), _number(finding.window.end))), str(finding))
            for finding in self._quietly(lambda engine: verify(engine, span)).findings
        ]
        late = self.model.late()
        missed = sorted(window for window in late - doubtful if not any(window in windows for windows, _ in found))
        wrong = [f"verify is wrong: {what}" for windows, what in found if not windows & (late | doubtful)]
        return wrong + [f"verify does not find the late rows of window {window}" for window in missed]

    def _audited(self, name: str) -> list[str]:
        """What the stand-alone script says of an object store's copy."""
        with tempfile.TemporaryDirectory() as folder:
            for key, body in self.receivers[name].objects.items():
                path = Path(folder) / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body)
            if not (Path(folder) / "_manifests").is_dir():
                return [f"{key} has no manifest" for key in self.receivers[name].objects]
            auditor = _auditor([Path(folder)])
            auditor.run()
            return list(auditor.problems)


def _number(moment: datetime) -> int:
    """The number of the window that begins at a moment."""
    return (moment - START) // timedelta(seconds=WINDOW_SECONDS)


def _load_auditor() -> Any:
    path = Path(__file__).parents[2] / "docs/verify_manifests.py"
    spec = importlib.util.spec_from_file_location("verify_manifests", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.Verifier


_auditor = _load_auditor()
