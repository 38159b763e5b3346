"""The operators' own few rules, without a scheduler: what fails a run and what does not, who is told, when it is tried again."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pendulum
import psycopg
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException, TaskDeferred

from logstream.airflow.links import DeliveriesLink
from logstream.airflow.operators import (
    Deliver,
    EmitAssetEvents,
    GrowingDelay,
    PlanDeliveries,
    Redeliver,
    SealWindow,
    WaitForClosedWindow,
)
from logstream.airflow.operators import base as operators
from logstream.airflow.operators.pools import PickShares
from logstream.airflow.operators.retries import NotDelivered
from logstream.airflow.operators.wait import WindowClosedTrigger, wait_seconds
from logstream.errors import InputError
from logstream.export.exporter import Exporter
from logstream.testing.servers import LogSink
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.supervised import Supervisor
from tests.test_engine import Make, engine, filled
from tests.test_gaps import began
from tests.test_healing import two_destinations, window

__all__ = ["engine", "filled"]  # fixtures


class Pushed:
    """Stands for a task instance: keeps what is pushed, and knows which groups of destinations the run has tasks for."""

    dag_id, run_id = "logstream_export", "run"

    def __init__(self, *tasks: str) -> None:
        self.values: dict[str, Any] = {}
        self.tasks = tasks

    def get_ti_count(self, dag_id: str, *, task_ids: list[str], run_ids: list[str]) -> int:
        assert (dag_id, run_ids) == (self.dag_id, [self.run_id])
        return sum(task in self.tasks for task in task_ids)

    def xcom_push(self, key: str, value: Any) -> None:
        self.values[key] = value

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        return self.values.get(key)


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs one window as the DAG does, task by task, with an engine of the test's."""
    Supervisor.of_this_process(monkeypatch, variables={"logstream_schedule": "none"})

    def run(exporter: Exporter, number: int) -> None:
        @contextmanager
        def ours() -> Iterator[Exporter]:
            with operators.plain_errors():
                yield exporter

        for module in ("plan", "deliver", "seal"):
            monkeypatch.setattr(f"logstream.airflow.operators.{module}.exporter", ours)
        pushed = Pushed()
        # times of pendulum, as Airflow gives them
        start, end = pendulum.instance(window(number).start), pendulum.instance(window(number).end)
        context: Any = {
            "data_interval_start": start, "data_interval_end": end, "ti": pushed,
            "dag_run": SimpleNamespace(run_type="scheduled", dag_id="logstream_export", run_id=f"scheduled__{number}"),
        }  # fmt: skip
        shares = PlanDeliveries(task_id="plan", snapshot=exporter.settings.current().id).execute(context)
        for share in json.loads(json.dumps(shares)):  # what travels in XCom is plain and small
            try:
                Deliver(task_id="deliver", share=share).execute(context)
            except NotDelivered:
                continue
        SealWindow(task_id="seal").execute(context)

    return run


def test_runs_are_red_until_a_destination_is_suspended(
    engine: Make, sink: LogSink, tmp_path: Path, airflow: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy = type(exporter.policy)(attempts=1)
    sink.fail = lambda _: 503
    for number in range(2):
        with pytest.raises(AirflowFailException, match=r"hook: 127\.0\.0\.1 answered 503"):
            airflow(exporter, number)
    airflow(exporter, 2)
    assert "destination hook is suspended: 127.0.0.1 answered 503" in capsys.readouterr().out
    airflow(exporter, 3)
    sink.fail = lambda _: None
    assert "is suspended" not in capsys.readouterr().out
    airflow(exporter, 4)
    airflow(exporter, 5)
    assert exporter.ledger.owed() == []
    assert verify(exporter, Window(window(0).start, window(5).end)).findings == []


class Emitted:
    """Stands for Airflow's outlet events: keeps what is added under each alias."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []

    def __getitem__(self, alias: Any) -> Emitted:
        assert alias.name == "logstream_deliveries"
        return self

    def add(self, asset: Any, *, extra: dict[str, Any]) -> None:
        self.events.append((asset.name, asset.uri, extra))


def emitted(exporter: Exporter, source: str, pushed: Pushed, monkeypatch: pytest.MonkeyPatch) -> Emitted:
    """What the task emits at the end of a run whose task `source` has pushed something."""

    @contextmanager
    def ours() -> Iterator[Exporter]:
        yield exporter

    monkeypatch.setattr("logstream.airflow.operators.emit.exporter", ours)
    found = Emitted()
    context: Any = {"ti": pushed, "outlet_events": found}
    EmitAssetEvents(task_id="emit_asset_events", source=source).execute(context)
    return found


def test_who_waits_for_one_destination_is_told_though_another_failed(
    engine: Make, sink: LogSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy = type(exporter.policy)(attempts=1)
    sink.fail = lambda _: 503
    planned = exporter.plan(window(0))
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    pushed = Pushed()
    pushed.xcom_push("deliveries", planned.delivery_ids)
    assert emitted(exporter, "plan_deliveries", pushed, monkeypatch).events == [], "nothing is sealed yet"
    reports = {report.destination: report for report in exporter.seal(planned.delivery_ids)}
    told = {"start": "2026-03-01T00:00:00Z", "end": "2026-03-01T00:00:05Z"}
    assert emitted(exporter, "plan_deliveries", pushed, monkeypatch).events == [
        ("logstream_out", "logstream://destination/out",
         {**told, "events": reports["out"].events, "bytes": reports["out"].bytes})
    ]  # fmt: skip
    assert reports["out"].events > 0

    # what the other one is owed is delivered on demand, and told then
    sink.fail = lambda _: None
    monkeypatch.setattr("logstream.airflow.operators.redeliver.exporter", lambda: exporter)
    again = Pushed()
    context: Any = {"params": {}, "ti": again}
    Redeliver(task_id="redeliver").execute(context)
    (event,) = emitted(exporter, "redeliver", again, monkeypatch).events
    assert event == (
        "logstream_hook",
        "logstream://destination/hook",
        {**told, "events": len(sink.events()), "bytes": event[2]["bytes"]},
    )
    assert event[2]["bytes"] > 0


def test_the_shares_of_a_group_of_destinations_are_apart_from_all_others(
    engine: Make, sink: LogSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))

    @contextmanager
    def ours() -> Iterator[Exporter]:
        yield exporter

    monkeypatch.setattr("logstream.airflow.operators.plan.exporter", ours)

    def planned(
        number: int, groups: str, tasks: Sequence[str] = ("shares_hooks", "shares_others")
    ) -> tuple[set[str], set[str], set[str]]:
        monkeypatch.setenv("LOGSTREAM_DELIVER_POOLS", groups)
        pushed = Pushed(*tasks)
        context: Any = {
            "data_interval_start": window(number).start,
            "data_interval_end": window(number).end,
            "ti": pushed,
        }
        rest = PlanDeliveries(task_id="plan", snapshot=exporter.settings.current().id).execute(context)
        hooks = PickShares(task_id="shares_hooks", group="hooks").execute(context)
        others = PickShares(task_id="shares_others", group="others").execute(context)
        carried = [{lane.destination for lane in exporter.ledger.lanes([(d, n) for share in shares for d, n in share["lanes"]])}
                   for shares in (rest, hooks, others)]  # fmt: skip
        return carried[0], carried[1], carried[2]

    assert planned(0, "") == ({"out", "hook"}, set(), set())
    assert planned(1, "hooks=h*k others=*") == (set(), {"hook"}, {"out"}), "the first group that has it"
    assert planned(2, "others=nothing hooks=hook,out*") == (set(), {"hook", "out"}, set())
    assert planned(3, "hooks=hook") == ({"out"}, {"hook"}, set())
    # the dag-processor's environment is another: it made no tasks for a group
    assert planned(4, "hooks=h*k others=out", tasks=["shares_others"]) == ({"hook"}, set(), {"out"})


def test_a_run_that_planned_nothing_emits_nothing(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert emitted(engine(two_destinations(tmp_path)), "plan_deliveries", Pushed(), monkeypatch).events == []


def test_runs_that_never_were_are_made_good_by_the_next_one(
    engine: Make,
    filled: psycopg.Connection,
    sink: LogSink,
    tmp_path: Path,
    airflow: Any,
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    began(exporter, window(0).start)
    airflow(exporter, 0)
    airflow(exporter, 4)
    assert exporter.ledger.coverage().gaps() == []
    span = Window(window(0).start, window(4).end)
    assert sorted(exporter.ledger.planned_within(span)) == [window(number) for number in range(5)]
    assert verify(exporter, span).findings == []


def test_what_was_delivered_is_counted(
    engine: Make, sink: LogSink, tmp_path: Path, airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: Counter[tuple[str, str]] = Counter()
    late: list[str] = []

    class Stats:
        incr = staticmethod(lambda name, count, tags: counted.update({(name, tags["destination"]): count}))
        gauge = staticmethod(lambda name, value, tags: late.append(name) if value > 0 else None)

    monkeypatch.setattr("logstream.airflow.operators.seal.stats", Stats)
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy = type(exporter.policy)(attempts=1)
    airflow(exporter, 0)
    sink.fail = lambda _: 503
    with pytest.raises(AirflowFailException):
        airflow(exporter, 1)
    hook = {name: count for (name, destination), count in counted.items() if destination == "hook"}
    assert hook["logstream.events"] == len(sink.events())
    assert (hook["logstream.deliveries.delivered"], hook["logstream.deliveries.failed"]) == (1, 1)
    assert hook["logstream.bytes"] > 0
    assert set(late) == {"logstream.lag_seconds"}


def test_a_receivers_wish_decides_when_airflow_tries_again() -> None:
    policy = GrowingDelay()
    asked = policy.evaluate(NotDelivered("x", 600.0), 1, 3)
    assert (asked.action.name, asked.retry_delay) == ("RETRY", timedelta(minutes=10))
    assert policy.evaluate(NotDelivered("x", 1e9), 1, 3).retry_delay == timedelta(days=1)


def test_without_a_wish_each_try_waits_longer() -> None:
    policy = GrowingDelay()
    for error in (NotDelivered("x", 0.0), ValueError("x")):
        for number, most in ((1, 30), (2, 60), (3, 120), (6, 900), (500, 900)):
            decision = policy.evaluate(error, number, 3)
            assert decision.action.name == "RETRY" and decision.retry_delay is not None
            assert timedelta(seconds=most / 2) <= decision.retry_delay <= timedelta(seconds=most)


def test_a_receiver_that_asks_for_long_ends_the_task_with_its_wish(
    engine: Make, sink: LogSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    sink.fail, sink.answer_headers = (lambda _: 429), {"Retry-After": "900"}

    @contextmanager
    def ours() -> Iterator[Exporter]:
        yield exporter

    monkeypatch.setattr("logstream.airflow.operators.deliver.exporter", ours)
    planned = exporter.plan(window(0), only=["hook"])
    context: Any = {"data_interval_start": window(0).start, "data_interval_end": window(0).end}
    with pytest.raises(NotDelivered) as failed:
        for share in planned.shares:
            Deliver(task_id="deliver", share=share.as_reference()).execute(context)
    assert failed.value.after == 900.0


PAST = datetime(2026, 3, 1, tzinfo=UTC).isoformat()
LATER = datetime(2099, 1, 1, tzinfo=UTC).isoformat()


def waited(trigger: WindowClosedTrigger) -> dict[str, Any]:
    """What a trigger tells its task."""

    async def first() -> dict[str, Any]:
        async for event in trigger.run():
            payload: dict[str, Any] = event.payload
            return payload
        raise AssertionError("no event")

    return asyncio.run(first())


def waits(context: Any) -> tuple[WaitForClosedWindow, WindowClosedTrigger]:
    """The task that waits, and the trigger that it defers to."""
    task = WaitForClosedWindow(task_id="wait_for_closed_window")
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    path, arguments = deferred.value.trigger.serialize()
    assert path == "logstream.airflow.operators.wait.WindowClosedTrigger"
    return task, WindowClosedTrigger(**json.loads(json.dumps(arguments)))


@pytest.fixture
def over(filled: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, engine: Make, tmp_path: Path) -> Any:
    """The context of a run of one window, in an Airflow whose triggerer reads the test's log store."""
    exporter = engine(two_destinations(tmp_path / "out"))

    @contextmanager
    def ours() -> Iterator[Exporter]:
        yield exporter

    monkeypatch.setattr("logstream.airflow.operators.wait.exporter", ours)
    monkeypatch.setattr("logstream.airflow.databases.store_database", lambda: filled.info.dsn)
    monkeypatch.setattr("logstream.airflow.operators.wait.AWAY_SECONDS", 0.01)
    return {"data_interval_start": window(0).start, "data_interval_end": window(0).end, "ti": Pushed()}


@pytest.mark.parametrize("prepared", [False, True])
def test_a_window_whose_writer_hangs_is_left_to_a_later_run(
    over: Any,
    filled: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    prepared: bool,
) -> None:
    with psycopg.connect(filled.info.dsn, application_name="hangs", autocommit=True) as writer:
        writer.execute("begin")
        writer.execute("delete from events where id = 1")
        if prepared:
            writer.execute("prepare transaction 'forgotten'")
        task, trigger = waits(over)
        minutes = (datetime.fromisoformat(trigger.until) - datetime.now(UTC)).total_seconds() / 60
        assert 14 < minutes <= 15
        # a quarter of an hour later
        trigger.until = PAST
        event = waited(trigger)
        with pytest.raises(AirflowSkipException, match="is left to a later run"), caplog.at_level("WARNING"):
            task.closed(over, event)
        assert ("prepared transaction" if prepared else "hangs") in over["ti"].values["left"]
        # the rest of the run: the last task says it once more, and is not red
        with pytest.raises(AirflowSkipException, match="left to a later run"):
            SealWindow(task_id="seal_window").execute(over)
        writer.execute("rollback prepared 'forgotten'" if prepared else "rollback")
    trigger.until = LATER
    assert "left" not in waited(trigger)
    task.closed(over, waited(trigger))
    task.execute(over)


def test_a_window_that_ends_in_the_future_is_not_waited_for_for_ever(over: Any) -> None:
    start = datetime(2098, 1, 1, tzinfo=UTC)
    over |= {"data_interval_start": start, "data_interval_end": start + timedelta(minutes=5)}
    _, trigger = waits(over)
    trigger.until = PAST
    assert waited(trigger)["left"] == "it has not ended yet by the log store's clock"


def test_a_log_store_that_is_away_for_too_long_is_an_error_and_no_gap_to_be_quiet_about(
    over: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "host=127.0.0.1 port=1 connect_timeout=1 user=x password=secret dbname=x"
    monkeypatch.setattr("logstream.airflow.databases.store_database", lambda: nowhere)
    event = waited(WindowClosedTrigger(window(0).start.isoformat(), window(0).end.isoformat(), ["events"], PAST))
    with pytest.raises(AirflowException, match="the log store could not be looked at") as failed:
        WaitForClosedWindow(task_id="wait").closed(over, event)
    assert not isinstance(failed.value, AirflowSkipException)
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 900.0), ("0", 0.0), ("90.5", 90.5), ("x", None), ("-1", None), ("inf", None), ("nan", None)],
)
def test_how_long_a_run_waits(monkeypatch: pytest.MonkeyPatch, text: str, seconds: float | None) -> None:
    monkeypatch.setenv("LOGSTREAM_WAIT_SECONDS", text)
    if seconds is None:
        with pytest.raises(InputError, match="is no number of seconds"):
            wait_seconds()
    else:
        assert wait_seconds() == seconds


class Log:
    """A task's log that keeps its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def info(self, *_: Any) -> None:
        """Not a warning."""

    error = exception = info

    def warning(self, message: str, *given: Any) -> None:
        self.warnings.append(message % given)


def test_what_is_rejected_or_lost_is_a_warning_in_the_tasks_log(
    engine: Make,
    filled: psycopg.Connection,
    sink: LogSink,
    tmp_path: Path,
    airflow: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Log()
    for operator in (Deliver, SealWindow):
        monkeypatch.setattr(operator, "log", log)
    deep = '{"id": "deep", "x": ' + "[" * 600 + "]" * 600 + "}"
    filled.execute(
        "insert into events values (77777, 100, 'job', %s, %s, %s)", (window(0).start, window(0).start, deep)
    )
    exporter = engine(two_destinations(tmp_path / "out"))
    airflow(exporter, 0)

    said = "\n".join(log.warnings)
    assert said.count("1 event was rejected and kept as dead letters") == 2, "where it is sent, and where it is sealed"
    assert "out, window 2026-" in said and "out, lane " in said
    # what was planned is gone before it is delivered
    filled.execute("insert into events values (77778, 100, 'job', %s, %s, '{}')", (window(1).start, window(1).start))
    planned = exporter.plan(window(1))
    filled.execute("delete from events where recorded_at >= %s and recorded_at < %s", (window(1).start, window(1).end))
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    pushed = Pushed()
    pushed.xcom_push("deliveries", list(planned.delivery_ids))
    context: Any = {"data_interval_start": window(1).start, "data_interval_end": window(1).end, "ti": pushed}
    with pytest.raises(AirflowFailException, match="lost"):
        SealWindow(task_id="seal").execute(context)
    assert any("lost: the log store no longer held them" in line for line in log.warnings)


@pytest.mark.parametrize(
    ("context", "query"),
    [
        (
            {
                "data_interval_start": window(0).start,
                "data_interval_end": pendulum.instance(window(0).end).in_tz("Europe/Berlin"),
            },
            "?start=2026-03-01T00%3A00%3A00&end=2026-03-01T00%3A00%3A05",
        ),
        ({"data_interval_start": window(0).start, "data_interval_end": window(0).start}, ""),
        ({"data_interval_start": None, "data_interval_end": None}, ""),
        ({}, ""),
    ],
)
def test_the_button_of_a_task_opens_the_console_at_its_window(
    context: dict[str, Any], query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/")
    instance: Any = SimpleNamespace(get_template_context=lambda: context)
    task = SealWindow(task_id="seal")
    link = DeliveriesLink().get_link(task, ti_key=instance)
    assert link == f"https://airflow.example/plugin/audit-log-streaming/logstream/deliveries{query}"
