"""`logstream settings`: replace or show them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from logstream.cli.arguments import add_command, add_dsn, add_group, dsns, repository
from logstream.units import counted


def add(groups: Any) -> None:
    """Add the commands."""
    settings = add_group(groups, "settings", "replace or show the streaming settings")
    command = add_command(
        settings, "apply", settings_apply, "replace the settings: validated whole, or nothing changes"
    )
    add_dsn(command, control=True)
    command.add_argument("file", metavar="settings.yaml", type=Path)
    command = add_command(settings, "show", settings_show, "print the stored settings as YAML")
    add_dsn(command, control=True)


def settings_apply(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream settings apply`."""
    from logstream.hooks.connections import AirflowConnections, use_metadata_database
    from logstream.settings.document import read_document
    from logstream.store.check import require_log_store
    from logstream.validation import validate_settings, warnings_of

    use_metadata_database()
    settings = validate_settings(read_document(options.file), str(options.file), connections=AirflowConnections())
    for warning in warnings_of(settings):
        print(f"warning: {options.file}: {warning}", file=sys.stderr)
    unknown = require_log_store(dsns(options)[0], settings.log_store)
    if unknown:
        print(f"note: the log store could not be looked at: {unknown}", file=sys.stderr)
    snapshot = repository(options).apply(settings, author=os.environ.get("USER"))
    streaming = sum(workspace.streaming.enabled for workspace in settings.workspaces)
    admin = settings.admin is not None and settings.admin.enabled
    print(
        f"applied {options.file} as snapshot {snapshot.id}: "
        + (
            f"the admin setting is on and overrides {streaming} own settings"
            if admin
            else counted(streaming, "workspace streams", "workspaces stream")
        )
        + f"; {counted(len(settings.destinations), 'destination')}",
        file=out,
    )


def settings_show(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream settings show`."""
    from logstream.settings.document import write_yaml

    out.write(write_yaml(repository(options).current().settings.as_document()))
