"""One world: a script happens to the real engine, then everything calms down, and the model judges."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar
from unittest.mock import patch

import psycopg

from logstream import clock
from logstream.errors import LogstreamError, WindowNotClosed
from logstream.export import pipeline
from logstream.export.exporter import Exporter
from logstream.export.plan import Planned
from logstream.export.send import RetryPolicy
from logstream.ledger.coverage import AskedBy
from logstream.validation import validate_settings
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.simulation.audit import audited
from tests.simulation.fates import Attempt, Fate, Killed, watch
from tests.simulation.model import Model, Place, Seen, keeps_objects
from tests.simulation.named import superseded_in
from tests.simulation.receivers import Receiver, messages_in, messages_of, number_of
from tests.simulation.script import (
    Apply,
    Blow,
    Document,
    Forget,
    Happening,
    Insert,
    List,
    Prune,
    Purge,
    Redeliver,
    Row,
    Run,
    Script,
    Settle,
    Span,
    Step,
    Suspend,
    Tick,
    Weather,
    WriteOff,
)
from tests.simulation.universe import QUICKLY, START, Connections, Universe, WorldClock
from tests.simulation.verdict import judge
from tests.simulation.writers import Writers

T = TypeVar("T")

TRIES = 3
PATIENCE = 14
"""Calm runs after which nothing may be owed."""
HOURS_7 = 7 * 3600.0
STEP = 5
"""Minutes of a window of the calm."""


def live(place: Universe, script: Script) -> list[str]:
    """Let a world happen. Returns what was wrong with it."""
    with place.database() as (name, dsn):
        time_of_world = WorldClock()
        with clock.use(time_of_world), patch.object(pipeline, "CHUNK_EVENTS", script.page):
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
        self.model = Model()
        self.complaints: list[str] = []
        self._connections = Connections(place.url, name)
        self._receivers: dict[str, Receiver] = {}
        self._idle: list[Exporter] = []
        self._zombies: list[Attempt] = []
        self._documents: dict[int, Document] = {}
        """Snapshots to the settings as the script has them."""
        self._known_windows: set[Span] = set()
        self._now = Span(0, STEP)
        self._end = script.end
        self._runs_so_far = 0
        self._undisturbed = self._doubled = False
        """Whether one attempt alone is alive, and none has died of late."""
        self._stalling = False
        self._store = psycopg.connect(dsn, autocommit=True, application_name="world")
        self._writers = Writers(dsn, name)
        with self._store.cursor() as cursor:
            cursor.executemany(
                "insert into workspaces (id, name) values (%s, %s)", [(n, f"w{n}") for n in script.workspaces]
            )

    def end(self) -> None:
        """Leave nothing behind."""
        self._wake()
        self._writers.close()
        for engine in self._idle:
            engine.close()
        self._store.close()

    def run(self) -> None:
        """Everything that the script says, and then calm."""
        for happening in self._script.happenings:
            self._happen(happening)
        self._calm()

    def receiver(self, destination: str) -> Receiver:
        """The receiver of a destination."""
        if destination not in self._receivers:
            self._receivers[destination] = self._place.receivers.new(self._name, destination)
            self._receivers[destination].stall = self._stall
        return self._receivers[destination]

    def _happen(self, happening: Happening) -> None:
        match happening:
            case Tick(window):
                self._now = window
            case Apply(document):
                self._save(document)
            case Insert(rows, _, writer, prepared):
                self._writers.write(rows, writer, prepared=prepared)
                if writer:
                    self.model.open |= {row.id for row in rows}
                else:
                    self.model.rows |= {row.id: row for row in rows}
            case Settle(writer, commits):
                self._settled(self._writers.settle(writer, commits=commits))
            case Purge(until, workspace):
                self._purge(until, workspace)
            case List(workspace, listed):
                self._store.execute("delete from workspaces where id = %s", (workspace,))
                if listed:
                    self._store.execute("insert into workspaces (id, name) values (%s, 'again')", (workspace,))
            case Weather(destination, faults, always):
                self.receiver(destination).weather.extend(faults)
                self.receiver(destination).always = always
            case Forget(destination, number):
                self._forget(destination, number)
            case Run():
                self._runs(happening)
            case Redeliver(rejected, destination):
                self._note_owed()
                if rejected:
                    self._quietly(lambda engine: engine.redeliver_rejected(destination))
                else:
                    self._quietly(lambda engine: engine.redeliver_owed(destination))
            case WriteOff(destination):
                self.model.write_off(destination)
                self._quietly(lambda engine: engine.write_off(destination, "ann", "it is not needed"))
            case Suspend(destination, held):
                self._suspend(destination, held=held)
            case Prune(until):
                self._quietly(lambda engine: engine.ledger.prune(_moment(until)))
            case Step(seconds):
                self._clock.stepped += seconds

    # what the platform, receivers and administrators do

    def _settled(self, rows: Iterable[Row]) -> None:
        self.model.rows |= {row.id: row for row in rows}
        self.model.open -= {row.id for row in rows}

    def _save(self, document: Document) -> None:
        second = self._now.start * 60 + (self._now.start > 0)
        snapshot = self._quietly(lambda engine: engine.settings.apply(validate_settings(self._real(document))))
        self._documents[snapshot.id] = document
        self.model.saved.append((second, document))
        for name in document["destinations"]:
            self.receiver(name)
        # the database's clock is the world's: settings are saved in the first second of a window
        self._store.execute(
            "update logstream.settings_snapshots set created_at = %s where created_at > %s",
            (START + timedelta(seconds=second), START + timedelta(days=30)),
        )

    def _purge(self, until: int, workspace: int | None) -> None:
        self._store.execute(
            "delete from events where recorded_at < %s and workspace_id = coalesce(%s, workspace_id)",
            (_moment(until), workspace),
        )
        purged = self.model.purge(until * 60, workspace)
        lanes = (
            "select d.window_start, d.window_end, d.destination, d.state, array(select json_object_keys(l.delivered))"
            " from logstream.lanes l join logstream.deliveries d on d.id = l.delivery_id where l.state = 'delivered'"
        )
        for start, end, destination, state, workspaces in self._store.execute(lanes).fetchall():
            if keeps_objects(destination):
                held = {number_of(message) for _, message in messages_of(self.receiver(destination))}
                rows = {row.id for row in self.model.rows_in(_span(start, end)) if str(row.workspace) in workspaces}
                self.model.arrived[destination] |= rows & held & purged
                if state == "delivered":
                    self.model.kept[destination] |= rows & held & purged

    def _forget(self, destination: str, number: int) -> None:
        receiver = self.receiver(destination)
        if (key := receiver.forget(number)) is not None:
            found = messages_in(key, receiver.forgotten[key])
            self.model.forgotten[destination] |= {number_of(message) for message in found}

    def _suspend(self, destination: str, *, held: bool) -> None:
        if held:
            self._quietly(lambda engine: engine.ledger.suspend(destination, "by hand"))
        else:
            self._quietly(lambda engine: engine.ledger.resume(destination))

    def _real(self, document: Document) -> Document:
        """The document with the buckets of this world."""
        found = {
            name: {**options, "bucket": f"{self._name}-{name}"} if "bucket" in options else options
            for name, options in document["destinations"].items()
        }
        return {**document, "destinations": found}

    def _stall(self) -> None:
        """More time passes than a lease lasts: who lives renews it."""
        if self._undisturbed:
            self._stalling = True
            try:
                self._renewals()
            finally:
                self._stalling = False

    def _renewals(self) -> None:
        alive = "state = 'delivering' and leased_until > clock_timestamp()"
        held = self._store.execute(f"select delivery_id, lane from logstream.lanes where {alive}").fetchall()
        for _ in range(4):
            self._pass(4)
            fresh = alive + " + interval '8 seconds'"
            for _ in range(100):
                query = f"select count(*) from logstream.lanes where state = 'delivering' and not ({fresh})"
                stale = self._store.execute(
                    f"{query} and (delivery_id, lane) in (select * from unnest(%s::bigint[], %s::int[]))",
                    tuple(map(list, zip(*held, strict=True))) or ([], []),
                ).fetchone()
                if stale == (0,):
                    break
                time.sleep(0.05)
            else:
                self.complaints.append("the lease of an attempt that lives runs out")
                return

    # workers

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

    def _cut(self) -> None:
        """The database ends the connections of all workers."""
        with psycopg.connect(self._dsn, autocommit=True, application_name="world") as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and application_name like 'logstream%'"
            )

    def _pass(self, seconds: float) -> None:
        """Let time pass: for the workers, and for what the database has noted."""
        self._clock.ahead += seconds
        for column, table in (("leased_until", "lanes"), ("planned_at", "deliveries")):
            query = f"update logstream.{table} set {column} = {column} - make_interval(secs => %s) where {column} is not null"
            for _ in range(20):
                with suppress(
                    psycopg.errors.DeadlockDetected
                ):  # with a worker that writes the same rows: not its fault
                    self._store.execute(query, (seconds,))
                    break

    def _wake(self, *, wait: bool = True) -> None:
        """All zombies go on where they were; `wait` for their ends."""
        for zombie in self._zombies:
            zombie.fate.wake()
        if not wait:
            return
        for zombie in self._zombies:
            self._until_it_ends(zombie)
            if zombie.error is not None and not isinstance(zombie.error, LogstreamError | Killed):
                self.complaints.append(f"a zombie broke by {zombie.error!r}")
        self._zombies.clear()

    def _until_it_ends(self, attempt: Attempt) -> None:
        self._wait(attempt.ends, attempt)

    def _wait(self, event: threading.Event, attempt: Attempt) -> None:
        """Wait for an attempt. It may wait itself for the lease of one that was killed: so time passes meanwhile, as quickly as
        it does for those that sleep."""
        for look in range(600):
            if event.wait(0.1):
                return
            if look > 2 and not self._stalling:
                self._pass(0.1 / QUICKLY)
        raise AssertionError(f"an attempt has hung: {attempt.name}")

    # runs, as the DAG has them

    def _runs(self, run: Run) -> None:
        other: Attempt | None = None
        window, self._doubled = run.window, run.doubled
        if run.doubled:
            self._note_possible(window, again=True)
            other = self._attempt(lambda engine: self._whole(engine, window))
        self._run(window, list(run.blows), again=run.again, meanwhile=run.meanwhile)
        if other is not None:
            self._until_it_ends(other)
            if other.error is not None and not isinstance(other.error, LogstreamError):
                self.complaints.append(f"a doubled run broke by {other.error!r}")
            self._note_planned(window, again=True, certain=other.error is None)
        self._wake()
        self._pass(60)

    def _whole(self, engine: Exporter, window: Span) -> None:
        engine.wait_until_closed(_window(window), timeout=0)
        planned = engine.plan(_window(window), heal=True)
        engine.deliver([key for share in planned.shares for key in share.lanes])
        engine.seal(planned.delivery_ids)

    def _run(self, window: Span, blows: list[Blow], *, again: bool = False, meanwhile: Sequence[Row] = ()) -> None:
        """A scheduled run, or (`again`) a backfill; some rows come `meanwhile`, when it has planned."""
        self._runs_so_far += 1
        by, carrier = AskedBy.REQUEST if again else AskedBy.SCHEDULE, f"run {self._runs_so_far}"

        def plan(engine: Exporter) -> Planned:
            engine.wait_until_closed(_window(window), timeout=0)
            return engine.plan(_window(window), heal=True, asked_by=by, carrier=carrier)

        def before() -> None:
            self._note_possible(window, again=again)

        def after(attempt: Attempt) -> None:
            self._note_planned(window, again=again, certain=attempt.result is not None)

        planned = self._task("plan", blows, plan, before, after)
        if not isinstance(planned, Planned):
            return
        if meanwhile:
            self._writers.write(meanwhile)
            self.model.rows |= {row.id: row for row in meanwhile}
            self._note_owed()  # they may be delivered along
        lanes = [key for share in planned.shares for key in share.lanes]
        self._task("deliver", blows, lambda engine: engine.deliver(lanes))
        self.model.sealing_was_disturbed |= any(blow.phase == "seal" for blow in blows)
        self._task("seal", blows, lambda engine: engine.seal(planned.delivery_ids))

    def _task(
        self, phase: str, blows: list[Blow], call: Callable[[Exporter], Any], before: Callable[[], None] | None = None,
        after: Callable[[Attempt], None] | None = None,
    ) -> Any:  # fmt: skip
        """A task, tried again when its worker was lost or it failed."""
        blows = [blow for blow in blows if blow.phase == phase]
        result: Any = None
        for _ in range(TRIES):
            if before is not None:
                before()
            blow = blows.pop(0) if blows else None
            self._undisturbed = blow is None and not self._zombies and not self._doubled
            attempt = self._attempt(call, self._fate(blow))
            self._wait(attempt.fate.asleep, attempt)
            if attempt.is_sleeping:
                self._zombies.append(attempt)
                self._pass(30)
                if blow and blow.moment % 3 == 0:
                    self._wake(wait=False)  # while the next try works
                continue
            self._until_it_ends(attempt)
            if after is not None:
                after(attempt)
            if attempt.killed:
                self._pass(30)
                continue
            result = attempt.result
            if isinstance(attempt.error, WindowNotClosed):
                break  # the window is left to a later run
            if attempt.error is not None:
                if not isinstance(attempt.error, LogstreamError):
                    self.complaints.append(f"{phase} broke by {attempt.error!r}")
                continue
            if phase == "deliver" and any(item.error and not item.permanent for item in result):
                continue
            break
        return result

    def _fate(self, blow: Blow | None) -> Fate:
        if blow is None:
            return Fate()
        return Fate(blow.moment, blow.what, self._cut if blow.what == "cut" else None)

    # what the model is told of plans

    def _note_possible(self, window: Span, *, again: bool) -> None:
        """A plan begins: what is owed may be planned along, and, on request, what was exported already."""
        self._note_owed()
        if again:
            self._note_again(window, certain=False)

    def _note_owed(self) -> None:
        """What is owed may be planned: by the routes of then, to the destinations of now, with what the store holds now."""
        now = self.model.saved[-1][1]["destinations"]
        for window, plans in list(self.model.planned.items()):
            for plan in list(plans):
                document = {**plan.document, "destinations": {**plan.document["destinations"], **now}}
                self.model.plan(window, document, certain=False, whole=False)

    def _note_planned(self, window: Span, *, again: bool, certain: bool) -> None:
        """A plan has ended: windows that are new were planned, whatever became of it."""
        now = self.model.saved[-1][1]
        for found, asked_by in self._windows().items():
            if found in self._known_windows:
                continue
            self._known_windows.add(found)
            gap = asked_by == AskedBy.SCHEDULE and found.end <= window.start
            self.model.plan(found, self.model.settings_at(found.end) if gap else now, certain=True)
        if again:
            self._note_again(window, certain=certain)

    def _note_again(self, window: Span, *, certain: bool) -> None:
        for found in self._known_windows:
            if found.start < window.end and window.start < found.end:
                held = self.model.planned[found]
                left = any(row.id in self.model.purged for row in self.model.rows_in(found)) and bool(held)
                self.model.plan(found, self.model.saved[-1][1], certain=certain and not left)

    def _windows(self) -> dict[Span, str]:
        rows = self._store.execute("select window_start, window_end, asked_by from logstream.windows").fetchall()
        return {_span(start, end): asked_by for start, end, asked_by in rows}

    # the end

    def _calm(self) -> None:
        """All is well again: receivers take everything, writers have ended, and runs go on until nothing is owed."""
        self._wake()
        self._settled(self._writers.settle_all())
        for destination, receiver in self._receivers.items():
            receiver.weather.clear()
            receiver.always = None
            self._suspend(destination, held=False)
        self._pass(HOURS_7)
        self._end = -(-self._script.end // STEP) * STEP
        for _ in range(PATIENCE):
            self._now = Span(self._end, self._end + STEP)
            self._end = self._now.end
            self._run(self._now, [])
            self._pass(60)
            if all(self.model.may_stay_owed(place) for place in self._owed()):
                break
        self.complaints += [
            f"{gap} is a gap for ever" for gap in self._quietly(lambda engine: engine.ledger.coverage()).gaps()
        ]

    def _owed(self) -> set[Place]:
        found = self._quietly(lambda engine: engine.ledger.owed())
        return {(_span(item.window.start, item.window.end), item.destination) for item in found}

    def judge(self) -> list[str]:
        """What is wrong, by the model."""
        for destination, receiver in self._receivers.items():
            if receiver.changed_repetitions:
                self.complaints.append(f"{destination} got other bytes under a key that it had before")
        return self.complaints + list(judge(self.model, self._seen(), self._end))

    def _seen(self) -> Seen:
        rejected: dict[str, set[int]] = defaultdict(set)
        for letter in self._quietly(lambda engine: engine.ledger.rejected()):
            rejected[letter.destination].add(letter.event_id)
        lost, written_off = Counter[tuple[Place, int, str]](), Counter[tuple[Place, int, str]]()
        for loss in self._quietly(lambda engine: engine.ledger.losses()):
            place = _span(loss.window.start, loss.window.end), loss.destination
            named = lost if loss.why == "purged" else written_off
            named[place, loss.workspace_id, loss.kind] += loss.events
        span = Window(START, _moment(self._end))
        findings = self._quietly(lambda engine: verify(engine, span)).findings
        documents = self._snapshots()
        select = "select window_start, window_end, {} from logstream.{}"
        windows = self._store.execute(select.format("snapshot_id", "windows")).fetchall()
        deliveries = self._store.execute(select.format("snapshot_id, destination", "deliveries")).fetchall()
        return Seen(
            held={name: messages_of(receiver) for name, receiver in self._receivers.items()},
            superseded=self._superseded(),
            windows={_span(start, end): documents[number] for start, end, number in windows},
            deliveries={(_span(start, end), name): documents[number] for start, end, number, name in deliveries},
            rejected=rejected,
            owed=self._owed(),
            lost=lost,
            written_off=written_off,
            verified=[(_span(item.window.start, item.window.end), item.destination, str(item)) for item in findings],
            audited={name: audited(found.objects) for name, found in self._receivers.items() if keeps_objects(name)},
        )

    def _superseded(self) -> dict[str, set[str]]:
        found = {name: superseded_in(each.objects) for name, each in self._receivers.items() if keeps_objects(name)}
        unsealed = "select id, destination from logstream.deliveries where state <> 'delivered'"
        for number, name in self._store.execute(unsealed).fetchall():
            if name in found:
                parts = self._quietly(lambda engine, of=number: list(engine.ledger.superseded([of])))
                found[name] |= {part.name for _, part in parts}
        return found

    def _snapshots(self) -> dict[int, Document]:
        """All snapshots as the script has their settings; derived ones have the routes of those that they derive from."""
        found: dict[int, Document] = dict(self._documents)
        rows = self._store.execute("select id, author from logstream.settings_snapshots where derived order by id")
        for number, author in rows.fetchall():
            with suppress(KeyError):
                found[number] = found[int(author.rpartition(" ")[2])]
        return found


def _moment(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def _window(span: Span) -> Window:
    return Window(_moment(span.start), _moment(span.end))


def _span(start: datetime, end: datetime) -> Span:
    minutes = [(moment - START) / timedelta(minutes=1) for moment in (start, end)]
    return Span(int(minutes[0]), int(minutes[1]))
