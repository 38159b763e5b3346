"""What OpenLineage is told: by its provider's own extractor, of tasks that have run; names by its own rules, and no secrets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from airflow.providers.openlineage.extractors.manager import ExtractorManager
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException
from airflow.utils.state import TaskInstanceState
from openlineage.client.naming import dataset as naming
from openlineage.client.naming.dataset import DatasetNaming

from logstream.airflow.connections import AirflowConnections
from logstream.airflow.operators import Deliver, Redeliver, StreamAuditEvents
from logstream.airflow.operators import base as operators
from logstream.control.audit import Act, Actor, AuditEvent, AuditTrail
from logstream.datasets import DataSet, of_requests, of_table
from logstream.destinations.registry import built_in, destination_type, make_destination
from logstream.export.exporter import Exporter
from logstream.export.plan import Planned
from logstream.settings.models import DestinationSettings, LogStoreSettings
from logstream.store.postgres import PostgresStore
from logstream.testing.servers import LogSink
from tests.test_engine import EVERYTHING, WINDOW, Make, engine, filled
from tests.test_healing import two_destinations
from tests.test_operators import Pushed

__all__ = ["engine", "filled"]  # fixtures

Ask = Callable[[BaseOperator, TaskInstanceState], Any]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks the provider's extractor for a task's lineage, as its listener does when the task has ended."""

    def asked(task: BaseOperator, state: TaskInstanceState = TaskInstanceState.SUCCESS) -> Any:
        run = SimpleNamespace(run_id="scheduled__1", dag_id="logstream_export")
        return ExtractorManager().extract_metadata(run, task, state, SimpleNamespace(task=task))

    return asked


def with_engine(monkeypatch: pytest.MonkeyPatch, exporter: Exporter) -> None:
    @contextmanager
    def ours() -> Iterator[Exporter]:
        with operators.plain_errors():
            yield exporter

    for module in ("deliver", "redeliver", "lineage", "audit"):
        monkeypatch.setattr(f"logstream.airflow.operators.{module}.exporter", ours)


def planned_task(exporter: Exporter) -> tuple[Planned, Deliver]:
    """A plan of the window, and the task that delivers all of it."""
    planned = exporter.plan(WINDOW)
    lanes = [key for share in planned.shares for key in share.lanes]
    return planned, Deliver(task_id="deliver", share={"lanes": lanes, "label": "all"})


CONTEXT: Any = {"data_interval_start": WINDOW.start, "data_interval_end": WINDOW.end}


def tables(exporter: Exporter) -> list[tuple[str, str]]:
    """The log store's events table by OpenLineage's own rule."""
    with psycopg.connect(exporter.store_dsn) as connection:
        info = connection.info
        host = "localhost" if info.host.startswith("/") else info.host
        rule = naming.Postgres(host, str(info.port), info.dbname, "public", "events")
    return [(rule.get_namespace(), rule.get_name())]


def places(data_sets: list[Any]) -> list[tuple[str, str]]:
    return [(one.namespace, one.name) for one in data_sets]


def test_a_delivery_goes_from_the_log_stores_table_to_each_destinations_place(
    engine: Make, sink: LogSink, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    with_engine(monkeypatch, exporter)
    planned, task = planned_task(exporter)
    before = ask(task, TaskInstanceState.RUNNING)
    assert (before.inputs, before.outputs) == ([], [])
    task.execute(CONTEXT)

    told = ask(task)
    assert places(told.inputs) == tables(exporter)
    assert sorted(places(told.outputs)) == [("file", str(tmp_path / "out")), (sink.url, "hook")]
    reports = {report.destination: report for report in exporter.seal(planned.delivery_ids)}
    counted = {one.name: one.outputFacets["outputStatistics"] for one in told.outputs}
    assert counted["hook"].rowCount == reports["hook"].events == len(sink.events()) > 0
    assert counted["hook"].size == reports["hook"].bytes > 0
    assert counted[str(tmp_path / "out")].rowCount == reports["out"].events > 0
    # what Airflow would send holds nothing of the connection but its host
    assert sink.token not in repr(told)


def test_a_task_that_fails_tells_of_what_has_arrived(
    engine: Make, sink: LogSink, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy = type(exporter.policy)(attempts=1)
    with_engine(monkeypatch, exporter)
    sink.fail = lambda _: 503
    planned, task = planned_task(exporter)
    with pytest.raises(AirflowException):
        task.execute(CONTEXT)
    assert places(ask(task, TaskInstanceState.FAILED).outputs) == [("file", str(tmp_path / "out"))]

    # what is owed goes by another task, and is told there
    exporter.seal(planned.delivery_ids)
    sink.fail = lambda _: None
    again = Redeliver(task_id="redeliver")
    again.execute({"params": {}, "ti": Pushed()})  # type: ignore[typeddict-item]
    told = ask(again)
    assert (places(told.inputs), places(told.outputs)) == (tables(exporter), [(sink.url, "hook")])
    assert told.outputs[0].outputFacets["outputStatistics"].rowCount == len(sink.events())


def test_dead_letters_that_are_sent_again_are_told_of(
    engine: Make, sink: LogSink, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {
        "workspaces": [{"id": 100, "streaming": {"enabled": True, "events": EVERYTHING, "destination": "hook"}}],
        "destinations": {"hook": {"type": "http", "connection": "sink", "path": "/in/audit?key=1"}},
    }
    exporter = engine(document)
    with_engine(monkeypatch, exporter)
    refused = iter([True])
    sink.fail = lambda _: 400 if next(refused, False) else None
    planned = exporter.plan(WINDOW)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    exporter.seal(planned.delivery_ids)
    assert len(list(exporter.ledger.rejected())) == 1
    again = Redeliver(task_id="redeliver")
    again.execute({"params": {"rejected": True}, "ti": Pushed()})  # type: ignore[typeddict-item]
    (told,) = ask(again).outputs
    assert (told.namespace, told.name) == (sink.url, "in/audit")
    counted = told.outputFacets["outputStatistics"]
    assert (counted.rowCount, counted.size) == (1, None)


def test_a_destination_whose_place_cannot_be_told_hides_no_other(
    engine: Make, sink: LogSink, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    with_engine(monkeypatch, exporter)
    _, task = planned_task(exporter)
    task.execute(CONTEXT)
    exporter.connections._http.clear()  # type: ignore[attr-defined]
    assert places(ask(task).outputs) == [("file", str(tmp_path / "out"))]


def test_audit_events_go_from_the_control_database_into_the_log_stores_table(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine({**two_destinations(tmp_path / "out"), "audit": {"stream": True}})
    with_engine(monkeypatch, exporter)
    filled.execute("insert into workspaces (id, external_id, name, role) values (8, 'us', 'Platform', 'admin')")
    AuditTrail(exporter.engine).record(AuditEvent(Act.DESTINATION_HELD, Actor("ann"), "hook"), stream=True)
    task = StreamAuditEvents(task_id="stream_audit_events")
    task.execute(CONTEXT)
    told = ask(task)
    (where,) = tables(exporter)
    assert places(told.outputs) == [where]
    assert places(told.inputs) == [(where[0], where[1].replace("public.events", "logstream.audit_events"))]
    count = filled.execute("select count(*) from events where payload::text like '%logstream-audit-%'").fetchone()
    assert (told.outputs[0].outputFacets["outputStatistics"].rowCount,) == count and count[0] > 0

    idle = StreamAuditEvents(task_id="stream_audit_events")
    idle.execute(CONTEXT)
    assert (ask(idle).inputs, ask(idle).outputs) == ([], [])


def test_a_task_that_moved_nothing_tells_of_nothing(
    engine: Make, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    with_engine(monkeypatch, exporter)
    task = Deliver(task_id="deliver", share={"lanes": [], "label": "none"})
    task.execute(CONTEXT)
    told = ask(task)
    assert (told.inputs, told.outputs) == ([], [])
    broken = Deliver(task_id="deliver", share={"lanes": [], "label": "none"})
    assert ask(broken, TaskInstanceState.FAILED).outputs == []


CANARIES = ["canary-user", "canary-pass", "canary-sig", "canary-path", "canary-query", "canary-header"]
URL = "https://canary-user:canary-pass@Logs.Example.com:8443/canary-path/x?key=canary-query"
CONNECTIONS: dict[str, dict[str, Any]] = {
    "aws": {"conn_type": "aws", "login": "canary-user", "password": "canary-pass", "extra": {"region_name": "eu-west-1"}},
    "wasb": {"conn_type": "wasb", "host": "https://acct.blob.core.windows.net",
             "extra": {"sas_token": "https://acct.blob.core.windows.net/audit?sv=2022&sig=canary-sig"}},
    "google_cloud_platform": {"conn_type": "google_cloud_platform", "extra": {"project": "p"}},
    "azure": {"conn_type": "azure", "login": "canary-user", "password": "canary-pass", "extra": {"tenantId": "t"}},
    "http": {"conn_type": "http", "host": URL, "password": "canary-pass",
             "extra": {"headers": {"Authorization": "canary-header"}}},
}  # fmt: skip
HTTPS = "https://logs.example.com:8443"
PLACES: dict[str, tuple[dict[str, Any], DatasetNaming | DataSet]] = {
    "file": ({"path": "/srv/audit"}, naming.LocalFileSystem("/srv/audit")),
    "s3": ({"bucket": "audit", "prefix": "logs/acme/"}, naming.S3("audit", "logs/acme")),
    "gcs": ({"bucket": "audit"}, naming.GCS("audit", "/")),
    "azure_blob": ({"container": "audit", "prefix": "logs"}, naming.WASBS("audit", "acct", "logs")),
    "azure_monitor": (
        {"endpoint": "https://e.westeurope-1.ingest.monitor.azure.com", "rule_id": "dcr-00000000000000000000000000000000",
         "stream": "Custom-Audit_CL"},
        DataSet("https://e.westeurope-1.ingest.monitor.azure.com", "dcr-00000000000000000000000000000000/Custom-Audit_CL"),
    ),
    "http": ({"path": "/ingest/audit?v=1"}, DataSet(HTTPS, "ingest/audit")),
    "splunk_hec": ({"index": "audit"}, DataSet(HTTPS, "audit")),
    "datadog": ({}, DataSet(HTTPS, "d")),
    "sumo_logic": ({"category": "prod/audit"}, DataSet(HTTPS, "d")),
    "grafana_loki": ({"tenant": "acme"}, DataSet(HTTPS, "acme")),
    "new_relic": ({}, DataSet(HTTPS, "d")),
    "elasticsearch": ({"index": "workato-audit"}, DataSet(HTTPS, "workato-audit")),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(built_in()))
def test_the_place_of_every_destination_is_named_by_the_rules_and_holds_no_secret(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, fields in CONNECTIONS.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))
    options, wanted = PLACES[kind]
    connection = destination_type(kind).connection_type
    settings = DestinationSettings(type=kind, **options, **({"connection": connection} if connection else {}))
    place = make_destination("d", settings, AirflowConnections()).data_set()
    if isinstance(wanted, DataSet):
        assert place == wanted
    else:
        assert (place.namespace, place.name) == (wanted.get_namespace(), wanted.get_name())
    assert not [canary for canary in CANARIES if canary in repr(place)]


@pytest.mark.parametrize(
    ("host", "namespace"),
    [("db.example", "postgres://db.example:5432"), ("/run/postgresql", "postgres://localhost:5432"),
     ("", "postgres://localhost:5432"), ("::1", "postgres://[::1]:5432")],
)  # fmt: skip
def test_the_server_of_a_table(host: str, namespace: str) -> None:
    assert of_table(host, 5432, "app", "public", "events") == DataSet(namespace, "app.public.events")


def test_a_receiver_at_an_address_of_ipv6() -> None:
    assert of_requests("http://u:p@[::1]:8088/x", "main") == DataSet("http://[::1]:8088", "main")
    assert of_requests("https://h/x", "main") == DataSet("https://h", "main")


def test_the_tables_behind_a_view_are_the_inputs(store: psycopg.Connection) -> None:
    store.execute('create schema "App"; create table "App"."Audit.Old" (like public.events)')
    store.execute('create view public.seen as select * from public.events union all select * from "App"."Audit.Old"')
    reader = PostgresStore(store.info.dsn, LogStoreSettings(events="public.seen"))
    names = [place.name for place in reader.data_sets()]
    assert names == [f"{store.info.dbname}.App.Audit.Old", f"{store.info.dbname}.public.events"]
    named = LogStoreSettings(events="public.seen", written_tables=["public.events"])
    assert [place.name for place in PostgresStore(store.info.dsn, named).data_sets()] == names, "read, not watched"
    reader.close()


WITHOUT = """
import sys
sys.modules["openlineage"] = sys.modules["airflow.providers.openlineage.extractors"] = None
from logstream.airflow import operators
task = operators.Deliver(task_id="deliver", share={"lanes": []})
assert callable(task.get_openlineage_facets_on_complete)
print("fine")
"""


def test_the_operators_need_no_openlineage() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["fine"]
