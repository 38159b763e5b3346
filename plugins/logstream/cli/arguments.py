"""What the commands' arguments have in common, and what they open."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

from logstream.errors import InputError

MOST_ROWS = 1_000_000_000


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line and end with 2."""
        print(f"error: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def add_group(groups: Any, name: str, help_: str) -> Any:
    parser = groups.add_parser(name, help=help_, description=help_.capitalize() + ".")
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def add_command(
    group: Any, name: str, run: Callable[[argparse.Namespace, TextIO], int | None], help_: str, more: str = ""
) -> Any:
    parser = group.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}. {more}".strip())
    parser.set_defaults(run=run)
    return parser


def add_dsn(parser: Any, *, control: bool = False) -> None:
    parser.add_argument(
        "--dsn", metavar="DSN", help="the log store (default: LOGSTREAM_DSN, else the embedded PostgreSQL)"
    )
    if control:
        parser.add_argument(
            "--control-dsn", metavar="DSN",
            help="where settings and ledger live (default: LOGSTREAM_CONTROL_DSN, else the log store's database)",
        )  # fmt: skip


def add_window(parser: Any) -> None:
    parser.add_argument("--from", dest="start", metavar="T", required=True, help="begin of the window, included")
    parser.add_argument("--to", dest="end", metavar="T", required=True, help="end of the window, not included")


def add_json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document; logs go to standard error")


def rows_limit(value: str) -> int:
    """How many rows to list, as an option's value."""
    if not (value.isascii() and value.isdigit() and len(value) <= 10 and 1 <= int(value) <= MOST_ROWS):
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number from 1 to {MOST_ROWS:,}")
    return int(value)


def seconds(value: str) -> float:
    """A length of time, as an option's value."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not number >= 0:  # so that "nan" is refused, too
        raise argparse.ArgumentTypeError(f"{value!r} is not a number of seconds from 0 up")
    return number


def check_destination(exporter: Any, name: str | None) -> None:
    """Refuse a destination that neither the settings nor the ledger know; one that was removed may still be owed."""
    if name is None:
        return
    configured = exporter.settings.current().settings.destinations
    if name not in configured and name not in (gone := exporter.ledger.destination_names() - set(configured)):
        known = ", ".join([*configured, *(f"{other} (no longer in the settings)" for other in sorted(gone))])
        raise InputError(f'--destination: no destination named "{name}"; there are {known or "none"}')


def dsns(options: argparse.Namespace) -> tuple[str, str]:
    from logstream.database import control_dsn, store_dsn

    store = store_dsn(options.dsn)
    return store, control_dsn(options.control_dsn, store)


def repository(options: argparse.Namespace) -> Any:
    from logstream.control.engine import open_control
    from logstream.settings.repository import SettingsRepository

    return SettingsRepository(open_control(dsns(options)[1]))


def open_exporter(options: argparse.Namespace) -> Any:
    from logstream.airflow.connections import AirflowConnections, use_metadata_database
    from logstream.export.exporter import Exporter

    use_metadata_database()
    connections = AirflowConnections()
    return Exporter(*dsns(options), connections, signer=connections.signer)


def window_of(options: argparse.Namespace) -> Any:
    from logstream.window import Window, parse_time

    return Window(parse_time(options.start, "--from"), parse_time(options.end, "--to"))
