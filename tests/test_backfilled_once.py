"""A backfill on another schedule: several of its runs cut a window that exists. It is exported once, by whichever comes first."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from logstream.airflow.operators.base import carrier_of
from logstream.export.exporter import Exporter
from logstream.export.plan import Planned
from logstream.ledger.carriers import carrier, is_carrier, is_sibling, spellings
from logstream.ledger.records import State
from logstream.store.postgres import PostgresStore
from logstream.testing.servers import LogSink
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.test_engine import QUICK, WINDOW, Make, engine, export, filled
from tests.test_healing import away, two_destinations
from tests.test_losses import quick
from tests.test_only_copies import apply

__all__ = ["engine", "filled"]  # fixtures

MINUTES = [Window(WINDOW.start + timedelta(minutes=n), WINDOW.start + timedelta(minutes=n + 1)) for n in range(5)]


def name(minute: int, backfill: str | None = "november") -> str:
    return carrier("logstream_export", f"backfill__{minute}", backfill)


def planned(exporter: Exporter, minute: int, backfill: str | None = "november") -> Planned:
    return exporter.plan(MINUTES[minute], carrier=name(minute, backfill))


def deliver(exporter: Exporter, plan: Planned, minute: int, backfill: str | None = "november") -> set[State]:
    exporter.deliver([key for share in plan.shares for key in share.lanes])
    return {report.state for report in exporter.seal(plan.delivery_ids, carrier=name(minute, backfill))}


def backfilled(exporter: Exporter, minute: int, backfill: str | None = "november") -> bool:
    """Whether a run of a backfill exports the window that its minute cuts."""
    plan = planned(exporter, minute, backfill)
    states = deliver(exporter, plan, minute, backfill)
    assert states in ({State.DELIVERED}, set()) and [item.window for item in plan.windows] == [WINDOW]
    return bool(states)


@pytest.fixture
def exporter(engine: Make, sink: LogSink, tmp_path: Path) -> Exporter:
    """One that has exported the whole window."""
    made = quick(engine(two_destinations(tmp_path / "out")))
    export(made)
    return made


def generations(exporter: Exporter) -> set[int]:
    """How often each destination's window was exported from its beginning."""
    return {delivery.generation for delivery in exporter.ledger.deliveries([1, 2])}


def test_five_runs_export_it_once(exporter: Exporter, sink: LogSink) -> None:
    before = len(sink.bodies)
    assert [backfilled(exporter, minute) for minute in range(5)] == [True, False, False, False, False]
    assert generations(exporter) == {2} and len(sink.bodies) == 2 * before
    assert verify(exporter, WINDOW).findings == []


def test_another_backfill_exports_it_again_and_so_does_each_run_of_one_without_a_name(exporter: Exporter) -> None:
    assert [backfilled(exporter, minute) for minute in (0, 1)] == [True, False]
    assert [backfilled(exporter, minute, "december") for minute in (2, 3)] == [True, False]
    assert [backfilled(exporter, minute, None) for minute in (0, 1, 2)] == [True, True, True]
    assert backfilled(exporter, 4), "a run without a name has exported it since: the named one cannot know why"


def test_the_run_that_has_exported_it_and_is_cleared_exports_it_again(exporter: Exporter) -> None:
    assert [backfilled(exporter, minute) for minute in (0, 1, 0, 1)] == [True, False, True, False]


def test_a_range_that_begins_or_ends_within_it(exporter: Exporter) -> None:
    """There is no run for its first minute, or its last: whichever run there is exports it."""
    assert [backfilled(exporter, minute) for minute in (2, 3)] == [True, False]
    assert [backfilled(exporter, minute, "b") for minute in (4, 3)] == [True, False]


def test_what_the_first_run_could_not_deliver_the_next_goes_on_with(
    exporter: Exporter, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink.fail = lambda _: 503
    assert deliver(exporter, planned(exporter, 0), 0) == {State.DELIVERED, State.FAILED}
    sink.fail = lambda _: None
    plan = planned(exporter, 1)
    assert deliver(exporter, plan, 1) == {State.DELIVERED} and len(plan.delivery_ids) == 1, "the folder has its part"
    assert not backfilled(exporter, 2)
    with monkeypatch.context() as patch:  # by no fault of a destination
        patch.setattr(PostgresStore, "read", away)
        assert deliver(exporter, planned(exporter, 3, "b"), 3, "b") == {State.FAILED}
    assert backfilled(exporter, 4, "b")
    assert exporter.ledger.owed() == [] and verify(exporter, WINDOW).findings == []


def test_a_run_that_is_at_work_on_it_is_left_alone_and_one_that_died_is_not(
    exporter: Exporter, filled: psycopg.Connection
) -> None:
    first = planned(exporter, 0)
    assert not planned(exporter, 1).delivery_ids
    assert deliver(exporter, first, 0) == {State.DELIVERED}
    planned(exporter, 0, "b")
    filled.execute("update logstream.deliveries set planned_at = planned_at - interval '31 minutes'")
    assert backfilled(exporter, 1, "b")


def test_settings_that_changed_between_two_runs_hold_for_the_window(exporter: Exporter, tmp_path: Path) -> None:
    assert backfilled(exporter, 0)
    settings = two_destinations(tmp_path / "out")
    settings["workspaces"] = [
        {**item, "streaming": {**item["streaming"], "destination": "out"}} for item in settings["workspaces"]
    ]
    apply(exporter, settings)
    assert backfilled(exporter, 1) and not backfilled(exporter, 2)
    assert [
        finding.destination for finding in verify(exporter, WINDOW).findings if "never exported" in finding.what
    ] == []


def test_runs_that_plan_at_the_same_moment(exporter: Exporter, filled: psycopg.Connection) -> None:
    """They wait for each other's rows, and look at them then."""
    barrier, plans = Barrier(4), list[Planned]()

    def plan(minute: int) -> None:
        with Exporter(filled.info.dsn, filled.info.dsn, exporter.connections, policy=QUICK) as other:
            barrier.wait(10)
            plans.append(planned(other, minute))

    threads = [Thread(target=plan, args=(minute,)) for minute in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(len(found.delivery_ids) for found in plans) == [0, 0, 0, 2]
    assert generations(exporter) == {2}


def test_new_time_is_each_runs_own(exporter: Exporter) -> None:
    """Windows that the backfill makes are no one's but the run's."""
    later = Window(WINDOW.end, WINDOW.end + timedelta(minutes=1))
    plan = exporter.plan(Window(MINUTES[4].start, later.end), carrier=name(4))
    assert [item.window for item in plan.windows] == [WINDOW, later]
    assert exporter.plan(later, carrier=name(5)).windows[0].pending.ids == []


def test_names_of_runs() -> None:
    ours, theirs, unnamed = name(1), name(2), name(1, None)
    assert ours == "logstream_export/backfill__1 of backfill november"
    assert spellings(ours) == [ours, unnamed, "backfill__1"] and spellings(None) == []
    for written in (ours, unnamed, "backfill__1"):
        assert is_carrier(written, ours) and is_carrier(ours, written) and not is_sibling(written, ours)
    assert not is_carrier(theirs, ours) and is_sibling(theirs, ours) and is_sibling(ours, theirs)
    others: list[str | None] = [None, unnamed, name(2, None), name(2, "december"), "command 7"]
    assert not any(is_sibling(written, ours) or is_sibling(ours, written) for written in others if written != unnamed)


def test_a_task_knows_the_name_by_the_runs_parameters() -> None:
    run = SimpleNamespace(dag_id="logstream_export", run_id="backfill__1")
    context: Any = {"dag_run": run, "params": {"backfill": "november", "destinations": None}}
    assert carrier_of(context) == name(1)
    assert carrier_of({"dag_run": run, "params": {"backfill": None}}) == name(1, None)  # type: ignore[typeddict-item]
    assert carrier_of({"dag_run": run}) == name(1, None)  # type: ignore[typeddict-item]
