"""Planning what is owed: once a window however many destinations, each destination for itself, and only what no run has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from sqlalchemy import event

from logstream.airflow.operators.base import carrier_of
from logstream.destinations import registry
from logstream.export.exporter import Exporter
from logstream.export.plan import Planner
from logstream.ledger.coverage import AskedBy
from logstream.ledger.debts import ORPHAN_AFTER
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import State
from logstream.store.postgres import PostgresStore
from logstream.testing.servers import LogSink
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.test_engine import EVERYTHING, Make, engine, filled
from tests.test_healing import run, two_destinations, window

__all__ = ["engine", "filled"]  # fixtures


@contextmanager
def counted(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Counts the statements in the control database, and how often the log store is counted."""
    seen = {"statements": 0, "counts": 0}

    def note(*_: object) -> None:
        seen["statements"] += 1

    real = PostgresStore.count

    def count(self: PostgresStore, *args: Any, **options: Any) -> Any:
        seen["counts"] += 1
        return real(self, *args, **options)

    event.listen(exporter.engine, "before_cursor_execute", note)
    with monkeypatch.context() as patch:
        patch.setattr(PostgresStore, "count", count)
        yield seen
    event.remove(exporter.engine, "before_cursor_execute", note)


def many_destinations(number: int, folder: Path) -> dict[str, Any]:
    """Each workspace streams to a destination of its own."""
    streaming = {"enabled": True, "events": EVERYTHING}
    return {
        "workspaces": [{"id": 100 + n, "streaming": {**streaming, "destination": f"d{n}"}} for n in range(number)],
        "destinations": {f"d{n}": {"type": "file", "path": str(folder / str(n))} for n in range(number)},
    }


def test_planning_what_is_owed_takes_as_many_statements_for_one_destination_as_for_all(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    for number in (1, 12):
        exporter = engine(many_destinations(number, tmp_path))
        for index in range(3):
            planned = exporter.plan(window(number + index))
            exporter.ledger.seal(dict.fromkeys(planned.delivery_ids, State.FAILED))
        with counted(exporter, monkeypatch) as counts:
            ids, shares = Planner(exporter).plan_owed()
        assert len(ids) >= 2 * number, "quiet workspaces have no events in some windows"
        assert {key[0] for share in shares for key in share.lanes} == set(ids)
        assert counts["counts"] == 3, "a window is counted once for all that owe it"
        seen[number] = counts["statements"]
        exporter.ledger.seal(dict.fromkeys(ids, State.DELIVERED))
    assert seen[12] == seen[1]


def test_a_destination_that_cannot_be_planned_fails_alone(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(many_destinations(12, tmp_path))
    real = registry.destination_type

    def some_are_broken(name: str) -> Any:
        if name == "gone":
            raise KeyError(["file"])
        if name == "broken":
            raise RuntimeError("a plug-in's own fault")
        return real(name)

    settings = exporter.settings.current().settings
    broken = {
        "d1": settings.destinations["d1"].model_copy(update={"type": "gone"}),
        "d2": settings.destinations["d2"].model_copy(update={"type": "broken"}),
        "d3": type(settings.destinations["d3"])(type="file", path="x", lanes="many"),
    }
    exporter.settings.apply(settings.model_copy(update={"destinations": {**settings.destinations, **broken}}))
    with monkeypatch.context() as patch:
        patch.setattr(registry, "destination_type", some_are_broken)
        reports = run(exporter, 0)
        for name in broken:
            assert reports[name, window(0)].state is State.FAILED
        assert "type 'gone' is not installed" in (reports["d1", window(0)].error or "")
        assert "planning for d2 broke (RuntimeError)" in (reports["d2", window(0)].error or "")
        assert "destinations.d3.lanes" in (reports["d3", window(0)].error or "")
        fine = {name for (name, _), report in reports.items() if report.state is State.DELIVERED}
        assert len(fine) >= 6
        # the same in what is owed, and in what is sent again on demand
        again = run(exporter, 1)
        assert {name for (name, found), report in again.items() if found == window(0)} == broken.keys()
        assert {report.destination for report in exporter.redeliver_owed()} == broken.keys()
    owed = {(item.destination, item.window): item for item in exporter.ledger.owed()}
    assert {name for name, _ in owed} == broken.keys()
    assert all(item.events > 0 and item.error for item in owed.values())
    # mended: it is delivered, and nothing is owed
    exporter.settings.apply(settings)
    assert all(report.state is State.DELIVERED for report in exporter.redeliver_owed())
    assert exporter.ledger.owed() == []
    span = Window(window(0).start, window(1).end)
    assert verify(exporter, span).findings == []


def test_what_another_run_has_sealed_meanwhile_is_not_sent_again(
    engine: Make, sink: LogSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy = type(exporter.policy)(attempts=1, base=0.001, cap=0.001)
    sink.fail = lambda _: 503
    for number in range(3):
        run(exporter, number)
    sink.fail = lambda _: None
    real = Ledger.owed
    stale = exporter.ledger.owed()
    assert len(stale) == 3
    assert all(report.state is State.DELIVERED for report in exporter.redeliver_owed())
    bodies = len(sink.bodies)
    # another run has read the list before, and plans after
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "owed", lambda *_, **__: stale)
        assert Planner(exporter).plan_owed() == ([], [])
        planned = exporter.plan(window(3), heal=True)
        assert planned.owed == []
    assert real(exporter.ledger) == []
    assert len(sink.bodies) == bodies
    assert verify(exporter, Window(window(0).start, window(2).end)).findings == []


def test_planning_that_is_tried_again_takes_along_what_its_first_attempt_planned(
    engine: Make, sink: LogSink, tmp_path: Path
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy = type(exporter.policy)(attempts=1, base=0.001, cap=0.001)
    sink.fail = lambda _: 503
    for number in range(2):
        run(exporter, number)
    sink.fail = lambda _: None
    first = exporter.plan(window(2), heal=True, carrier="logstream_export/one")
    assert len(first.owed) == 2
    # it died before its shares were handed on; another run leaves alone what is carried, a retry takes it
    other = exporter.plan(window(3), heal=True, carrier="logstream_export/two")
    assert other.owed == []
    second = exporter.plan(window(2), heal=True, carrier="logstream_export/one")
    assert second.owed == first.owed
    assert {key for share in second.shares for key in share.lanes} == {
        key for share in first.shares for key in share.lanes
    }
    for planned in (second, other):
        exporter.deliver([key for share in planned.shares for key in share.lanes])
        assert all(report.state is State.DELIVERED for report in exporter.seal(planned.delivery_ids))
    assert exporter.ledger.owed() == []


def test_runs_of_one_id_in_two_dags_are_two_runs(engine: Make, sink: LogSink, tmp_path: Path) -> None:
    """A copy of the export DAG, or the one for redelivery, has runs of the same ids."""
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy = type(exporter.policy)(attempts=1, base=0.001, cap=0.001)
    sink.fail = lambda _: 503
    run(exporter, 0)
    names = [
        carrier_of({"dag_run": SimpleNamespace(dag_id=dag, run_id="scheduled__2026-03-01T00:00:00+00:00")})  # type: ignore[arg-type]
        for dag in ("logstream_export", "a_copy_of_it")
    ]
    first = exporter.plan(window(1), heal=True, carrier=names[0])
    assert len(first.owed) == 1
    assert exporter.plan(window(2), heal=True, carrier=names[1]).owed == [], "the first one carries it"
    assert exporter.plan(window(1), heal=True, carrier=names[0]).owed == first.owed, "its retry takes it along"


def test_a_run_that_began_in_an_older_version_finds_what_it_carries(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    """Rows of then name the run without its DAG."""
    exporter = engine(two_destinations(tmp_path / "out"))
    first = exporter.plan(window(0), carrier="scheduled__0", asked_by=AskedBy.SCHEDULE)
    again = exporter.plan(window(0), carrier="logstream_export/scheduled__0", asked_by=AskedBy.SCHEDULE)
    assert again.delivery_ids == first.delivery_ids and len(again.shares) == len(first.shares)
    assert exporter.plan(window(0), carrier="logstream_export/scheduled__1", asked_by=AskedBy.SCHEDULE).windows == []
    owed = exporter.ledger.owed(carrier="logstream_export/scheduled__0")
    assert sorted(item.delivery_id for item in owed) == first.delivery_ids


def test_what_a_run_left_behind_is_taken_up_by_another_when_it_is_orphaned(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    left = exporter.plan(window(0), carrier="logstream_export/died")
    assert exporter.ledger.owed() == []
    filled.execute("update logstream.deliveries set planned_at = planned_at - %s", (ORPHAN_AFTER,))
    assert len(exporter.ledger.owed()) == 2
    planned = exporter.plan(window(1), heal=True, carrier="logstream_export/next")
    assert sorted(planned.owed) == left.delivery_ids
