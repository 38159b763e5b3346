"""Small windows for very many destinations: `python -m benchmarks.small [DESTINATIONS ...]`, by default 1 and 4,000.

Each command is run as people run it, in a process of its own: its wall time, its processor time, its peak memory. The object
store is one in memory that gives back what it was given; PostgreSQL is the embedded one, on the same machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile

from benchmarks.kept import object_store
from benchmarks.store import START
from logstream.database import connect
from logstream.embedded import embedded_dsn, home
from logstream.settings.resolution import Workspace
from logstream.store.load import load_file
from logstream.store.schema import create_tables
from logstream.testing.events import EventMaker, workspace_line

EACH = 10
"""Events of a destination in a window."""

WINDOW = timedelta(minutes=5)
KINDS = ["job_status", "job_details", "user_activity", "api_platform", "log_service"]
MESSAGE = '{"source": "workato", "event": {{{log_message}}}}'

TARGETS = {
    (4_000, "settings apply"): ("seconds", 1.0),
    (4_000, "export"): ("seconds", 5.0),
    (4_000, "verify"): ("seconds", 30.0),
    (1, "export"): ("busy", 1.2),
}
"""(Destinations, command) to what is limited, and how."""


@dataclass(frozen=True, slots=True)
class Run:
    """One command, measured."""

    command: str
    destinations: int
    seconds: float
    busy: float
    """Seconds of processor time, user and system."""
    peak_mb: float

    @property
    def verdict(self) -> str:
        """The target, and whether it is met."""
        wanted = TARGETS.get((self.destinations, self.command))
        if wanted is None:
            return ""
        name, limit = wanted
        missed = " (missed)" if getattr(self, name) > limit else ""
        return f"{limit:g} s{' of processor time' if name == 'busy' else ''}{missed}"


def build(destinations: int) -> str:
    """A store of one window of `EACH` events for each of so many workspaces; its DSN. The ledger in it is empty."""
    dsn = embedded_dsn(f"bench_small_{destinations}", home() / "bench-postgres")
    with connect(dsn) as connection:
        create_tables(connection)
        connection.execute("drop schema if exists logstream cascade")
        row = connection.execute("select count(*) from events").fetchone()
        if row == (destinations * EACH,):
            return dsn
        connection.execute("truncate events, workspaces")
        some = [Workspace(number, f"c{number}", f"Customer {number}") for number in range(1, destinations + 1)]
        maker = EventMaker(some)
        file = home() / "bench-small.ndjson"
        with file.open("w") as out:
            out.writelines(workspace_line(workspace) + "\n" for workspace in some)
            for number, line in enumerate(maker.lines(destinations * EACH, START, WINDOW)):
                event = json.loads(line)
                event["event"]["workspace_id"] = some[number % destinations].id
                out.write(json.dumps(event) + "\n")
        load_file(connection, file)
        file.unlink()
        connection.execute("vacuum analyze events")
    return dsn


def settings(destinations: int) -> str:
    """Settings by which each workspace has a destination of its own, all of one connection."""
    streaming = {"enabled": True, "events": KINDS, "message": MESSAGE}
    return json.dumps(
        {
            "workspaces": [
                {"id": number, "streaming": {**streaming, "destination": f"d{number}"}}
                for number in range(1, destinations + 1)
            ],
            "destinations": {
                f"d{number}": {
                    "type": "s3", "connection": "bench_s3", "bucket": "audit", "prefix": f"customers/{number}/",
                    "packaging": "batch", "compression": "gzip", "lanes": 1,
                }
                for number in range(1, destinations + 1)
            },
        }
    )  # fmt: skip


def measure(destinations: int) -> list[Run]:
    """Apply the settings, export a window, export it again, verify it."""
    dsn = build(destinations)
    file = home() / "bench-small.yaml"
    file.write_text(settings(destinations))
    span = ["--from", START.isoformat(), "--to", (START + WINDOW).isoformat()]
    with object_store() as url:
        environment = {
            **os.environ, "LOGSTREAM_DSN": dsn, "LOGSTREAM_ALLOW_PRIVATE_ADDRESSES": "1",
            "AIRFLOW_CONN_BENCH_S3": json.dumps({
                "conn_type": "aws", "login": "key", "password": "secret",
                "extra": {"endpoint_url": url, "region_name": "us-east-1"},
            }),
        }  # fmt: skip
        commands = {
            "settings apply": ["settings", "apply", str(file)],
            "export": ["export", *span, "--json"],
            "export again": ["export", *span, "--json"],
            "verify": ["verify", *span],
            "status": ["status"],
        }
        runs = []
        for name, command in commands.items():
            runs.append(_timed(name, destinations, command, environment))
            print(f"{destinations:,} destinations: {runs[-1]}", file=sys.stderr)
        return runs


def _timed(name: str, destinations: int, command: list[str], environment: dict[str, str]) -> Run:
    program = str(Path(sys.executable).parent / "logstream")
    with TemporaryFile("w+") as out:
        began = time.perf_counter()
        process = subprocess.Popen([program, *command], env=environment, stdout=out, stderr=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        took = time.perf_counter() - began
        if process.returncode:
            out.seek(0)
            raise SystemExit(f"{name}: exit {process.returncode}\n{out.read()[-2000:]}")
    return Run(name, destinations, took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def table(sizes: list[int]) -> str:
    """All runs, as Markdown."""
    what = f"{EACH} events for each destination, in batches to S3; whole commands, with their imports."
    rows = ["## Small windows", "", what, "",
            "| destinations | command | seconds | of processor time | peak | target |",
            "| ---: | --- | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for destinations in sizes:
        rows += [
            f"| {run.destinations:,} | `logstream {run.command}` | {run.seconds:.2f} | {run.busy:.2f} | {run.peak_mb:,.0f} MB "
            f"| {run.verdict} |"
            for run in measure(destinations)
        ]
    return "\n".join([*rows, ""])


if __name__ == "__main__":
    print(table([int(number) for number in sys.argv[1:]] or [1, 4_000]))
