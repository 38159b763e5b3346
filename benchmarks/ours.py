"""Our side of the benchmark: one measured export in a fresh process, as `logstream export` does it, imports excluded."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Any

from benchmarks.store import WORKSPACES, window_of
from logstream.airflow.connections import AirflowConnections
from logstream.airflow.connections.lookup import find
from logstream.export.exporter import Exporter
from logstream.export.processes import processors
from logstream.settings.models import Settings
from logstream.validation import validate_settings

EVENTS = ["job_status", "job_details", "user_activity", "api_platform", "log_service"]
MESSAGE = '{"source": "workato", "event": {{{log_message}}}}'


def destination(kind: str, number: int | None = None) -> dict[str, object]:
    """The destination of a case, or one of a thousand with prefixes of their own."""
    # the receiver keeps nothing, so there is no manifest before the next one; the ledger has them all the same
    if kind.startswith("s3"):
        prefix = "logs/" if number is None else f"customers/{number}/"
        packaging = "file" if kind == "s3-file" else "batch"
        compression = "none" if packaging == "file" else "gzip"
        return {"type": "s3", "connection": "bench_s3", "bucket": "audit", "prefix": prefix, "packaging": packaging,
                "compression": compression, "manifests": False}  # fmt: skip
    if kind == "azure-file":
        return {"type": "azure_blob", "connection": "bench_azure", "container": "audit", "manifests": False}
    return {"type": "http", "connection": "bench_http", "path": "/in", "format": kind.removeprefix("http-")}


def settings(kind: str, routes: int) -> Settings:
    """The admin override, or `routes` workspaces with a destination each."""
    streaming = {"enabled": True, "events": EVENTS, "message": MESSAGE}
    if routes == 1:
        document: dict[str, Any] = {
            "admin": {**streaming, "destination": "lake"},
            "destinations": {"lake": destination(kind)},
        }
    else:
        some = WORKSPACES[:routes]
        document = {
            "workspaces": [{"id": w.id, "streaming": {**streaming, "destination": f"d{w.id}"}} for w in some],
            "destinations": {f"d{w.id}": {**destination(kind, w.id), "lanes": 1} for w in some},
        }
    return validate_settings(document)


def _processor_seconds(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """`python -m benchmarks.ours STORE CONTROL RECEIVER KIND EVENTS ROUTES [TASKS]`: prints one JSON line."""
    store, control, receiver, kind, events, routes, *tasks = sys.argv[1:]
    os.environ["LOGSTREAM_ALLOW_PRIVATE_ADDRESSES"] = "1"
    os.environ["AIRFLOW_CONN_BENCH_S3"] = json.dumps(
        {"conn_type": "aws", "login": "key", "password": "secret",
         "extra": {"endpoint_url": receiver, "region_name": "us-east-1"}}
    )  # fmt: skip
    azure = f"AccountName=bench;AccountKey=a2V5;BlobEndpoint={receiver}/azure;DefaultEndpointsProtocol=http"
    os.environ["AIRFLOW_CONN_BENCH_AZURE"] = json.dumps({"conn_type": "wasb", "extra": {"connection_string": azure}})
    os.environ["AIRFLOW_CONN_BENCH_HTTP"] = json.dumps({"conn_type": "http", "host": receiver})
    if kind.startswith("s3"):
        # the peers' imports are not measured either
        import airflow.providers.amazon.aws.hooks.base_aws
    elif kind.startswith("azure"):
        import airflow.providers.microsoft.azure.hooks.wasb  # noqa: F401
    else:
        find("bench_http")
    with Exporter(store, control, AirflowConnections()) as exporter:
        exporter.settings.apply(settings(kind, int(routes)), author="bench")
        window = window_of(int(events))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        spent = sum(map(_processor_seconds, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
        exporter.wait_until_closed(window, timeout=60)
        planned = exporter.plan(window, max_tasks=int(tasks[0]) if tasks else processors())
        planning = time.perf_counter() - began
        results = exporter.deliver_shares(planned.shares)(None)
        reports = exporter.seal(planned.delivery_ids)
        took = time.perf_counter() - began
        spent = sum(map(_processor_seconds, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))) - spent
    broken = [result.error for result in results if result.error] + [report.error for report in reports if report.error]
    if broken:
        raise SystemExit(broken[0])
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(
        json.dumps(
            {"events": sum(report.events for report in reports), "seconds": took, "planning": planning, "cpu": spent,
             "before_mb": before / 1024, "peak_mb": peak / 1024, "processes": max(1, len(planned.shares))}
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
