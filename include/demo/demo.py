"""`make demo` and `make up`: Logstream at work, for real, on this machine alone.

PostgreSQL, Airflow, an S3 server, an Azure Blob server and an HTTP log service are started on free ports of the loopback
interface, and stopped at the end. Everything is kept below `.logstream/demo`.
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import json
import os
import shlex
import shutil
import signal
import socket
import sys
import threading
import time
import webbrowser
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import yaml
import zstandard
from psycopg.conninfo import conninfo_to_dict

PROJECT = Path(__file__).resolve().parents[2]
HOME = PROJECT / ".logstream" / "demo"
os.environ["LOGSTREAM_HOME"] = str(HOME)
os.environ.setdefault("AIRFLOW_HOME", str(HOME / "airflow"))
os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "ERROR")
os.environ["LOGSTREAM_ALLOW_PRIVATE_ADDRESSES"] = "1"  # the demo's destinations are on loopback

from logstream.airflow.connections import AirflowConnections  # noqa: E402
from logstream.database import connect  # noqa: E402
from logstream.embedded import embedded_dsn  # noqa: E402
from logstream.errors import LogstreamError  # noqa: E402
from logstream.export.exporter import Exporter  # noqa: E402
from logstream.export.report import WorkspaceReport, report_workspaces  # noqa: E402
from logstream.settings.document import read_document  # noqa: E402
from logstream.settings.models import Settings  # noqa: E402
from logstream.settings.resolution import Workspace  # noqa: E402
from logstream.store.load import load_file  # noqa: E402
from logstream.store.schema import create_tables  # noqa: E402
from logstream.testing.airflow import USERS, LocalAirflow  # noqa: E402
from logstream.testing.events import EventMaker  # noqa: E402
from logstream.testing.servers import AzuriteServer, LogSink, S3Server  # noqa: E402
from logstream.units import counted  # noqa: E402
from logstream.validation import validate_settings  # noqa: E402
from logstream.window import Window  # noqa: E402

ENVIRONMENT = HOME / "environment"
"""What a shell needs for commands that look at the demo: to be read by `.`."""

EVENTS = 20_000
START = datetime(2025, 1, 6, 9, 0, tzinfo=UTC)
MINUTES = timedelta(minutes=5)
WINDOWS = (Window(START, START + MINUTES), Window(START + MINUTES, START + 2 * MINUTES))
BUCKETS = ("audit", "acme-audit")
CONTAINER = "audit"
SHOWN_LINES = 40
BEGAN = time.monotonic()


def say(text: str) -> None:
    """Print one step with the seconds since the start."""
    print(f"[{time.monotonic() - BEGAN:5.1f} s] {text}", flush=True)


@dataclass
class Demo:
    """What runs."""

    store: str
    s3: S3Server
    azure: AzuriteServer | None
    sink: LogSink
    airflow: LocalAirflow


def main() -> int:
    """Run the demo, or stay up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "up"])
    parser.add_argument("--port", type=int, default=8080, help="of Airflow's UI, for `up` (default 8080)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    HOME.parent.mkdir(exist_ok=True)
    with (HOME.parent / "demo.lock").open("w") as lock, ExitStack() as stack:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("error: a demo is running in this folder already; end it first", file=sys.stderr)
            return 2
        try:
            demo = start(stack, port=options.port if options.what == "up" else None)
            complete = run(demo)
            if options.what == "up":
                stay(demo)
            say("stopping everything that was started")
            return 0 if complete else 1
        except LogstreamError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            say("stopping everything that was started")
            return 0 if options.what == "up" else 130


def start(stack: ExitStack, port: int | None) -> Demo:
    """Start all servers, load the log store, start Airflow."""
    if port:
        refuse_taken(port)
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    say("starting PostgreSQL (embedded) for the log store, the settings and Airflow's metadata")
    store, metadata = embedded_dsn("logstream"), embedded_dsn("airflow")
    say("starting an S3 server (moto) and an HTTP log service")
    s3 = stack.enter_context(S3Server(HOME / "s3.log"))
    for bucket in BUCKETS:
        s3.make_bucket(bucket)
    sink = stack.enter_context(LogSink())
    azure = None
    if AzuriteServer.program():
        say("starting an Azure Blob server (Azurite)")
        azure = stack.enter_context(AzuriteServer(HOME / "azurite", HOME / "azurite.log"))
        azure.make_container(CONTAINER)
    else:
        say("Node.js or Azurite is not here: what would go to Azure Blob goes to S3 instead")
    load(store)
    connections = {
        "AIRFLOW_CONN_DEMO_S3": s3.connection,
        "AIRFLOW_CONN_DEMO_SIEM": sink.connection,
        "AIRFLOW_CONN_LOGSTREAM_STORE": postgres_connection(store),
        "LOGSTREAM_ALLOW_PRIVATE_ADDRESSES": "1",
        "LOGSTREAM_HOME": str(HOME),
        # the windows of `make demo` are triggered; `make up` exports every minute
        "LOGSTREAM_SCHEDULE": "* * * * *" if port else "none",
    }
    if azure:
        connections["AIRFLOW_CONN_DEMO_AZURE"] = azure.connection
    os.environ.update(connections)
    airflow = LocalAirflow(HOME / "airflow", PROJECT, metadata, connections, port)
    exports = {**airflow.environment, "LOGSTREAM_DSN": store}
    ENVIRONMENT.touch(mode=0o600)
    ENVIRONMENT.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in exports.items()))
    say("starting Airflow: api-server, scheduler, dag-processor, triggerer (some 20 s on two cores)")
    stack.enter_context(airflow)
    return Demo(store, s3, azure, sink, airflow)


def refuse_taken(port: int) -> None:
    """Raise `LogstreamError` if another program listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise LogstreamError(f"port {port}: {error.strerror}; end what uses it, or `make up PORT=8081`") from None


def postgres_connection(dsn: str) -> str:
    """An Airflow connection to a PostgreSQL database."""
    given = conninfo_to_dict(dsn)
    fields = {"conn_type": "postgres", "login": given["user"], "host": given["host"], "schema": given["dbname"]}
    return json.dumps(fields)


def workspaces() -> list[Workspace]:
    """The demo's workspaces."""
    lines = (PROJECT / "include/demo/workspaces.ndjson").read_text().splitlines()
    return [Workspace(**json.loads(line)["workspace"]) for line in lines]


def load(store: str) -> None:
    """Fill the log store with two windows of events."""
    span = WINDOWS[1].end - WINDOWS[0].start
    file = HOME / "events.ndjson"
    with file.open("w") as out:
        out.write((PROJECT / "include/demo/workspaces.ndjson").read_text())
        for line in EventMaker(workspaces()).lines(EVENTS, WINDOWS[0].start, span):
            out.write(line + "\n")
    with connect(store) as connection:
        create_tables(connection)
        began = time.monotonic()
        loaded = load_file(connection, file)
    took = time.monotonic() - began
    say(
        f"loaded {counted(loaded.workspaces, 'workspace')} and {counted(loaded.events, 'event')} "
        f"into the log store in {took:.1f} s"
    )


def apply(demo: Demo, name: str) -> Settings:
    """Put a settings file in force, as `logstream settings apply` does."""
    path = PROJECT / "include/demo" / name
    document: Any = read_document(path)
    if demo.azure is None:
        for destination in document["destinations"].values():
            if destination["type"] == "azure_blob":
                destination.update(type="s3", connection="demo_s3", bucket=destination.pop("container"))
    settings = validate_settings(document, str(path))
    # the copy is for looking at
    (HOME / name).write_text(yaml.safe_dump(settings.as_document(), sort_keys=False))
    with Exporter(demo.store, demo.store, AirflowConnections()) as engine:
        engine.settings.apply(settings, author="demo")
    return settings


def run(demo: Demo) -> bool:
    """Export the two windows; return whether all of it arrived."""
    demo.airflow.unpause()
    fine = True
    for window, name, what in (
        (WINDOWS[0], "settings-unique.yaml", "every customer its own destination"),
        (WINDOWS[1], "settings-override.yaml", "the admin override is on"),
    ):
        settings = apply(demo, name)
        say(f"window {window}: {what} ({name}); starting a run of the DAG logstream_export")
        run_id = demo.airflow.trigger(window, f"demo_{window.start:%H%M}")
        state = demo.airflow.wait_for_run(run_id)
        seconds = sum(task["duration"] or 0 for task in demo.airflow.tasks(run_id))
        say(
            f"the run {run_id} is a {state}; its {counted(len(demo.airflow.tasks(run_id)), 'task')} took {seconds:.1f} s of work"
        )
        fine = table(demo, window, settings) and state == "success" and fine
    fine = read_back(demo) and fine
    show_one()
    return fine


def table(demo: Demo, window: Window, settings: Settings) -> bool:
    """Print what went where; return whether every selected event was delivered."""
    with Exporter(demo.store, demo.store, AirflowConnections()) as engine:
        rows = report_workspaces(window, settings, engine.store(engine.settings.current()), engine.ledger)
    print()
    line = "{:<22} {:<9} {:<15} {:>7} {:>9} {:>10} {:>11}  {}"
    print(line.format("workspace", "ext. id", "destination", "read", "selected", "delivered", "bytes", "why"))
    for row in rows:
        workspace = row.route.workspace
        print(
            line.format(
                (workspace.name or str(workspace.id))[:22],
                workspace.external_id or "-",
                row.route.destination or "-",
                f"{row.read:,}",
                f"{row.selected:,}",
                f"{row.delivered:,}",
                f"{row.bytes:,}",
                str(row.route.reason).split(":")[0],
            )
        )
    total = [sum(values) for values in zip(*((r.read, r.selected, r.delivered, r.bytes) for r in rows), strict=True)]
    print(line.format("all", "", "", *(f"{value:,}" for value in total), _verdict(rows)))
    print(flush=True)
    return all(row.selected == row.delivered for row in rows)


def _verdict(rows: list[WorkspaceReport]) -> str:
    missing = sum(row.selected - row.delivered for row in rows)
    return "nothing is missing" if missing == 0 else f"{counted(missing, 'event is', 'events are')} MISSING"


def read_back(demo: Demo) -> bool:
    """Fetch everything from the destinations, keep it below `delivered/`, and compare its number with the ledger's."""
    where = HOME / "delivered"
    found = 0
    for kind, objects in (
        *((f"s3/{bucket}", demo.s3.objects(bucket)) for bucket in BUCKETS),
        *(((f"azure_blob/{CONTAINER}", demo.azure.objects(CONTAINER)),) if demo.azure else ()),
    ):
        events = 0
        for key, body in objects.items():
            path = where / kind / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            events += _count(key, body)
        say(f"{kind} holds {counted(len(objects), 'object')} with {counted(events, 'event')}")
        found += events
    events = len(demo.sink.events())
    (where / "http").mkdir(parents=True, exist_ok=True)
    (where / "http" / "received.ndjson").write_bytes(b"".join(body.rstrip(b"\n") + b"\n" for body in demo.sink.bodies))
    say(f"the HTTP log service took {counted(demo.sink.requests, 'request')} with {counted(events, 'event')}")
    found += events
    with Exporter(demo.store, demo.store, AirflowConnections()) as engine:
        ledger = sum(lane.delivered.total() for window in WINDOWS for lane in engine.ledger.lanes_in(window))
    same = found == ledger
    say(
        f"at the destinations: {counted(found, 'event')}; in the ledger: {ledger:,}. {'They agree.' if same else 'They DIFFER.'}"
    )
    return same


def _count(key: str, body: bytes) -> int:
    if key.endswith(".gz"):
        body = gzip.decompress(body)
    elif key.endswith(".zst"):
        body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return body.count(b"\n") if ".ndjson" in key else 1


def show_one() -> None:
    """Print one delivered file."""
    files = sorted((HOME / "delivered").rglob("*.json"))
    say(f"everything that was delivered is below {(HOME / 'delivered').relative_to(PROJECT)}")
    if files:
        print(f"\nOne of them, {files[0].relative_to(PROJECT)}:\n")
        lines = json.dumps(json.loads(files[0].read_bytes()), indent=2, ensure_ascii=False).splitlines()
        print(*lines[:SHOWN_LINES], sep="\n")
        if len(lines) > SHOWN_LINES:
            print(f"... and {len(lines) - SHOWN_LINES} more lines, in that file")
        print(flush=True)


def stay(demo: Demo) -> None:
    """Stay up, with new events arriving."""
    console = f"{demo.airflow.url}/plugin/audit-log-streaming"
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(console)
    threading.Thread(target=arrive, args=(demo.store,), daemon=True).start()
    print(
        f"\nThe console: {console}"
        f"\n(user admin, password {USERS['admin']}; user viewer, password {USERS['viewer']}, only looks)"
        f"\nAirflow: {demo.airflow.url}; the DAG logstream_export runs every minute."
        f"\nThe log store: {demo.store}"
        f"\nThe S3 server: {demo.s3.url}; it takes any keys and has the buckets {' and '.join(BUCKETS)}"
        f"\nFor commands in another shell: . {ENVIRONMENT.relative_to(PROJECT)} && .venv/bin/logstream status"
        "\nNew events arrive all the time. Stop with Ctrl-C.\n",
        flush=True,
    )
    while True:
        time.sleep(1)


def arrive(store: str) -> None:
    """Insert new events, as a platform would: plain INSERTs."""
    maker = EventMaker(workspaces(), seed=int(time.time()))
    connection: psycopg.Connection | None = None
    while True:
        try:
            connection = connection or connect(store)
            for line in maker.lines(10, datetime.now(UTC), timedelta(seconds=1)):
                event = json.loads(line)["event"]
                connection.execute(
                    "insert into events (workspace_id, kind, occurred_at, payload) values (%s, %s, %s, %s)",
                    (event["workspace_id"], event["kind"], event["occurred_at"], json.dumps(event["payload"])),
                )
        except (psycopg.Error, LogstreamError):
            connection = None
        time.sleep(1)


if __name__ == "__main__":
    raise SystemExit(main())
