"""`logstream status`: is all well; if not, what first."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any, TextIO

from logstream.cli.arguments import add_command, add_dsn, add_json, open_exporter
from logstream.cli.output import print_table
from logstream.window import iso

if TYPE_CHECKING:
    from logstream.ledger.condition import DestinationStatus
    from logstream.ledger.status import Status

SHOWN = 20
"""So many destinations are listed, those first that need a person; `--json` has all."""


def add(groups: Any) -> None:
    """Add the command."""
    command = add_command(
        groups, "status", status, "is all well; if not, what to do first",
        "Ends with 1 if something needs a person, so that it can be a health check. Reads the ledger alone: nothing is sent.",
    )  # fmt: skip
    add_dsn(command, control=True)
    add_json(command)


def status(options: argparse.Namespace, out: TextIO) -> int:
    """`logstream status`."""
    from logstream.ledger.health import HealingPolicy
    from logstream.ledger.status import as_json, look

    with open_exporter(options) as exporter:
        settings = exporter.settings.current()
        found = look(exporter.engine, settings.settings.destinations)
    policy = HealingPolicy.from_environment()
    if options.json:
        document = {
            "well": found.is_well,
            "first": found.problems[0].as_json() if found.problems else None,
            "problems": [problem.as_json() for problem in found.problems],
            "gaps": {
                "windows": found.gaps.windows,
                "since": iso(found.gaps.since) if found.gaps.since else None,
            },
            "destinations": [as_json(destination, policy) for destination in found.destinations],
            "settings": settings.id,
            "streaming_since": iso(found.streaming_since) if found.streaming_since else None,
            "schedule_seconds": found.schedule.total_seconds() if found.schedule else None,
        }
        print(json.dumps(document), file=out)
        return 0 if found.is_well else 1
    _print(found, policy.owed_per_run, policy.gaps_per_run, out)
    return 0 if found.is_well else 1


def _print(found: Status, owed_per_run: int, gaps_per_run: int, out: TextIO) -> None:
    if found.streaming_since is None:
        print("nothing is streamed yet: put settings in force with `logstream settings apply`", file=out)
    elif found.is_well:
        print(f"all is well: {_counted(found)}", file=out)
    else:
        print(f"NOT all is well: {_counted(found)}", file=out)
        print(f"first: {found.problems[0]}", file=out)
        for problem in found.problems[1:SHOWN]:
            print(f"then:  {problem}", file=out)
        if len(found.problems) > SHOWN:
            print(f"and {len(found.problems) - SHOWN:,} more; --json has all", file=out)
    if found.destinations:
        shown = sorted(found.destinations, key=lambda one: (one.is_well, one.name))[:SHOWN]
        rows = [_row(one, owed_per_run, gaps_per_run) for one in shown]
        print(file=out)
        print_table(("destination", "condition", "last window", "owed", "rejected", "lost", "ready in"), rows, out)
        if len(found.destinations) > len(shown):
            print(f"and {len(found.destinations) - len(shown):,} more; --json has all", file=out)
    if found.streaming_since is not None and found.schedule is None:
        print("no schedule is known here: windows are exported on request", file=out)


def _counted(found: Status) -> str:
    return ", ".join(f"{count:,} {condition}" for condition, count in found.counts.items()) or "no destinations"


def _row(one: DestinationStatus, owed_per_run: int, gaps_per_run: int) -> tuple[str, ...]:
    ready = one.ready_in(owed_per_run, gaps_per_run)
    return (
        one.name,
        one.condition.value,
        f"{one.delivered_until:%Y-%m-%d %H:%M}" if one.delivered_until else "-",
        f"{one.owed:,}",
        f"{one.rejected_share:.0%}",
        f"{one.lost:,}",
        str(ready) if ready else "-",
    )
