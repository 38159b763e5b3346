"""`make bench`: Logstream beside what people would use instead. Ratios of things measured in one run, interleaved."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks import planning, rendering, small
from benchmarks.cases import HERE, PEER_PYTHON, Bench, Group, Target
from benchmarks.null import null_receiver
from benchmarks.relay import relay
from benchmarks.store import build, description, window_of
from logstream.database import connect
from logstream.embedded import embedded_dsn, home

MILLION = 1_000_000
say = Console(stderr=True, highlight=False).print


def measure(groups: list[Group], rounds: int) -> None:
    """Measure each case `rounds` times, one after another in turn, so that a slow minute hits all of them."""
    for group in groups:
        for number in range(rounds):
            for case in group.cases:
                events, seconds = case.run()
                case.rates.append(events / seconds)
                say(f"{group.title} {number + 1}/{rounds}: {case.name}: {case.rates[-1]:,.0f}/s")


def tables(groups: list[Group]) -> str:
    """The results as Markdown."""
    lines = []
    for group in groups:
        lines += [f"## {group.title[0].upper()}{group.title[1:]}", "",
                  "| | events/s (median) | spread | the first to it |", "| --- | ---: | --- | ---: |"]  # fmt: skip
        for case in group.cases:
            spread = f"{min(case.rates):,.0f} to {max(case.rates):,.0f}"
            ratio = group.cases[0].rate / case.rate
            lines.append(f"| {_cell(case.name)} | {case.rate:,.0f} | {spread} | {ratio:.2f} |")
        lines.append("")
    return "\n".join(lines)


def targets_table(targets: list[Target]) -> str:
    """What is wanted, and what was measured."""
    lines = ["## Targets", "", "| what | wanted | measured | |", "| --- | ---: | ---: | --- |"]
    for target in targets:
        bound = "at most" if target.at_most else "at least"
        mark = "" if target.is_met else "**missed**"
        lines.append(f"| {_cell(target.what)} | {bound} {target.wanted:g} | {target.measured:.3g} | {mark} |")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", chr(92) + "|")


def memory_table(memory: dict[tuple[int, int], dict[str, float]]) -> str:
    """Peak memory at each size of window."""
    lines = ["## Memory", "", "Peak RSS beyond the interpreter and its imports, of all processes of an export together.", "",
             "| events in the window | destinations | processes | peak beyond imports | before |",
             "| ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for (events, routes), answer in sorted(memory.items()):
        lines.append(
            f"| {events:,} | {routes:,} | {answer['processes']:.0f} | {beyond_imports(answer):,.0f} MB "
            f"| {answer['before_mb']:,.0f} MB a process |"
        )
    return "\n".join([*lines, ""])


def beyond_imports(answer: dict[str, float]) -> float:
    """Peak RSS of all processes of an export beyond what they have before it, in MB."""
    return answer["processes"] * (answer["peak_mb"] - answer["before_mb"])


def memory_targets(memory: dict[tuple[int, int], dict[str, float]]) -> Iterator[Target]:
    """Bounded, whatever the window and however many destinations."""
    peaks = {size: beyond_imports(answer) for size, answer in memory.items()}
    for (events, routes), peak in sorted(peaks.items()):
        yield Target(f"peak beyond imports, {events:,} events, {routes:,} destinations, MB", 350, peak, at_most=True)
    if large := peaks.get((5 * MILLION, 1)):
        yield Target("peak at 5,000,000 events to that at 1,000,000", 1.15, large / peaks[MILLION, 1], at_most=True)


def bytes_read(bench: Bench, events: int) -> Target:
    """What the log store sends for an event that is delivered, to its payload."""
    window = window_of(events)
    with connect(bench.dsn) as connection:
        query = "select sum(octet_length(payload::text)) from events where recorded_at >= %s and recorded_at < %s"
        row = connection.execute(query, (window.start, window.end)).fetchone()
    assert row is not None
    with relay(bench.dsn) as counted:
        bench.export("s3-batch", events, dsn=counted.dsn)
    return Target("bytes read from PostgreSQL to those of the payloads", 1.1, counted.read / int(row[0]), at_most=True)


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
    parser.add_argument("--only", help="measure only groups whose title holds this text; nothing is written")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything; nothing is written")
    parser.add_argument("--no-large", action="store_true", help="leave out the window of 5,000,000 events")
    parser.add_argument("--check", action="store_true", help="end with 1 if a target is missed")
    options = parser.parse_args()
    part = 0.1 if options.quick else 1.0
    events = int(MILLION * part)
    dsn = build(events)
    control = embedded_dsn("bench_control", home() / "bench-postgres")
    with null_receiver() as (url, receiver):
        bench = Bench(dsn, control, url, MILLION)
        groups = [group for group in bench.groups(part) if not options.only or options.only in group.title]
        measure(groups, options.rounds)
        targets = [target for group in groups for target in group.targets()]
        rest: list[str] = []
        if not options.only:
            if not options.quick and not options.no_large:
                large = build(5 * MILLION)
                for _ in range(2):
                    count, seconds = bench.ours("s3-batch", 5 * MILLION, dsn=large)
                    say(f"5,000,000 events: {count / seconds:,.0f}/s")
            targets += [*memory_targets(bench.memory), bytes_read(bench, min(events, 100_000))]
            few = small.table([1, 400] if options.quick else [1, 4_000, 10_000])
            rest = [memory_table(bench.memory), few, planning.table(), rendering.table()]
    text = "\n".join([targets_table(targets), tables(groups), *rest])
    print(text)
    if not options.quick and not options.only:
        write(text, groups, dsn, f"each case {options.rounds} times", receiver)
    missed = [target for target in targets if not target.is_met]
    say(f"{len(targets) - len(missed)} of {len(targets)} targets are met.")
    if options.check and missed:
        raise SystemExit("missed: " + "; ".join(target.what for target in missed))


def write(text: str, groups: list[Group], dsn: str, how: str, receiver: str) -> None:
    """Keep the results of one whole run."""
    head = (
        f"# What was measured\n\n{datetime.now(UTC):%Y-%m-%d}, by `make bench`, in one run: {how}, those of a table in turn, "
        f"medians. Machine: {machine()}. Receiver: {receiver}, which drains and answers. Store: {description(dsn)}, in the "
        "embedded PostgreSQL on the same machine.\n"
    )
    notes = (HERE / "NOTES.md").read_text()
    (HERE / "RESULTS.md").write_text(f"{head}\n![the ratios](results.png)\n\n{text}\n{notes}")
    drawn = [
        {"title": group.title, "cases": [[case.name, case.rate, case.ours] for case in group.cases]} for group in groups
    ]
    subprocess.run([str(PEER_PYTHON), str(HERE / "chart.py"), str(HERE / "results.png")], input=json.dumps(drawn),
                   text=True, check=True)  # fmt: skip
    shutil.copyfile(HERE / "results.png", HERE.parent / "docs" / "images" / "bench.png")


if __name__ == "__main__":
    main()
