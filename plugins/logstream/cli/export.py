"""`logstream export`: a window, without a scheduler."""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from logstream.cli.arguments import add_command, add_dsn, add_json, add_window, open_exporter, seconds, window_of
from logstream.cli.output import note_taken_over, print_table, retries_shown
from logstream.units import counted
from logstream.window import iso

if TYPE_CHECKING:
    from logstream.export.plan import Planned


def add(groups: Any) -> None:
    """Add the commands."""
    command = add_command(
        groups, "export", export, "export a window now, with the engine that the DAG uses",
        "Exporting a window again replaces the same objects; an unfinished export goes on where it stopped.",
    )  # fmt: skip
    add_dsn(command, control=True)
    add_window(command)
    command.add_argument("--destination", metavar="NAME", help="only what goes to this destination")
    command.add_argument(
        "--wait", metavar="SECONDS", type=seconds, default=600.0,
        help="how long to wait for transactions that may still add to the window (default 600)",
    )  # fmt: skip
    add_json(command)


def export(options: argparse.Namespace, out: TextIO) -> int:
    """`logstream export`."""
    from logstream.export.processes import processors
    from logstream.export.summary import summarize
    from logstream.ledger.records import State

    window = window_of(options)
    with open_exporter(options) as exporter:
        exporter.wait_until_closed(window, timeout=options.wait, remind=_remind)
        heal = options.destination is None
        only = [options.destination] if options.destination else None
        carrier = f"command {uuid.uuid4()}"
        planned = exporter.plan(window, only=only, max_tasks=processors(), heal=heal, carrier=carrier)
        with retries_shown():  # before processes are made, which say so, too
            wait = exporter.deliver_shares(planned.shares)
            with _lane_progress(planned) as advance:
                results = wait(advance)
        sealed = exporter.seal(planned.delivery_ids, processes=processors(), carrier=carrier)
        left = exporter.ledger.deliveries(planned.left)
    for change in sealed.changes:
        print(f"note: {change}", file=sys.stderr)
    note_taken_over(sealed)
    for reason in planned.left.values():
        print(f"note: {reason}", file=sys.stderr)
    reports, own = summarize(planned, [*sealed, *left]), {item.window for item in planned.own}
    healed = [report for report in sealed if report.window not in own and report.state is State.DELIVERED]
    if healed:
        print(
            f"note: delivered as well, as owed to destinations: {counted(len(healed), 'other window')}", file=sys.stderr
        )
    if own != {window}:
        print(f"note: {window} was exported as {name_windows(sorted(own))}; windows keep their bounds", file=sys.stderr)
    for remark in sorted({f"{result.lane.destination}: {result.remarks}" for result in results if result.remarks}):
        print(f"warning: {remark}", file=sys.stderr)
    totals = {
        name: sum(getattr(report, name) for report in reports) for name in ("events", "bytes", "requests", "rejected")
    }
    if options.json:
        document = {
            "window": window.as_json(),
            "snapshot": planned.snapshot.id,
            "deliveries": [report.as_json() for report in reports],
            "totals": {"deliveries": len(reports), **totals},
        }
        print(json.dumps(document), file=out)
    else:
        rows = [
            (report.destination, str(report.state), *(f"{n:,}" for n in (report.events, report.bytes, report.requests)),
             f"{report.rejected:,}", report.error or "")
            for report in reports
        ]  # fmt: skip
        print_table(("destination", "state", "events", "bytes", "requests", "rejected", "error"), rows, out)
        print(
            f"window {window}: {counted(totals['events'], 'event')} to {counted(len(reports), 'destination')}", file=out
        )
    if planned.own and not totals["events"]:
        _say_why_nothing(planned)
    failed = [report for report in reports if report.error]
    for report in failed:
        print(f"error: {report.destination}: {report.error}", file=sys.stderr)
    return 1 if failed else 0


def _say_why_nothing(planned: Planned) -> None:
    read = sum(workspace.read for item in planned.own for workspace in item.plan.workspaces)
    if not read:
        print(
            "note: the log store has no events of this window; windows go by recorded_at, the time at which a row was "
            "inserted, not by occurred_at",
            file=sys.stderr,
        )
    elif not planned.events:
        print(
            f"note: {counted(read, 'event is', 'events are')} in this window, and the settings stream none of them: see "
            "`logstream routes`",
            file=sys.stderr,
        )


def name_windows(windows: Sequence[Any]) -> str:
    if len(windows) == 1:
        return f"the window {windows[0]}"
    return f"{counted(len(windows), 'window')} from {iso(windows[0].start)} to {iso(windows[-1].end)}"


def _remind(writers: Sequence[Any]) -> None:
    names = "; ".join(str(writer) for writer in writers[:3])
    print(f"waiting for transactions that may still add to the window: {names}", file=sys.stderr)


@contextmanager
def _lane_progress(planned: Any) -> Iterator[Callable[[Any], None] | None]:
    lanes = sum(len(share.lanes) for share in planned.shares)
    if not sys.stderr.isatty() or not lanes:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{counted(planned.events, 'event')} in {counted(lanes, 'lane')}", total=lanes)
        yield lambda _: bar.advance(task)
