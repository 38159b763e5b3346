"""What is owed, rejected or lost, and what an administrator does about it."""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from typing import Any, TextIO

from logstream.cli.acts import note_act, person
from logstream.cli.arguments import (
    add_command,
    add_dsn,
    add_json,
    check_destination,
    open_exporter,
    rows_limit,
)
from logstream.cli.output import note_taken_over, print_table, retries_shown
from logstream.errors import InputError
from logstream.units import counted
from logstream.window import iso


def add(groups: Any) -> None:
    """Add the commands."""
    command = add_command(
        groups, "owed", owed, "list what destinations have not got, and why, and time that no run has exported",
        "Scheduled runs deliver it on their own, oldest first: as soon as the destination is back, as soon as they run.",
    )  # fmt: skip
    add_dsn(command, control=True)
    command.add_argument("--destination", metavar="NAME", help="only what is owed to this destination")
    command.add_argument(
        "--acknowledge",
        action="store_true",
        help="take note of what is lost: it is listed once more, and then no longer",
    )
    command.add_argument(
        "--write-off",
        metavar="WHY",
        help="give up what --destination is owed: it is counted as lost, with your name and this reason, for good",
    )
    add_json(command)

    command = add_command(groups, "rejected", rejected, "list the dead letters: events that were refused, and why")
    add_dsn(command, control=True)
    command.add_argument("--destination", metavar="NAME", help="only those of this destination")
    command.add_argument("--limit", metavar="N", type=rows_limit, default=1000, help="at most so many (default 1000)")
    add_json(command)

    command = add_command(
        groups, "redeliver", redeliver, "deliver what is owed now, or dead letters again after a mistake is mended",
        "A suspended destination is taken back into service.",
    )  # fmt: skip
    add_dsn(command, control=True)
    command.add_argument("--destination", metavar="NAME", help="only to this destination")
    command.add_argument(
        "--rejected", action="store_true", help="send the rejected events again, by the settings in force"
    )
    add_json(command)

    command = add_command(
        groups, "prune", prune, "forget the details of complete deliveries of old windows; their manifests stay",
    )  # fmt: skip
    add_dsn(command, control=True)
    command.add_argument("--before", metavar="T", required=True, help="windows that ended at this time or earlier")


def owed(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream owed`. How a destination is is said in the words of `logstream status`."""
    from logstream.ledger.overview import Overview

    if options.write_off is not None and (options.destination is None or not options.write_off.strip()):
        raise InputError("--write-off: name the destination with --destination, and say why")
    with open_exporter(options) as exporter:
        check_destination(exporter, options.destination)
        if options.write_off is not None:
            done = exporter.write_off(options.destination, person(), options.write_off.strip())
            note_act(
                exporter.settings,
                "owed_written_off",
                options.destination,
                note=options.write_off.strip(),
                events=done.events,
            )
            print(
                f"wrote off {counted(done.events, 'event')} of {counted(len(done.delivery_ids), 'window')} that "
                f"{options.destination} was owed",
                file=sys.stderr,
            )
        found = exporter.owed(options.destination)
        statuses = Overview(exporter.engine).statuses({item.destination for item in found})
        gaps, lost = exporter.ledger.coverage().gaps(), exporter.ledger.losses(options.destination, open_only=True)
        if options.acknowledge:
            events = exporter.ledger.acknowledge(person(), options.destination)
            note_act(exporter.settings, "losses_acknowledged", options.destination, events=events)
    if options.json:
        document = {
            "owed": [
                {"destination": item.destination, "window": item.window.as_json(), "events": item.events,
                 "planned_at": iso(item.since), "suspended": statuses[item.destination].health.suspended,
                 "condition": statuses[item.destination].condition.value, "removed": item.removed, "error": item.error}
                for item in found
            ],
            "gaps": [gap.as_json() for gap in gaps],
            "lost": [item.as_json() for item in lost],
        }  # fmt: skip
        print(json.dumps(document), file=out)
        return
    rows = [
        (item.destination, str(item.window), f"{item.events:,}",
         "removed" if item.removed else statuses[item.destination].condition.value, item.error or "-")
        for item in found
    ]  # fmt: skip
    print_table(("destination", "window", "events", "condition", "error"), rows, out)
    print(counted(len(found), "window is owed", "windows are owed"), file=out)
    for reason in dict.fromkeys(item.error for item in found if item.removed):
        print(reason, file=out)
    for gap in gaps:
        print(f"not exported yet, to any destination: {gap}", file=out)
    print(f"{counted(len(gaps), 'gap')} between windows; scheduled runs export gaps, oldest first", file=out)
    for item in lost:
        print(item, file=out)


def rejected(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream rejected`."""
    with open_exporter(options) as exporter:
        check_destination(exporter, options.destination)
        found = exporter.ledger.rejected(destination=options.destination, limit=options.limit)
    if options.json:
        document = [
            {"destination": row.destination, "window": row.window.as_json(), "event_id": row.event_id,
             "workspace_id": row.workspace_id, "kind": row.kind, "reason": row.reason, "request": row.request,
             "rejected_at": iso(row.rejected_at)}
            for row in found
        ]  # fmt: skip
        print(json.dumps(document), file=out)
        return
    rows = [
        (row.destination, str(row.window), str(row.event_id), str(row.workspace_id), row.kind, row.reason)
        for row in found
    ]
    print_table(("destination", "window", "event", "workspace", "kind", "reason"), rows, out)


def redeliver(options: argparse.Namespace, out: TextIO) -> int:
    """`logstream redeliver`."""
    from logstream.control.audit import Actor
    from logstream.export.ended import owed_outcome, redelivery_ended

    with open_exporter(options) as exporter:
        check_destination(exporter, options.destination)
        note_act(exporter.settings, "redelivery_started", options.destination, rejected=options.rejected)
        if options.rejected:
            return _redeliver_rejected(exporter, options, out)
        ended = redelivery_ended(exporter, Actor(person()), options.destination, rejected=False)
        with ended as outcome, retries_shown():
            reports = exporter.redeliver_owed(options.destination, carrier=f"command {uuid.uuid4()}")
            outcome.update(owed_outcome(reports))
    if options.json:
        print(
            json.dumps([{"window": r.window.as_json() if r.window else None, **r.as_json()} for r in reports]), file=out
        )
    else:
        rows = [(r.destination, str(r.window), str(r.state), f"{r.events:,}", r.error or "") for r in reports]
        print_table(("destination", "window", "state", "events", "error"), rows, out)
    note_taken_over(reports)
    failed = [report for report in reports if report.error]
    for report in failed:
        print(f"error: {report.destination}, window {report.window}: {report.error}", file=sys.stderr)
    return 1 if failed else 0


def _redeliver_rejected(exporter: Any, options: argparse.Namespace, out: TextIO) -> int:
    from logstream.control.audit import Actor
    from logstream.export.ended import redelivery_ended, rejected_outcome

    ended = redelivery_ended(exporter, Actor(person()), options.destination, rejected=True)
    with ended as outcome, retries_shown():
        results = exporter.redeliver_rejected(options.destination)
        outcome.update(rejected_outcome(results))
    document = [
        {"destination": result.destination, "delivered": result.delivered, "rejected": result.rejected_again,
         "gone": result.gone, "error": result.error}
        for result in results
    ]  # fmt: skip
    if options.json:
        print(json.dumps(document), file=out)
    else:
        rows = [
            (
                result.destination,
                f"{result.delivered:,}",
                f"{result.rejected_again:,}",
                f"{result.gone:,}",
                result.error or "",
            )
            for result in results
        ]
        print_table(("destination", "delivered", "rejected again", "gone from the store", "error"), rows, out)
    return 1 if any(result.error or result.rejected_again for result in results) else 0


def prune(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream prune`."""
    from logstream.window import parse_time

    before = parse_time(options.before, "--before")
    with open_exporter(options) as exporter:
        forgotten = exporter.ledger.prune(before)
    print(f"forgot the details of {counted(forgotten, 'delivery', 'deliveries')}; manifests stay", file=out)
