"""What Airflow expects of those who extend it: provider metadata, task docs, links, deadlines, DAGs that are read at once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import timedelta
from importlib import import_module
from inspect import isclass
from pathlib import Path
from typing import Any

import airflow
import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.providers_manager import ProvidersManager
from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger
from jsonschema import validate

from logstream.airflow.operators import AFTER_A_LOST_WORKER, GrowingDelay
from logstream.airflow.operators.base import LogstreamOperator
from logstream.airflow.operators.deadline import tell_late
from logstream.airflow.operators.news import tell_news
from logstream.airflow.provider import get_provider_info
from logstream.ledger import leases
from logstream.testing.servers import LogSink

from .compose import AIRFLOWS
from .stage import PROJECT
from .test_engine import Make, engine, filled
from .test_healing import two_destinations
from .test_notices import WEBHOOK, pager, texts

__all__ = ["engine", "filled", "pager"]  # fixtures

LEASE_SECONDS_AS_DEPLOYED = leases.LEASE_SECONDS  # tests have shorter ones: read before they begin
INFO = get_provider_info()


def classes_of(module: str, base: type) -> set[str]:
    """The classes that a module defines and that are of a kind."""
    found = vars(import_module(module)).items()
    return {name for name, one in found if isclass(one) and issubclass(one, base) and one.__module__ == module}


def listed(key: str) -> list[str]:
    return [module for item in INFO[key] for module in item["python-modules"]]


def test_the_provider_metadata_is_what_airflow_reads() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    validate(INFO, schema)
    known = ProvidersManager().providers["logstream"]
    assert {key: known.data[key] for key in INFO} == INFO


def test_the_provider_metadata_names_every_operator_and_trigger() -> None:
    modules = [
        f"logstream.airflow.operators.{path.stem}"
        for path in (PROJECT / "plugins/logstream/airflow/operators").glob("[a-z]*.py")
    ]
    having = {module for module in modules if classes_of(module, BaseOperator) - {"LogstreamOperator"}}
    assert {*listed("operators")} == having
    assert {*listed("triggers")} == {module for module in modules if classes_of(module, BaseTrigger)}
    for path in INFO["extra-links"]:
        module, _, name = path.rpartition(".")
        assert isclass(getattr(import_module(module), name))


def dags(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, Any]:
    for name, value in {"AIRFLOW__CORE__LOAD_EXAMPLES": "False", **environment}.items():
        monkeypatch.setenv(name, value)
    bag = DagBag(PROJECT / "dags")
    assert bag.import_errors == {}
    return dict(bag.dags)


def test_every_task_says_what_it_does_and_every_owner_leads_to_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dags(monkeypatch, AIRFLOW__API__BASE_URL="https://airflow.example/")
    assert sorted(found) == ["logstream_check", "logstream_export", "logstream_redeliver", "logstream_watch"]
    for dag in found.values():
        assert dag.doc_md and dag.owner_links == {
            "logstream": "https://airflow.example/plugin/audit-log-streaming/logstream/"
        }
        for task in dag.tasks:
            assert task.owner == "logstream" and len(task.doc_md) > 50, task.task_id
    assert all(dag.owner_links == {} for dag in dags(monkeypatch, AIRFLOW__API__BASE_URL="").values())


def test_the_pool_of_the_tasks_that_deliver(monkeypatch: pytest.MonkeyPatch) -> None:
    export = dags(monkeypatch)["logstream_export"]
    assert {task.pool for task in export.tasks} == {"default_pool"}
    export = dags(monkeypatch, LOGSTREAM_DELIVER_POOL="receivers")["logstream_export"]
    assert [task.task_id for task in export.tasks if task.pool == "receivers"] == ["deliver"]


def test_groups_of_destinations_have_pools_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = "archive=lake,cold_* not-readable splunk=*_splunk archive=again"
    export = dags(monkeypatch, LOGSTREAM_DELIVER_POOLS=groups)["logstream_export"]
    pools = {task.task_id: task.pool for task in export.tasks if task.task_id.startswith("deliver")}
    assert pools == {"deliver": "default_pool", "deliver_archive": "archive", "deliver_splunk": "splunk"}
    seal = export.get_task("seal_window")
    assert {*pools} == seal.upstream_task_ids
    assert "shares_splunk" in export.get_task("deliver_splunk").upstream_task_ids
    assert export.get_task("shares_splunk").upstream_task_ids == {"plan_deliveries"}


def test_a_lost_worker_is_not_a_failing_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's own delay is that of tasks that could not say how they ended: the policy, which is asked otherwise, waits longer."""
    found = dags(monkeypatch)
    for name in ("logstream_export", "logstream_redeliver"):
        for task in found[name].tasks:
            assert isinstance(task.retry_policy, GrowingDelay) and task.retry_delay == AFTER_A_LOST_WORKER, task.task_id
            assert task.retries > 0


def waits_after_a_lost_worker(environment: dict[str, Any]) -> float:
    """The most seconds that a lane waits: Airflow notices, tries the task again, and the lease has run out meanwhile."""
    timeout = float(environment["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"])
    looks = float(environment["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL"])
    # a healthy worker says that it lives every five seconds (`min_heartbeat_interval`): two may be late
    assert timeout >= 15 > LEASE_SECONDS_AS_DEPLOYED
    return timeout + looks + AFTER_A_LOST_WORKER.total_seconds()


def test_no_lane_of_a_lost_worker_waits_for_long_as_deployed() -> None:
    for name, service in AIRFLOWS.items():
        assert waits_after_a_lost_worker(service["environment"]) <= 22, name
    values = yaml.safe_load((PROJECT / "deploy/kubernetes/values.yaml").read_text())
    assert waits_after_a_lost_worker({one["name"]: one["value"] for one in values["env"]}) <= 22


@pytest.mark.parametrize(("text", "minutes"), [("", 60), ("15", 15), ("0", None), ("soon", 60), ("-1", 60)])
def test_the_deadline_of_the_export(monkeypatch: pytest.MonkeyPatch, text: str, minutes: int | None) -> None:
    found = dags(monkeypatch, LOGSTREAM_DEADLINE_MINUTES=text)["logstream_export"].deadline
    if minutes is None:
        assert not found
        return
    (alert,) = found
    assert alert.interval == timedelta(minutes=minutes)
    assert alert.callback.path == "logstream.airflow.operators.deadline.tell_late"


def test_a_run_that_is_late_is_told_of_once_and_one_that_was_asked_for_is_not(
    engine: Make, pager: LogSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine({**two_destinations(tmp_path / "out"), "notices": {"to": [WEBHOOK]}})
    monkeypatch.setattr("logstream.airflow.operators.base.exporter", lambda: exporter)
    # as the scheduler hands it to the triggerer (airflow.models.deadline)
    run = {
        "dag_run_id": "scheduled__2026-03-01T00:05:00+00:00", "run_type": "scheduled", "state": "running",
        "data_interval_start": "2026-03-01T00:00:00Z", "data_interval_end": "2026-03-01T00:05:00Z",
    }  # fmt: skip
    asyncio.run(tell_late(context={"dag_run": run, "deadline": {}}))
    asyncio.run(tell_late(context={"dag_run": {**run, "run_type": "backfill"}, "deadline": {}}))
    assert tell_news(exporter, {}) == []
    assert tell_news(exporter, {}) == []
    assert texts(pager) == [
        "the window 2026-03-01T00:00:00Z to 2026-03-01T00:05:00Z is not sealed in time: "
        "run scheduled__2026-03-01T00:05:00+00:00 is still running"
    ]


PARSE = """
import pathlib, runpy, sys
import airflow.sdk, airflow.dag_processing.dagbag
before = {*sys.modules}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.py")):
    runpy.run_path(str(path))
print(*sorted({*sys.modules} - before))
"""


def test_reading_the_dags_loads_no_engine() -> None:
    """Airflow reads each file every few seconds, in a new process: what takes time there is what is imported."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARSE, str(PROJECT / "dags")],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    loaded = done.stdout.split()
    others = {name.partition(".")[0] for name in loaded} - {"airflow", "logstream"}
    assert not others & {"psycopg", "aiohttp", "requests", "pyarrow", "boto3", "obstore", "jsonpath_ng", "botocore"}
    assert len(loaded) < 80, loaded


def test_every_operator_is_one_of_ours() -> None:
    for module in listed("operators"):
        for name in classes_of(module, BaseOperator):
            assert issubclass(getattr(import_module(module), name), LogstreamOperator)
