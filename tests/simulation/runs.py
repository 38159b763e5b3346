"""Runs as the DAG has them: tasks wait, plan, deliver and seal, and each is tried again as Airflow does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from logstream.errors import LogstreamError, WindowNotClosed
from logstream.export.exporter import Exporter
from logstream.export.plan import Planned
from logstream.ledger.coverage import AskedBy
from tests.simulation.fates import Attempt, Fate
from tests.simulation.model import Model
from tests.simulation.moments import window_of
from tests.simulation.notes import Notes
from tests.simulation.script import TRIES, Blow, Row, Run, Span
from tests.simulation.workers import Workers
from tests.simulation.writers import Writers


class Runs:
    """Makes runs, and tells the model of them."""

    def __init__(self, workers: Workers, notes: Notes, model: Model, writers: Writers, complaints: list[str]) -> None:
        self._workers, self._notes, self._model, self._writers = workers, notes, model, writers
        self._complaints = complaints
        self._so_far = 0
        self._doubled = False

    def run(self, run: Run) -> None:
        """A run as the script has it: perhaps doubled, and with what befalls its workers."""
        other: Attempt | None = None
        window, self._doubled = run.window, run.doubled
        if run.doubled:
            self._notes.possible(window, again=True)
            other = self._workers.attempt(lambda engine: self._whole(engine, window))
        self.once(window, list(run.blows), again=run.again, meanwhile=run.meanwhile)
        if other is not None:
            self._workers.until_it_ends(other)
            if other.error is not None and not isinstance(other.error, LogstreamError):
                self._complaints.append(f"a doubled run broke by {other.error!r}")
            self._notes.planned(window, again=True, left=other.result)
        self._workers.wake()
        self._workers.pass_time(60)

    def _whole(self, engine: Exporter, window: Span) -> Collection[int]:
        engine.wait_until_closed(window_of(window), timeout=0)
        planned = engine.plan(window_of(window), heal=True)
        engine.deliver([key for share in planned.shares for key in share.lanes])
        engine.seal(planned.delivery_ids)
        return planned.left

    def once(self, window: Span, blows: list[Blow], *, again: bool = False, meanwhile: Sequence[Row] = ()) -> None:
        """A scheduled run, or (`again`) a backfill; some rows come `meanwhile`, when it has planned."""
        self._so_far += 1
        by, carrier = AskedBy.REQUEST if again else AskedBy.SCHEDULE, f"run {self._so_far}"

        def plan(engine: Exporter) -> Planned:
            engine.wait_until_closed(window_of(window), timeout=0)
            return engine.plan(window_of(window), heal=True, asked_by=by, carrier=carrier)

        def before() -> None:
            self._notes.possible(window, again=again)

        def after(attempt: Attempt) -> None:
            left = attempt.result.left if isinstance(attempt.result, Planned) else None
            self._notes.planned(window, again=again, left=left)

        planned = self._task("plan", blows, plan, before, after)
        if not isinstance(planned, Planned):
            return
        if meanwhile:
            self._writers.write(meanwhile)
            self._notes.committed(meanwhile)
            self._notes.owed()  # they may be delivered along
        lanes = [key for share in planned.shares for key in share.lanes]
        self._task("deliver", blows, lambda engine: engine.deliver(lanes))
        self._model.sealing_was_disturbed |= any(blow.phase == "seal" for blow in blows)
        self._task("seal", blows, lambda engine: engine.seal(planned.delivery_ids, carrier=carrier))

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
            self._workers.undisturbed = blow is None and not self._workers.zombies and not self._doubled
            attempt = self._workers.attempt(call, self._fate(blow))
            self._workers.wait(attempt.fate.asleep, attempt)
            if attempt.is_sleeping:
                self._workers.zombies.append(attempt)
                self._workers.pass_time(30)
                if blow and blow.moment % 3 == 0:
                    self._workers.wake(wait=False)  # while the next try works
                continue
            self._workers.until_it_ends(attempt)
            if after is not None:
                after(attempt)
            if attempt.killed:
                self._workers.pass_time(30)
                continue
            result = attempt.result
            if isinstance(attempt.error, WindowNotClosed):
                break  # the window is left to a later run
            if attempt.error is not None:
                if not isinstance(attempt.error, LogstreamError):
                    self._complaints.append(f"{phase} broke by {attempt.error!r}")
                continue
            if phase == "deliver" and any(item.error and not item.permanent for item in result):
                continue
            break
        return result

    def _fate(self, blow: Blow | None) -> Fate:
        if blow is None:
            return Fate()
        return Fate(blow.moment, blow.what, self._workers.cut if blow.what == "cut" else None)
