"""What is a vendor's own, against its strict fake. What all destinations share is in `test_contract.py`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.destinations import check_options
from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.registry import make_destination
from logstream.export.exporter import Exporter
from logstream.export.send import RetryPolicy
from logstream.ledger.records import Delivery, State
from logstream.settings.resolution import Workspace
from logstream.store.load import load_file
from logstream.testing.echoes import packed
from logstream.testing.events import EventMaker, workspace_line
from logstream.testing.vendors import VENDORS, AzureMonitor, Elasticsearch, Vendor
from logstream.validation import validate_settings
from logstream.window import Window

START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=5))
WORKSPACES = [Workspace(100 + number, f"c{number}") for number in range(7)]
EVERYTHING = ["job_details", "user_activity", "api_platform", "log_service"]
QUICK = RetryPolicy(attempts=12, base=0.005, cap=0.02)
EVENTS = 1_200
OPTIONS: dict[str, dict[str, Any]] = {
    "splunk_hec": {"index": "audit", "source": "workato"},
    "datadog": {"service": "audit", "tags": ["env:test", "team:a"]},
    "sumo_logic": {"category": "prod/audit", "name": "workato"},
    "grafana_loki": {"workspace_label": "workspace", "tenant": "t1"},
    "new_relic": {"attributes": {"logtype": "audit"}},
    "elasticsearch": {"index": "workato-audit"},
    "azure_monitor": {},
}
BATCHED = sorted(VENDORS)


class Connections(AirflowConnections):
    """Airflow's, with tokens that need no Azure."""

    token = ""

    def azure_token(self, connection: str) -> Callable[[str], str]:
        return lambda scope: self.token if scope.startswith("https://monitor.azure.com/") else ""


@pytest.fixture(params=BATCHED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def vendor(name: str) -> Iterator[Vendor]:
    with VENDORS[name]() as server:
        yield server


@pytest.fixture
def filled(store: psycopg.Connection, tmp_path: Path) -> psycopg.Connection:
    file = tmp_path / "events.ndjson"
    lines = EventMaker(WORKSPACES).lines(EVENTS, START, timedelta(minutes=5))
    file.write_text("\n".join([*map(workspace_line, WORKSPACES), *lines]) + "\n")
    load_file(store, file)
    return store


Export = Callable[..., Delivery]


@pytest.fixture
def export(filled: psycopg.Connection, name: str, vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Export]:
    """Exports the window to the vendor."""
    monkeypatch.setenv("AIRFLOW_CONN_VENDOR", vendor.connection)
    made: list[Exporter] = []

    def run(message: str | None = None, **options: Any) -> Delivery:
        connections = Connections()
        connections.token = vendor.token
        exporter = Exporter(filled.info.dsn, filled.info.dsn, connections, policy=QUICK)
        made.append(exporter)
        document = settings_for(name, vendor, message, **options)
        exporter.settings.apply(validate_settings(document))
        planned = exporter.plan(WINDOW)
        exporter.deliver([key for share in planned.shares for key in share.lanes])
        (report,) = exporter.seal(planned.delivery_ids)
        return report

    yield run
    for exporter in made:
        exporter.close()


def settings_for(name: str, vendor: Vendor, message: str | None, **options: Any) -> dict[str, Any]:
    where = (
        {"endpoint": vendor.url, "rule_id": vendor.rule, "stream": vendor.stream}
        if isinstance(vendor, AzureMonitor)
        else {}
    )
    destination = {"type": name, "connection": "vendor", **OPTIONS[name], **where, **options}
    admin = {"enabled": True, "events": EVERYTHING, "destination": "d", **({"message": message} if message else {})}
    return {"admin": admin, "destinations": {"d": destination}}


def stored(connection: psycopg.Connection) -> Counter[str]:
    rows = connection.execute("select payload::text from events").fetchall()
    return canonical([json.loads(text) for (text,) in rows])


def canonical(documents: list[Any]) -> Counter[str]:
    return Counter(json.dumps(document, sort_keys=True) for document in documents)


def test_wrong_credentials_fail_at_once_and_stay_secret(
    export: Export, vendor: Vendor, filled: psycopg.Connection, name: str
) -> None:
    secret, vendor.token = vendor.token, "another"
    if name == "azure_monitor":
        vendor.token = secret  # its connection gives whatever the server wants
        vendor.authorized = lambda _: False  # type: ignore[method-assign]
    report = export(lanes=1, concurrency=1)
    assert (report.state, report.events) == (State.FAILED, 0)
    assert vendor.requests <= 2
    assert "connection `vendor`" in (report.error or "") or "credentials" in (report.error or "")
    dump = filled.execute("select string_agg(l::text, ' ') from logstream.lanes l").fetchone()
    assert secret not in str(dump) and secret not in str(report)


@pytest.mark.parametrize("name", ["elasticsearch"])
def test_only_documents_that_were_refused_for_load_are_sent_again(export: Export, vendor: Elasticsearch) -> None:
    seen: Counter[str] = Counter()

    def busy(identity: str) -> bool:
        seen[identity] += 1
        return seen[identity] == 1 and identity.endswith("7")

    vendor.busy = busy
    report = export(lanes=1, concurrency=1)
    assert (report.state, report.events) == (State.DELIVERED, EVENTS)
    assert len(vendor.documents) == len(vendor.taken) == EVENTS
    assert max(times for identity, times in seen.items() if not identity.endswith("7")) == 1
    vendor.fail = lambda number: None
    assert export(lanes=1, concurrency=2).events == EVENTS
    assert len(vendor.documents) == len(vendor.taken) == EVENTS, "a repetition makes no second document"


@pytest.mark.parametrize("name", ["elasticsearch"])
@pytest.mark.parametrize("filters", [True, False])
def test_bulk_answers_of_any_length_are_read_whole(
    export: Export, vendor: Elasticsearch, filled: psycopg.Connection, filters: bool
) -> None:
    """The longest name of an index, hundreds of items in full, one busy and one bad among them, packed by the server."""
    vendor.knows_filter_path, lengths = filters, []
    rows = filled.execute("select workspace_id, kind, id from events order by recorded_at, id").fetchall()
    bad, busy = (f"{workspace}-{kind}-{number}" for workspace, kind, number in (rows[40], rows[200]))
    seen: Counter[str] = Counter()
    vendor.bad = lambda document: False
    original = vendor._index

    def index(action: str, identity: str, document: Any) -> dict[str, Any]:
        seen[identity] += 1
        if identity == bad and seen[bad] > 1:
            return {"status": 400, "error": {"type": "document_parsing_exception", "reason": "failed to parse"}}
        if identity in (bad, busy) and seen[identity] == 1:
            return {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "the queue is full"}}
        return original(action, identity, document)

    vendor._index = index  # type: ignore[method-assign]
    receive = vendor.receive

    def packing(request: Any, body: bytes) -> tuple[int, bytes]:
        status, answer = receive(request, body)
        lengths.append(len(answer))
        return status, packed(answer)

    vendor.receive, vendor.answer_headers = packing, {"Content-Encoding": "gzip"}  # type: ignore[method-assign]
    report = export(lanes=1, concurrency=1, index="i" * 255)
    assert (report.state, report.events, report.rejected) == (State.DELIVERED, EVENTS - 1, 1), report.error
    assert filled.execute("select event_id from logstream.rejections").fetchall() == [(rows[40][2],)]
    assert len(vendor.documents) == EVENTS - 1
    assert (max(lengths) > 64 * 1024) is not filters
    assert seen[busy] == 2 and max(times for identity, times in seen.items() if identity not in (bad, busy)) == 1


@pytest.mark.parametrize("name", ["datadog"])
def test_a_datadog_template_is_taken_as_an_entry(export: Export, vendor: Vendor) -> None:
    export(message='{"ddsource": "mine", "service": "own", "message": {{{log_message_str}}}}')
    entries = [entry for body in vendor.bodies for entry in json.loads(body)]
    assert {(entry["ddsource"], entry["service"]) for entry in entries} == {("mine", "own")}
    assert len(vendor.taken) == EVENTS


@pytest.mark.parametrize("name", ["splunk_hec"])
def test_splunk_events_have_time_and_metadata(export: Export, vendor: Vendor, filled: psycopg.Connection) -> None:
    export(lanes=1, concurrency=1)
    first = json.loads(vendor.bodies[0].split(b"\n")[0])
    row = filled.execute(
        "select extract(epoch from occurred_at) from events order by recorded_at, id limit 1"
    ).fetchone()
    assert row is not None and first["time"] == pytest.approx(float(row[0]))
    assert (first["index"], first["source"], first["sourcetype"]) == ("audit", "workato", "_json")


@pytest.mark.parametrize("name", ["sumo_logic"])
def test_sumo_headers(export: Export, vendor: Vendor) -> None:
    export(fields={"env": "prod"})
    assert vendor.headers[0]["X-Sumo-Category"] == "prod/audit"
    assert vendor.headers[0]["X-Sumo-Fields"] == "env=prod"


def test_defaults_of_the_vendors_own_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KEYED", '{"conn_type": "http", "password": "k"}')
    for type_, options, url in (
        ("datadog", {"site": "datadoghq.eu"}, "https://http-intake.logs.datadoghq.eu/api/v2/logs"),
        ("new_relic", {"region": "eu"}, "https://log-api.eu.newrelic.com/log/v1"),
    ):
        document = {"destinations": {"d": {"type": type_, "connection": "keyed", **options}}}
        settings = validate_settings(document)
        destination: Any = make_destination("d", settings.destinations["d"], AirflowConnections())
        credentials: HttpCredentials = destination.credentials()
        assert destination.url(credentials) == url


@pytest.mark.parametrize("labels", [{"a-b": "x"}, {"1a": "x"}, {"__own": "x"}, {"a.b": "x"}, {"": "x"}, {"job": ""}])
def test_labels_that_loki_refuses_are_refused_when_saved(labels: dict[str, str]) -> None:
    assert check_options("grafana_loki", {"connection": "c", "labels": labels})
    assert not check_options("grafana_loki", {"connection": "c", "labels": {"job": "x", "_a1": "y", "Env": "z"}})
