"""`logstream verify`: the log store against ledger, manifests and objects."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, TextIO

from logstream.cli.arguments import add_command, add_dsn, add_json, add_window, open_exporter, window_of
from logstream.cli.output import printable
from logstream.units import counted


def add(groups: Any) -> None:
    """Add the commands."""
    command = add_command(groups, "verify", verify, "compare the log store with the ledger for every window in a range")
    add_dsn(command, control=True)
    add_window(command)
    add_json(command)


def verify(options: argparse.Namespace, out: TextIO) -> int:
    """`logstream verify`."""
    from logstream.verify.verifier import verify as verify_exported

    span = window_of(options)
    with open_exporter(options) as exporter:
        result = verify_exported(exporter, span)
    if options.json:
        document = {
            "window": span.as_json(),
            "verified": result.verified,
            "not_due": [window.as_json() for window in result.not_due],
            "windows": result.windows,
            "deliveries": result.deliveries,
            "events": result.events,
            "rejected": result.rejected,
            "objects": result.objects,
            "unlisted": result.unlisted,
            "lost": [loss.as_json() for loss in result.lost],
            "findings": [finding.as_json() for finding in result.findings],
        }
        print(json.dumps(document), file=out)
    else:
        outcome = "NOT as it should be" if result.findings else "nothing is missing"
        if result.nothing_due:
            outcome = "NOT verified, none of it is due yet"
        print(
            f"{span}: {counted(result.windows, 'window')}, {counted(result.deliveries, 'delivery', 'deliveries')}, "
            f"{counted(result.events, 'event')} delivered, {result.rejected:,} rejected, "
            f"{counted(result.objects, 'object')} read: {outcome}",
            file=out,
        )
        if result.unlisted:
            print(
                f"the objects of {counted(result.unlisted, 'delivery', 'deliveries')} were not looked at: pruned from the "
                "ledger, and listed nowhere else (with `manifests: true` a destination has the lists beside the data)",
                file=out,
            )
        for window in result.not_due:
            print(f"{window} was not looked at: it is not over, or the schedule exports it later", file=out)
        for loss in result.lost:
            print(printable(str(loss)), file=out)
    for finding in result.findings:
        print(f"error: {printable(str(finding))}", file=sys.stderr)
    return 0 if result.verified else 1
