"""The `logstream` command.

Exit codes: 0 done; 1 something was not delivered or verified; 2 bad usage, settings or input, with one line `error: ...`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from logstream import __version__
from logstream.cli import (
    completion,
    control,
    destinations,
    doctor,
    export,
    healing,
    preview,
    routes,
    settings,
    status,
    store,
    verify,
)
from logstream.cli.arguments import Parser
from logstream.errors import InputError, LogstreamError
from logstream.garbage import rare_garbage_collection

EPILOG = """
Without --dsn and LOGSTREAM_DSN an embedded PostgreSQL below ./.logstream is used (LOGSTREAM_HOME changes where).
Times are ISO 8601 with an offset, like 2026-11-24T00:00:00Z. Credentials come from Airflow connections; without a
running Airflow, from AIRFLOW_CONN_<ID>. Exit codes: 0 done; 1 something was not delivered or verified; 2 bad usage,
settings or input.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    _quiet_airflow()
    parser = _parser()
    completion.answer(parser)
    given = sys.argv[1:] if arguments is None else arguments
    _require_text(parser, given)
    options = parser.parse_args(given)
    try:
        with _clean_stdout() as out, rare_garbage_collection():
            return int(options.run(options, out) or 0)
    except InputError as error:
        return _fail(error, 2)
    except LogstreamError as error:
        return _fail(error, 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("stopped; what was delivered is in the ledger, the same command goes on from there", file=sys.stderr)
        return 130


def _require_text(parser: Parser, arguments: Sequence[str]) -> None:
    """End with 2 for an argument whose bytes are no UTF-8: what it says could be kept nowhere, and not be printed."""
    for place, argument in enumerate(arguments, 1):
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:  # it is not shown: it may hold a password
            parser.error(f"argument {place} is no text in UTF-8; write it in that, or rename the file that it names")


def _fail(error: LogstreamError, code: int) -> int:
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    return code


def _quiet_airflow() -> None:
    # Airflow's own logs are no part of what a command says
    os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "ERROR")
    if "AIRFLOW_HOME" not in os.environ and not (Path.home() / "airflow" / "airflow.cfg").exists():
        from logstream.embedded import home

        os.environ["AIRFLOW_HOME"] = str(home() / "airflow")


@contextmanager
def _clean_stdout() -> Iterator[TextIO]:
    """Give the command the real standard output; whatever else writes to it goes to standard error."""
    sys.stdout.flush()
    try:
        kept = os.dup(sys.stdout.fileno())
    except (OSError, ValueError):  # no real file, as in tests
        yield sys.stdout
        return
    with os.fdopen(kept, "w", encoding="utf-8", errors="backslashreplace") as out:
        original = os.dup(1)
        os.dup2(2, 1)
        try:
            yield out
            out.flush()
        finally:
            sys.stdout.flush()
            os.dup2(original, 1)
            os.close(original)


def _parser() -> Parser:
    parser = Parser(
        prog="logstream",
        description="Streams the audit logs of many workspaces to the destinations their owners choose.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"logstream {__version__}")
    groups = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for commands in (
        store,
        settings,
        routes,
        export,
        status,
        verify,
        healing,
        preview,
        destinations,
        doctor,
        control,
        completion,
    ):
        commands.add(groups)
    return parser
