"""`logstream destinations`: what kinds there are, and trying one out."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, TextIO

from logstream.cli.acts import note_act
from logstream.cli.arguments import add_command, add_dsn, add_group, add_json, dsns
from logstream.cli.output import print_table
from logstream.errors import InputError


def add(groups: Any) -> None:
    """Add the commands."""
    destinations = add_group(groups, "destinations", "list the kinds of destinations, or try one out")
    command = add_command(
        destinations, "list", destinations_list, "list the kinds of destinations that are installed",
        "With --json each has the JSON schema of its options: what each is for, what it may be, and its default.",
    )  # fmt: skip
    add_json(command)
    command = add_command(destinations, "check", destinations_check, "try a destination out, step by step")
    add_dsn(command, control=True)
    command.add_argument("name", metavar="NAME", help="a destination of the settings")


def destinations_list(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream destinations list`."""
    from logstream.destinations.registry import destination_type, destination_types, registered, types_as_json

    if options.json:
        print(json.dumps(types_as_json()), file=out)
    else:
        rows = [
            (name, kind.title, kind.connection_type or "-", ", ".join(kind.options_model.model_fields))
            for name, kind in destination_types().items()
        ]
        # the last column is long, and whole: a person looks for an option in it
        print_table(("type", "what", "connection", "options"), rows, out, whole=True)
    for name in sorted(registered().keys() - destination_types().keys()):
        try:
            destination_type(name)
        except InputError as error:
            print(f"warning: {error}", file=sys.stderr)


def destinations_check(options: argparse.Namespace, out: TextIO) -> int:
    """`logstream destinations check`."""
    import asyncio

    from logstream.airflow.connections import AirflowConnections, use_metadata_database
    from logstream.control.engine import open_control
    from logstream.destinations.registry import make_destination
    from logstream.ledger.notices import Notices
    from logstream.settings.repository import SettingsRepository

    engine = open_control(dsns(options)[1])
    kept = SettingsRepository(engine)
    settings = kept.current().settings
    if options.name not in settings.destinations:
        known = ", ".join(settings.destinations) or "none"
        raise InputError(f'no destination named "{options.name}"; the settings have {known}')
    use_metadata_database()
    destination = make_destination(options.name, settings.destinations[options.name], AirflowConnections())

    failed: list[str] = []

    async def run() -> None:
        async for step in destination.run_check():
            print(f"{step.mark} {step}", file=out)
            if not step.ok:
                failed.append(str(step))

    asyncio.run(run())
    # what a person has found out takes the place of the last daily check's outcome
    Notices(engine).note_check(options.name, failed[0] if failed else None)
    note_act(kept, "destination_tested", options.name, type=destination.type, passed=not failed)
    return 1 if failed else 0
