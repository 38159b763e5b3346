"""The page *Deliveries*: what a filter shows, and what is a lag."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from logstream.console.deps import the_console
from logstream.control.audit import Actor
from logstream.ledger.coverage import AskedBy
from logstream.window import Window

from .asked import Asked, ask

__all__ = ["ask"]  # a fixture

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
STEP = timedelta(minutes=5)


def export(number: int, by: AskedBy) -> None:
    """Export the window of five minutes with this number."""
    exporter = the_console().exporter
    planned = exporter.plan(Window(START + number * STEP, START + (number + 1) * STEP), asked_by=by)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    exporter.seal(planned.delivery_ids)


@pytest.fixture
def exported(ask: Asked, store: psycopg.Connection, tmp_path: Path) -> Asked:
    """Four windows: by the schedule, on request, by the schedule and then again, and, some time later, on request."""
    store.execute("insert into workspaces (id, external_id, role) values (1, 'acme', 'customer')")
    for number in range(10):
        store.execute(
            "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
            " values (1, 'user_activity', %s, %s, '{}')",
            (START + number * STEP, START + number * STEP),
        )
    setting = {"enabled": True, "events": ["user_activity"], "destination": "lake"}
    lake = {"type": "file", "path": str(tmp_path)}
    the_console().settings.save({"admin": setting, "destinations": {"lake": lake}}, Actor("ann", ""), None)
    for number, by in ((0, "schedule"), (1, "request"), (2, "schedule"), (2, "request"), (6, "request")):
        export(number, AskedBy(by))
    return ask


def lags(text: str) -> dict[str, str]:
    """What stands under *Lag*, by the start of the window."""
    rows = re.findall(r"<tr>\s*<td>(.*?)</tr>", text, re.DOTALL)
    return {row[11:16]: re.sub(r"<[^>]+>", "", row.split("<td")[8].partition(">")[2]).strip() for row in rows}


def test_a_window_that_was_exported_on_request_or_again_has_no_lag(exported: Asked) -> None:
    found = lags(exported("GET", "deliveries").text)
    assert re.fullmatch(r"\d+ d", found.pop("09:00")), "by the schedule, months late"
    assert found == {"09:05": "-", "09:10": "-", "09:30": "-"}
    listed = {
        item["window"]["start"][11:16]: item["lag_seconds"] for item in exported("GET", "api/v1/deliveries").json()
    }
    assert listed.pop("09:00") > 0 and set(listed.values()) == {None}


@pytest.mark.parametrize("query", ["customer=nobody", "start=yesterday", "customer=nobody&state=delivered"])
def test_a_filter_that_cannot_be_used_shows_nothing(exported: Asked, query: str) -> None:
    answer = exported("GET", f"deliveries?{query}")
    assert answer.status_code == 422 and 'role="alert"' in answer.text
    assert "Nothing is shown: the filter cannot be used." in answer.text and lags(answer.text) == {}
    assert "Nothing is shown: the filter cannot be used." in exported("GET", f"parts/deliveries?{query}").text
    assert len(lags(exported("GET", "deliveries?customer=acme").text)) == 4
