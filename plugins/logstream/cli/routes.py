"""`logstream routes`: where each workspace's events go, and why."""

from __future__ import annotations

import argparse
import json
from typing import Any, TextIO

from logstream.cli.arguments import add_command, add_dsn, add_json, open_exporter
from logstream.cli.output import print_table


def add(groups: Any) -> None:
    """Add the commands."""
    command = add_command(groups, "routes", routes, "print each workspace with its route and the reason")
    add_dsn(command, control=True)
    add_json(command)


def routes(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream routes`."""
    with open_exporter(options) as exporter:
        found = exporter.routes()
    if options.json:
        document = [
            {
                "workspace_id": route.workspace.id,
                "external_id": route.workspace.external_id,
                "name": route.workspace.name,
                "role": route.workspace.role,
                "route": route.reason.name.lower(),
                "destination": route.destination,
                "events": [str(event) for event in route.streaming.events] if route.streaming else [],
                "reason": str(route.reason),
            }
            for route in found
        ]
        print(json.dumps(document), file=out)
        return
    rows = [
        (
            str(route.workspace.id),
            route.workspace.external_id or "-",
            route.workspace.name or "-",
            route.workspace.role,
            route.destination or "-",
            str(route.reason),
        )
        for route in found
    ]
    print_table(("workspace", "external id", "name", "role", "destination", "reason"), rows, out)
