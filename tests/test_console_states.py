"""One vocabulary: whatever is said of a destination, each page, the API, the command line and the metrics say it in the same word."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from logstream.airflow.operators import metrics
from logstream.cli import main
from logstream.console.deps import the_console
from logstream.ledger.condition import Backlog, Condition, DestinationStatus
from logstream.ledger.health import HealingPolicy, Health
from logstream.ledger.overview import Overview
from logstream.ledger.status import look

from .asked import Asked, ask

__all__ = ["ask"]  # a fixture

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEP = timedelta(minutes=5)
OWED = {"owed": 25, "owed_since": NOW - timedelta(hours=3)}
THERE = {"delivered_until": NOW - STEP}

FACTS: dict[Condition, dict[str, Any]] = {
    Condition.WAITING: {},
    Condition.UP_TO_DATE: THERE,
    Condition.CATCHING_UP: {**OWED, "last_sealed": NOW - STEP},
    Condition.OWED: OWED,
    Condition.GAPS: {"gaps": Backlog(12, NOW - timedelta(hours=1))},
    Condition.REJECTING: {**THERE, "rejected_share": 0.25},
    Condition.BLOCKED: {**OWED, "blocked": "reading the window's events: the server has closed the connection"},
    Condition.FAILING: {**OWED, "health": Health(1, NOW, None, "it is down")},
    Condition.SUSPENDED: {**OWED, "health": Health(3, NOW, NOW, "it is down")},
    Condition.HELD: {**OWED, "health": Health(suspended_at=NOW, held=True)},
}
"""What the ledger may know of a destination, for each condition."""

NUMBERS = {
    Condition.UP_TO_DATE: "the last window ended 2026-03-01 11:55 UTC, 5 min ago",
    Condition.CATCHING_UP: "25 windows owed since 2026-03-01 09:00 UTC, all of it here in about 15 min",
    Condition.OWED: "25 windows owed since 2026-03-01 09:00 UTC",
    Condition.GAPS: "12 windows of gaps since 2026-03-01 11:00 UTC",
    Condition.REJECTING: "25% of its newest events",
    Condition.BLOCKED: "25 windows owed since 2026-03-01 09:00 UTC",
    Condition.FAILING: "25 windows owed since 2026-03-01 09:00 UTC",
    Condition.SUSPENDED: "25 windows owed since 2026-03-01 09:00 UTC",
    Condition.HELD: "25 windows owed since 2026-03-01 09:00 UTC",
    Condition.WAITING: "",
}
"""How that is told."""

STATUSES = {
    condition.slug: DestinationStatus(condition.slug, **{"now": NOW, "step": STEP, **facts})
    for condition, facts in FACTS.items()
}


@pytest.fixture
def all_there(ask: Asked, store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """A destination in each condition, and a customer of each."""
    monkeypatch.setattr(Overview, "statuses", lambda _, names: {name: STATUSES[name] for name in names})
    monkeypatch.setenv("LOGSTREAM_OWED_PER_RUN", "12")
    workspaces = []
    for number, condition in enumerate(Condition, start=1):
        store.execute("insert into workspaces (id, name, role) values (%s, %s, 'customer')", (number, f"C{number}"))
        setting = {"enabled": True, "events": ["job_status"], "destination": condition.slug}
        workspaces.append({"id": number, "streaming": setting})
    lake = {"type": "file", "path": "/tmp/x"}
    document = {
        "workspaces": workspaces,
        "destinations": {one.slug: {**lake, "path": f"/tmp/{one.slug}"} for one in Condition},
    }
    assert ask("PUT", "api/v1/settings", json=document).status_code == 200
    return ask


def badges(text: str) -> set[str]:
    return set(re.findall(r'<span class="badge [\w ]+" title="[^"]*">([^<]+)</span>', text))


def test_all_conditions_are_told_alike_everywhere(
    all_there: Asked, store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = all_there
    assert {status.condition for status in STATUSES.values()} == set(Condition) == set(FACTS)
    # the pages
    rows = {
        name: row
        for row in re.findall(r"<tr>.*?</tr>", ask("GET", "destinations").text, re.DOTALL)
        for name in re.findall(r'destinations/(\w+)">', row)[:1]
    }
    for condition in Condition:
        numbers = NUMBERS[condition]
        page = ask("GET", f"destinations/{condition.slug}").text
        for text in (rows[condition.slug], page):
            assert badges(text) == {condition.value} and numbers.lower() in text.lower(), (condition, text)
        for path in (f"destinations?condition={condition}", f"customers?condition={condition}"):
            assert badges(ask("GET", path).text) == {condition.value}, path
        assert STATUSES[condition.slug].is_well or condition.meaning.lower() in page.lower(), "what it means"
    customer = ask("GET", "customers/1").text
    assert badges(customer) == {next(iter(Condition)).value}
    overview = ask("GET", "").text
    assert all(f"1 {condition}" in overview for condition in Condition)
    # a gap is one of the whole deployment, which has none here
    urgent = {condition for condition in Condition if not condition.is_well} - {Condition.GAPS}
    assert all(f">{condition}</span>" in overview for condition in urgent)
    # the API
    told = {one["name"]: one for one in ask("GET", "api/v1/destinations").json()}
    assert {name: one["condition"] for name, one in told.items()} == {one.slug: one.value for one in Condition}
    assert told["catching_up"]["ready_in_seconds"] == 900 and told["owed"]["ready_in_seconds"] is None
    found = ask("GET", "api/v1/workspaces").json()["workspaces"]
    assert {one["destination"]: one["condition"] for one in found} == {one.slug: one.value for one in Condition}
    assert ask("GET", "api/v1/workspaces?condition=healthy").status_code == 422
    # the command line
    dsn = store.info.dsn
    assert main(["status", "--dsn", dsn, "--json"]) == 1
    said = {one["name"]: one for one in json.loads(capsys.readouterr().out)["destinations"]}
    assert {name: one["condition"] for name, one in said.items()} == {one.slug: one.value for one in Condition}
    assert said["catching_up"]["ready_in_seconds"] == 900
    assert main(["status", "--dsn", dsn]) == 1
    listed = capsys.readouterr().out
    for condition in Condition:
        assert re.search(rf"^{condition.slug} +{condition} +", listed, re.MULTILINE), condition
    # the metrics
    sent: dict[str, float] = {}
    monkeypatch.setattr(metrics.stats, "gauge", lambda name, value, **_: sent.update({name: value}))
    metrics.send(look(the_console().exporter.engine, list(STATUSES)))
    assert {name: value for name, value in sent.items() if name.startswith("logstream.destinations.")} == {
        f"logstream.destinations.{condition.slug}": 1 for condition in Condition
    }


@pytest.mark.parametrize("condition", list(Condition))
def test_each_is_told_with_its_numbers(condition: Condition) -> None:
    status = STATUSES[condition.slug]
    assert status.condition is condition
    assert status.numbers(HealingPolicy(owed_per_run=12)) == NUMBERS[condition]
    assert status.sentence.startswith(condition)
    if condition in (Condition.FAILING, Condition.SUSPENDED):
        assert "since 2026-03-01 09:00" in status.sentence and "it is down" in status.sentence and condition.remedy


def test_events_are_called_alike_on_a_customers_page(ask: Asked, store: psycopg.Connection) -> None:
    store.execute("insert into workspaces (id, name, role) values (1, 'Acme', 'customer')")
    setting = {"enabled": True, "events": ["api_platform", "log_service"], "destination": "lake"}
    document = {
        "workspaces": [{"id": 1, "streaming": setting}],
        "destinations": {"lake": {"type": "file", "path": "/tmp/x"}},
    }
    assert ask("PUT", "api/v1/settings", json=document).status_code == 200
    page = ask("GET", "customers/1").text
    assert "<dt>Events</dt><dd>API platform logs, Log events</dd>" in page, "in the words of the form below"
    assert ">API platform</button>" in page and "Api platform" not in page
