"""While a destination is tried again its task says so: which one, why, and when next; once in a while, and not for each event."""

from __future__ import annotations

import errno
import io
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from logstream import clock
from logstream.cli import main
from logstream.cli.output import retries_shown
from logstream.export import retrying
from logstream.export.retrying import RetryNews
from logstream.export.send import RetryPolicy
from logstream.testing.servers import LogSink
from tests.test_engine import EVERYTHING, WINDOW, Make, engine, export, filled, override
from tests.test_healing import two_destinations

__all__ = ["engine", "filled"]  # fixtures

WHY = "127.0.0.1 answered 503\n  (busy)"


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    """Airflow, once it is imported, has its own mind of the root's level."""
    caplog.set_level(logging.WARNING, "logstream.retries")


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    return now


def test_it_is_told_after_some_seconds_and_then_now_and_then(
    time: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    news = RetryNews()
    for _ in range(1_000):  # within 20 s, in requests of many lanes
        news.again("hook", WHY, 0.5)
        time[0] += 0.02
    assert caplog.messages == [
        "destination hook is tried again in 0.5 s, after 2 s without success: 127.0.0.1 answered 503 (busy)",
        "destination hook is tried again in 0.5 s, after 17 s without success: 127.0.0.1 answered 503 (busy)",
    ]


def test_a_long_wait_is_told_at_once_and_each_destination_by_itself(
    time: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    news = RetryNews()
    news.again("hook", WHY, 118.0)
    news.again("lake", "it asks to slow down", 1.9)
    news.again("pond", "it asks to slow down", 30.0)
    assert caplog.messages == [
        "destination hook is tried again in 118.0 s: 127.0.0.1 answered 503 (busy)",
        "destination pond is tried again in 30.0 s: it asks to slow down",
    ]


def test_one_that_answers_now_and_then_is_no_trouble(time: list[float], caplog: pytest.LogCaptureFixture) -> None:
    news = RetryNews()
    for _ in range(100):
        news.again("hook", WHY, 0.5)
        time[0] += 1.0
        news.again("hook", WHY, 0.5)
        news.answered("hook")
    assert caplog.messages == []


def test_one_that_answers_each_second_request_is_told_of_no_more_often(
    time: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    news = RetryNews()
    for _ in range(3_000):  # within 30 s
        news.again("hook", WHY, 2.0)
        news.answered("hook")
        time[0] += 0.01
    assert len(caplog.messages) == 2


class Broken(io.StringIO):
    """Standard error that nobody reads, or whose disk is full."""

    def write(self, _: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize("nobody", [Broken(), None])
def test_that_nobody_reads_it_fails_no_delivery(
    nobody: io.StringIO | None, time: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", nobody)
    with retries_shown():
        RetryNews().again("hook", WHY, 30.0)
    assert capsys.readouterr().out == ""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(RetryPolicy, "delay", lambda *_: 0.01)


def test_a_task_says_it_in_its_log_once_for_all_its_requests(
    engine: Make, sink: LogSink, tmp_path: Path, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    document = two_destinations(tmp_path / "out")
    document["destinations"]["hook"] |= {"format": "single", "concurrency": 8}
    sink.fail = lambda number: 503 if number < 40 else None
    export(engine(document, RetryPolicy(attempts=100)))
    told = [record.getMessage() for record in caplog.records if record.name == "logstream.retries"]
    assert len(told) < 5 and all(
        "destination hook is tried again in 0.0 s: 127.0.0.1 answered 503" in line for line in told
    )
    assert told and sink.requests > 500


def test_commands_show_it_on_standard_error(
    filled: psycopg.Connection, sink: LogSink, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Whatever is configured of logs, and with nothing else that is logged."""
    connection = {
        "conn_type": "http",
        "host": sink.url,
        "extra": {"headers": {"Authorization": f"Bearer {sink.token}"}},
    }
    monkeypatch.setenv("AIRFLOW_CONN_HOOK", json.dumps(connection))
    monkeypatch.setenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES", "1")
    settings = override({"type": "http", "connection": "hook", "format": "array", "lanes": 1})
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    dsn = ["--dsn", filled.info.dsn]
    assert main(["settings", "apply", *dsn, str(tmp_path / "settings.yaml")]) == 0
    capsys.readouterr()
    sink.fail = lambda _: 503
    monkeypatch.setattr(sink, "failure_answer", lambda _: f"{sink.token} \x1b[31m busy".encode())
    span = ["--from", WINDOW.start.isoformat(), "--to", WINDOW.end.isoformat()]
    before = logging.getLogger("logstream.retries").handlers[:]

    def noted(command: list[str], code: int) -> list[str]:
        assert main(command) == code
        said = capsys.readouterr()
        assert sink.token not in said.err and "\x1b" not in said.err and "tried again" not in said.out
        assert logging.getLogger("logstream.retries").handlers == before
        return [
            line for line in said.err.splitlines() if re.match(r"note: destination d is tried again in \d+\.\d s", line)
        ]

    (line,) = noted(["export", *dsn, *span], 1)
    assert "127.0.0.1 answered 503" in line
    assert len(noted(["redeliver", *dsn], 1)) == 1
    sink.fail = lambda _: None
    assert noted(["redeliver", *dsn], 0) == []


def test_dead_letters_that_are_sent_again_say_it_too(
    engine: Make, filled: psycopg.Connection, sink: LogSink, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = engine(
        override({"type": "http", "connection": "sink", "format": "single", "lanes": 1}, events=EVERYTHING)
    )
    sink.fail = lambda number: 400 if number == 5 else None
    export(exporter)
    assert len(exporter.ledger.rejected()) == 1
    sink.fail = lambda _: 503
    (result,) = exporter.redeliver_rejected()
    assert "answered 503" in str(result.error)
    told = [record.getMessage() for record in caplog.records if record.name == "logstream.retries"]
    assert told and all("destination d is tried again" in line for line in told)


def test_nothing_is_told_of_a_destination_that_takes_all(
    engine: Make, tmp_path: Path, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    document: dict[str, Any] = override({"type": "file", "path": str(tmp_path / "out")})
    export(engine(document))
    assert [record for record in caplog.records if record.name == "logstream.retries"] == []
