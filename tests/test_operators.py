"""The operators' own few rules, without a scheduler: what fails a run and what does not, who is told, when it is tried again."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowFailException

from logstream.errors import InputError
from logstream.export.exporter import Exporter
from logstream.operators import Deliver, PlanDeliveries, ReceiversDelay, SealWindow, suspension_notifiers
from logstream.operators import base as operators
from logstream.operators.deliver import NotDelivered
from logstream.operators.notify import UnusableNotifier
from logstream.operators.wait import WindowClosedTrigger, straggler_seconds
from logstream.testing.servers import LogSink
from logstream.window import Window
from tests.test_engine import Make, engine, filled
from tests.test_healing import two_destinations, window

__all__ = ["engine", "filled"]  # fixtures


class Told(BaseNotifier):
    """Keeps what it was told; its text is a template, as other notifiers' are."""

    told: list[str] = []
    template_fields = ("text",)

    def __init__(self, text: str = "{{ logstream }}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text = text

    def notify(self, context: Any) -> None:
        self.told.append(f"{context['logstream'].destination} {context['logstream'].turn}")


class Broken(BaseNotifier):
    """A chat that is down."""

    def notify(self, context: Any) -> None:
        raise ConnectionError("the chat is down")


class Pushed:
    """Stands for a task instance: keeps what is pushed."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.values[key] = value


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs one window as the DAG does, task by task, with an engine of the test's."""

    def run(exporter: Exporter, number: int) -> None:
        @contextmanager
        def ours() -> Iterator[Exporter]:
            with operators.plain_errors():
                yield exporter

        for module in ("plan", "deliver", "seal"):
            monkeypatch.setattr(f"logstream.operators.{module}.exporter", ours)
        pushed = Pushed()
        span = window(number)
        context: Any = {
            "data_interval_start": span.start, "data_interval_end": span.end, "ti": pushed,
            "outlet_events": defaultdict(lambda: type("Events", (), {"add": staticmethod(lambda *_, **__: None)})),
        }  # fmt: skip
        shares = PlanDeliveries(task_id="plan", snapshot=exporter.settings.current().id).execute(context)
        for share in json.loads(json.dumps(shares)):  # what travels in XCom is plain and small
            try:
                Deliver(task_id="deliver", share=share).execute(context)
            except NotDelivered:
                continue
        notifiers = [Broken(), Told()]
        SealWindow(task_id="seal", deliveries=pushed.values["deliveries"], notifiers=notifiers).execute(context)

    return run


def test_runs_are_red_until_a_destination_is_suspended_and_somebody_is_told_once(
    engine: Make, sink: LogSink, tmp_path: Path, airflow: Any
) -> None:
    Told.told.clear()
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy = type(exporter.policy)(attempts=1)
    sink.fail = lambda _: 503
    for number in range(2):
        with pytest.raises(AirflowFailException, match=r"hook: 127\.0\.0\.1 answered 503"):
            airflow(exporter, number)
    airflow(exporter, 2)
    assert Told.told == ["hook suspended"]
    airflow(exporter, 3)
    sink.fail = lambda _: None
    airflow(exporter, 4)
    airflow(exporter, 5)
    assert Told.told == ["hook suspended", "hook recovered"]
    assert exporter.ledger.owed() == []
    assert exporter.verify(Window(window(0).start, window(5).end)).findings == []


def test_what_was_delivered_is_counted(
    engine: Make, sink: LogSink, tmp_path: Path, airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: Counter[tuple[str, str]] = Counter()
    late: list[str] = []

    class Stats:
        incr = staticmethod(lambda name, count, tags: counted.update({(name, tags["destination"]): count}))
        gauge = staticmethod(lambda name, value, tags: late.append(name) if value > 0 else None)

    monkeypatch.setattr("logstream.operators.seal.stats", Stats)
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
    policy = ReceiversDelay()
    asked = policy.evaluate(NotDelivered("x", 600.0), 1, 3)
    assert (asked.action.name, asked.retry_delay) == ("RETRY", timedelta(minutes=10))
    assert policy.evaluate(NotDelivered("x", 1e9), 1, 3).retry_delay == timedelta(days=1)
    assert policy.evaluate(NotDelivered("x", 0.0), 1, 3).action.name == "DEFAULT"
    assert policy.evaluate(ValueError("x"), 1, 3).action.name == "DEFAULT"


def test_a_receiver_that_asks_for_long_ends_the_task_with_its_wish(
    engine: Make, sink: LogSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    sink.fail, sink.answer_headers = (lambda _: 429), {"Retry-After": "900"}

    @contextmanager
    def ours() -> Iterator[Exporter]:
        yield exporter

    monkeypatch.setattr("logstream.operators.deliver.exporter", ours)
    planned = exporter.plan(window(0), only=["hook"])
    context: Any = {"data_interval_start": window(0).start, "data_interval_end": window(0).end}
    with pytest.raises(NotDelivered) as failed:
        for share in planned.shares:
            Deliver(task_id="deliver", share=share.as_reference()).execute(context)
    assert failed.value.after == 900.0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x", "is no JSON list of notifiers"),
        ("{}", None),
        ('[{"text": "x"}]', 'each notifier needs its "class"'),
        ('[{"class": "json.JSONDecoder"}]', "is no Airflow notifier"),
        ('[{"class": "no.such.Thing"}]', r"no\.such\.Thing cannot be made \(ModuleNotFoundError\)"),
        ('[{"class": "tests.test_operators.Told", "texd": "x"}]', r"Told cannot be made \(TypeError\)"),
    ],
)
def test_a_notifier_that_cannot_be_made_takes_no_dag_away(
    monkeypatch: pytest.MonkeyPatch, text: str, problem: str | None
) -> None:
    monkeypatch.setattr("logstream.operators.notify.Variable.get", lambda *_, **__: None)
    monkeypatch.setenv("LOGSTREAM_NOTIFIERS", text)
    if problem is None:
        assert suspension_notifiers() == []
        return
    (unusable,) = suspension_notifiers()
    assert isinstance(unusable, UnusableNotifier) and re.search(problem, unusable.reason), unusable
    with pytest.raises(InputError, match=problem):
        unusable.notify({})


def test_a_notifier_is_made_with_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logstream.operators.notify.Variable.get", lambda *_, **__: None)
    monkeypatch.setenv(
        "LOGSTREAM_NOTIFIERS", '[{"class": "tests.test_operators.Told", "text": "{{ logstream.turn }}"}]'
    )
    (notifier,) = suspension_notifiers()
    assert isinstance(notifier, Told) and notifier.text == "{{ logstream.turn }}"


def test_a_straggler_is_waited_for_so_long(filled: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dsn() -> str:
        return filled.info.dsn

    async def first(trigger: WindowClosedTrigger) -> dict[str, Any]:
        async for event in trigger.run():
            payload: dict[str, Any] = event.payload
            return payload
        raise AssertionError("no event")

    monkeypatch.setattr("logstream.operators.wait.store_database", dsn)
    span = window(0)
    trigger = WindowClosedTrigger(span.start.isoformat(), span.end.isoformat(), ["events"], straggler=0.1)
    with psycopg.connect(filled.info.dsn, application_name="hangs") as straggler:
        straggler.execute("delete from events where id = 1")
        event = asyncio.run(first(trigger))
        assert "hangs" in event["waiting"]
        assert len(event["watch"]["waiting"]) == 1
        straggler.rollback()
    assert "watch" not in asyncio.run(first(trigger))
    _, arguments = trigger.serialize()
    assert WindowClosedTrigger(**arguments).straggler == 0.1


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 0.0), ("0", 0.0), ("90.5", 90.5), ("x", None), ("-1", None), ("inf", None)]
)
def test_the_stragglers_time(monkeypatch: pytest.MonkeyPatch, text: str, seconds: float | None) -> None:
    monkeypatch.setenv("LOGSTREAM_STRAGGLER_SECONDS", text)
    if seconds is None:
        with pytest.raises(InputError, match="is no number of seconds"):
            straggler_seconds()
    else:
        assert straggler_seconds() == seconds
