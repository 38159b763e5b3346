"""One world: a script happens to the real engine, then everything calms down, and the model judges."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from unittest.mock import patch

import psycopg

from logstream import clock
from logstream.export import deliver, one_pass, pipeline, together
from logstream.ledger import book
from logstream.validation import validate_settings
from tests.simulation.model import Model
from tests.simulation.moments import START, moment_of, span_of
from tests.simulation.notes import Notes
from tests.simulation.receivers import Receiver, messages_in, messages_of, number_of
from tests.simulation.runs import Runs
from tests.simulation.script import (
    Apply,
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
    keeps_objects,
)
from tests.simulation.universe import Connections, Universe, WorldClock
from tests.simulation.verdict import judge
from tests.simulation.witness import Witness, owed_in
from tests.simulation.workers import OWNER_NAME, TOGETHER, Workers
from tests.simulation.writers import Writers

PAUSE = 3.0
"""Real seconds after which the database ends the transaction of a worker that has fallen asleep in the middle of it."""
PATIENCE = 14
"""Calm runs after which nothing may be owed."""
HOURS_7 = 7 * 3600.0
STEP = 5
"""Minutes of a window of the calm."""


def live(place: Universe, script: Script) -> list[str]:
    """Let a world happen. Returns what was wrong with it."""
    with place.database() as (name, dsn):
        time_of_world = WorldClock()
        with (
            clock.use(time_of_world),
            patch.object(pipeline, "CHUNK_EVENTS", script.pages[0]),
            patch.object(one_pass, "CHUNK_EVENTS", script.pages[0]),
            patch.object(one_pass, "TAKEN_BYTES", 1),
            patch.object(together, "FEWEST", TOGETHER),
            patch.object(deliver, "owner_name", OWNER_NAME),
            patch.object(book, "PAUSE_SECONDS", PAUSE),
        ):
            world = World(place, name, dsn, script, time_of_world)
            try:
                world.run()
                return world.judge()
            finally:
                world.end()


class World:
    """A script while it happens."""

    def __init__(self, place: Universe, name: str, dsn: str, script: Script, time_of_world: WorldClock) -> None:
        self._place, self._name, self._script, self._clock = place, name, script, time_of_world
        self._model = Model()
        self._complaints: list[str] = []
        self._receivers: dict[str, Receiver] = {}
        self._documents: dict[int, Document] = {}
        """Snapshots to the settings as the script has them."""
        self._now = Span(0, STEP)
        self._end = script.end
        self._store = psycopg.connect(dsn, autocommit=True, application_name="world")
        self._writers = Writers(dsn, name)
        self._workers = Workers(
            dsn, Connections(place.url, name), self._store, time_of_world, self._complaints, script.pages, script.seed
        )
        self._notes = Notes(self._model, self._store)
        self._runs = Runs(self._workers, self._notes, self._model, self._writers, self._complaints)
        with self._store.cursor() as cursor:
            cursor.executemany(
                "insert into workspaces (id, name) values (%s, %s)", [(n, f"w{n}") for n in script.workspaces]
            )

    def end(self) -> None:
        """Leave nothing behind."""
        self._workers.close()
        self._writers.close()
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
            self._receivers[destination].stall = self._workers.stall
            self._receivers[destination].noted = self._workers.taken
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
                    self._model.open |= {row.id for row in rows}
                else:
                    self._notes.committed(rows)
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
                self._runs.run(happening)
            case Redeliver(rejected, destination):
                self._notes.owed()
                if rejected:
                    self._workers.quietly(lambda engine: engine.redeliver_rejected(destination))
                else:
                    self._workers.quietly(lambda engine: engine.redeliver_owed(destination))
            case WriteOff(destination):
                self._model.write_off(destination)
                if self.receiver(destination).is_unwell:
                    self._model.given_up_unreached.add(destination)
                self._workers.quietly(lambda engine: engine.write_off(destination, "ann", "it is not needed"))
            case Suspend(destination, held):
                self._suspend(destination, held=held)
            case Prune(until):
                self._model.pruned = max(self._model.pruned, until)
                self._workers.quietly(lambda engine: engine.ledger.prune(moment_of(until)))
            case Step(seconds):
                self._clock.stepped += seconds

    # what the platform, receivers and administrators do

    def _settled(self, rows: Iterable[Row]) -> None:
        rows = list(rows)
        self._notes.committed(rows)
        self._model.open -= {row.id for row in rows}

    def _save(self, document: Document) -> None:
        # where the schedule goes back to longer windows, the next one begins before the last: time goes on all the same
        second = max(self._now.start * 60 + (self._now.start > 0), *(second for second, _ in self._model.saved[-1:]), 0)
        snapshot = self._workers.quietly(lambda engine: engine.settings.apply(validate_settings(self._real(document))))
        self._documents[snapshot.id] = document
        self._model.saved.append((second, document))
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
            (moment_of(until), workspace),
        )
        purged = self._model.purge(until * 60, workspace)
        for destination, receiver in self._receivers.items():
            if keeps_objects(destination):
                held = ((number_of(message), key) for key, message in messages_of(receiver))
                self._model.copies[destination] |= {(number, key) for number, key in held if number in purged}
        lanes = (
            "select d.window_start, d.window_end, d.destination, d.state, array(select json_object_keys(l.delivered))"
            " from logstream.lanes l join logstream.deliveries d on d.id = l.delivery_id where l.state = 'delivered'"
        )
        for start, end, destination, state, workspaces in self._store.execute(lanes).fetchall():
            if keeps_objects(destination):
                held = {number_of(message) for _, message in messages_of(self.receiver(destination))}
                rows = {row.id for row in self._model.rows_in(span_of(start, end)) if str(row.workspace) in workspaces}
                self._model.arrived[destination] |= rows & held & purged
                if state == "delivered":
                    self._model.kept[destination] |= rows & held & purged

    def _forget(self, destination: str, number: int) -> None:
        receiver = self.receiver(destination)
        if (key := receiver.forget(number)) is not None:
            found = messages_in(key, receiver.forgotten[key])
            self._model.forgotten[destination] |= {number_of(message) for message in found}

    def _suspend(self, destination: str, *, held: bool) -> None:
        if held:
            self._workers.quietly(lambda engine: engine.ledger.suspend(destination, "by hand"))
        else:
            self._workers.quietly(lambda engine: engine.ledger.resume(destination))

    def _real(self, document: Document) -> Document:
        """The document with the buckets of this world."""
        found = {
            name: {**options, "bucket": f"{self._name}-{name}"} if "bucket" in options else options
            for name, options in document["destinations"].items()
        }
        return {**document, "destinations": found}

    # the end

    def _calm(self) -> None:
        """All is well again: receivers take everything, writers have ended, and runs go on until nothing is owed."""
        self._workers.wake()
        self._settled(self._writers.settle_all())
        for destination, receiver in self._receivers.items():
            receiver.weather.clear()
            receiver.always = None
            self._suspend(destination, held=False)
        self._workers.pass_time(HOURS_7)
        self._end = -(-self._script.end // STEP) * STEP
        for _ in range(PATIENCE):
            self._now = Span(self._end, self._end + STEP)
            self._end = self._now.end
            self._runs.once(self._now, [])
            self._workers.pass_time(60)
            if all(self._model.may_stay_owed(place) for place in owed_in(self._workers)):
                break
        self._complaints += [
            f"{gap} is a gap for ever" for gap in self._workers.quietly(lambda engine: engine.ledger.coverage()).gaps()
        ]

    def judge(self) -> list[str]:
        """What is wrong, by the model."""
        for destination, receiver in self._receivers.items():
            if receiver.changed_repetitions:
                self._complaints.append(f"{destination} got other bytes under a key that it had before")
        seen = Witness(self._workers, self._store, self._receivers, self._documents, self._end).seen()
        for destination, receiver in self._receivers.items():
            # what was put again since, or is superseded and may be gone, is not missed; unless it was lost again elsewhere
            there = receiver.objects.keys() | seen.superseded.get(destination, set())
            missed = {
                number_of(message)
                for key in receiver.forgotten.keys() - there
                for message in messages_in(key, receiver.forgotten[key])
            }
            self._model.not_missed[destination] |= self._model.forgotten[destination] - missed
        return self._complaints + list(judge(self._model, seen, self._end))
