"""`logstream settings`: replace or show them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from logstream.cli.arguments import add_command, add_dsn, add_group, dsns, repository
from logstream.errors import AirflowAway, InputError
from logstream.units import counted

if TYPE_CHECKING:
    from logstream.settings.models import Settings


def add(groups: Any) -> None:
    """Add the commands."""
    settings = add_group(groups, "settings", "replace or show the streaming settings")
    command = add_command(
        settings, "apply", settings_apply, "replace the settings: validated whole, or nothing changes"
    )
    add_dsn(command, control=True)
    command.add_argument("file", metavar="settings.yaml", type=Path)
    command.add_argument("--yes", action="store_true", help="replace settings by a file that has none, without asking")
    command = add_command(settings, "show", settings_show, "print the stored settings as YAML")
    add_dsn(command, control=True)


def settings_apply(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream settings apply`."""
    from logstream.airflow.connections import AirflowConnections, use_metadata_database
    from logstream.settings.document import read_document
    from logstream.store.check import require_log_store
    from logstream.validation import validate_settings, warnings_of

    use_metadata_database()
    settings = validate_settings(read_document(options.file), str(options.file), connections=AirflowConnections())
    for warning in warnings_of(settings):
        print(f"warning: {options.file}: {warning}", file=sys.stderr)
    _note_unknown_connections(settings, options.file)
    _note_folders(settings, options.file)
    store = dsns(options)[0]
    unknown = require_log_store(store, settings.log_store)
    if unknown:
        print(f"note: the log store could not be looked at: {unknown}", file=sys.stderr)
    else:
        _note_strangers(store, settings, options.file)
    kept = repository(options)
    before = kept.current().settings
    if settings.is_empty and not before.is_empty and not options.yes:
        _ask_whether_to_stop(options.file)
    if before.streams and not settings.streams:
        print(
            f"warning: {options.file}: nothing is streamed any more: what a file leaves out of the settings is gone",
            file=sys.stderr,
        )
    snapshot = kept.apply(settings, author=os.environ.get("USER"))
    streaming = sum(workspace.streaming.enabled for workspace in settings.workspaces)
    admin = settings.admin is not None and settings.admin.enabled
    print(
        f"applied {options.file} as snapshot {snapshot.id}: "
        + (
            "the admin setting is on and overrides "
            + counted(streaming, "workspace's own setting", "workspaces' own settings")
            if admin
            else counted(streaming, "workspace streams", "workspaces stream")
        )
        + f"; {counted(len(settings.destinations), 'destination')}",
        file=out,
    )


def _note_strangers(dsn: str, settings: Settings, file: Path) -> None:
    """Name the workspaces that have settings and that the log store does not know: an id may be mistyped."""
    from logstream.store import PostgresStore

    store = PostgresStore(dsn, settings.log_store)
    known = {workspace.id for workspace in store.workspaces()} if settings.workspaces else set()
    store.close()
    strangers = [str(workspace.id) for workspace in settings.workspaces if workspace.id not in known]
    if strangers:
        more = f" and {len(strangers) - 10:,} more" if len(strangers) > 10 else ""
        print(
            f"warning: {file}: the log store has no workspace {', '.join(strangers[:10])}{more}; settings of a workspace hold "
            "from when it is there",
            file=sys.stderr,
        )


def _note_unknown_connections(settings: Settings, file: Path) -> None:
    """Name the connections that destinations and receivers of notices name and that there are not: an id may be mistyped.

    They are taken all the same: a connection may be made later, or be known where Airflow runs and not here.
    """
    from logstream.airflow.connections.lookup import unknown_connections

    users: dict[str, str] = {}
    for name, destination in settings.destinations.items():
        connection = destination.options.get("connection")
        if isinstance(connection, str):
            users.setdefault(connection, f"destinations.{name}.connection")
    for path, receiver in settings.receivers():
        users.setdefault(receiver.connection, f"{path}.connection")
    try:
        unknown = unknown_connections(users)
    except AirflowAway as error:  # what is only a warning keeps no settings from being stored
        print(f"warning: {file}: whether each connection exists was not checked: {error}", file=sys.stderr)
        return
    for connection in unknown:
        print(
            f"warning: {file}: {users[connection]}: there is no Airflow connection `{connection}` that this command can see; add "
            f"it under Admin > Connections, or set AIRFLOW_CONN_{connection.upper()}",
            file=sys.stderr,
        )


def _note_folders(settings: Settings, file: Path) -> None:
    """Name the folders that may not be written to here. They are taken all the same: workers may allow others."""
    from logstream.destinations.file import why_not_allowed

    for name, destination in settings.destinations.items():
        path = destination.options.get("path")
        if destination.type == "file" and isinstance(path, str) and (refused := why_not_allowed(path)) is not None:
            print(f"warning: {file}: destinations.{name}.path: nothing here may write to {refused}", file=sys.stderr)


def _ask_whether_to_stop(file: Path) -> None:
    """Raise `InputError` unless a person at the terminal agrees that nothing is to be streamed any more."""
    what = f"{file} has no settings: it would remove all that are stored, and nothing would be streamed any more"
    if sys.stdin is None or not sys.stdin.isatty():
        raise InputError(f"{what}; --yes if that is meant")
    print(f"{what}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError(f"{file} was not applied; the settings are as they were")


def settings_show(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream settings show`."""
    from logstream.settings.document import write_yaml

    out.write(write_yaml(repository(options).current().settings.as_document()))
