"""The `logstream` command.

Exit codes: 0 done; 1 something was not delivered or verified; 2 bad usage, settings or input, with one line `error: ...`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

from logstream import __version__
from logstream.errors import InputError, LogstreamError
from logstream.events import Kind
from logstream.steps import Step

EPILOG = """
Without --dsn and LOGSTREAM_DSN an embedded PostgreSQL below ./.logstream is used (LOGSTREAM_HOME changes where).
Times are ISO 8601 with an offset, like 2026-11-24T00:00:00Z. Credentials come from Airflow connections; without a
running Airflow, from AIRFLOW_CONN_<ID>. Exit codes: 0 done; 1 something was not delivered or verified; 2 bad usage,
settings or input.
"""


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line and end with 2."""
        print(f"error: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    _quiet_airflow()
    options = _parser().parse_args(arguments)
    try:
        with _clean_stdout() as out:
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

    store = _group(groups, "store", "make the log store's tables, and load events into it")
    command = _command(store, "init", store_init, "make the log store's tables, and ours; what is there stays")
    _dsn(command, control=True)
    command = _command(
        store, "load", store_load, "load workspaces and events from an NDJSON file, whole or not at all",
        'Each line is {"workspace": {"id", "external_id", "name", "role"}} or {"event": {"id", "workspace_id", "kind", '
        '"occurred_at", "recorded_at", "payload"}}; recorded_at may be left out.',
    )  # fmt: skip
    _dsn(command)
    command.add_argument("file", metavar="FILE.ndjson", type=Path)
    command.add_argument("--progress", action="store_true", help="show a progress bar")

    command = _command(
        store, "check", store_check, "is the log store what it must be: columns, types, NULLs, indexes, who closes windows",
        "Reads only. The tables or views are those of the settings in force (`log_store`).",
    )  # fmt: skip
    _dsn(command, control=True)

    settings = _group(groups, "settings", "replace or show the streaming settings")
    command = _command(settings, "apply", settings_apply, "replace the settings: validated whole, or nothing changes")
    _dsn(command, control=True)
    command.add_argument("file", metavar="settings.yaml", type=Path)
    command = _command(settings, "show", settings_show, "print the stored settings as YAML")
    _dsn(command, control=True)

    command = _command(groups, "routes", routes, "print each workspace with its route and the reason")
    _dsn(command, control=True)
    _json(command)

    command = _command(
        groups, "export", export, "export a window now, with the engine that the DAG uses",
        "Exporting a window again replaces the same objects; an unfinished export goes on where it stopped.",
    )  # fmt: skip
    _dsn(command, control=True)
    _window(command)
    command.add_argument("--destination", metavar="NAME", help="only what goes to this destination")
    command.add_argument(
        "--wait", metavar="SECONDS", type=float, default=600.0,
        help="how long to wait for transactions that may still add to the window (default 600)",
    )  # fmt: skip
    _json(command)

    command = _command(groups, "verify", verify, "compare the log store with the ledger for every window in a range")
    _dsn(command, control=True)
    _window(command)
    _json(command)

    _healing_commands(groups)

    command = _command(groups, "preview", preview, "render one event by a message template")
    command.add_argument(
        "--template",
        metavar="[KIND=]FILE",
        action="append",
        required=True,
        help="the message template; include/templates/NAME.json has some. Several, each with its kind of event (job=FILE, "
        "default=FILE), are a template for each kind",
    )
    command.add_argument(
        "--event",
        metavar="FILE",
        type=Path,
        required=True,
        help="an event's payload, or a line as `store load` takes it",
    )
    command.add_argument(
        "--kind", metavar="KIND", choices=[*Kind], help="the kind of a payload, if its fields do not tell it (job, ...)"
    )

    destinations = _group(groups, "destinations", "list the kinds of destinations, or try one out")
    _command(destinations, "list", destinations_list, "list the kinds of destinations that are installed")
    command = _command(destinations, "check", destinations_check, "try a destination out, step by step")
    _dsn(command, control=True)
    command.add_argument("name", metavar="NAME", help="a destination of the settings")
    return parser


def _healing_commands(groups: Any) -> None:
    command = _command(
        groups, "owed", owed, "list what destinations have not got, and why, and time that no run has exported",
        "Scheduled runs deliver it on their own, oldest first: as soon as the destination is back, as soon as they run.",
    )  # fmt: skip
    _dsn(command, control=True)
    command.add_argument("--destination", metavar="NAME", help="only what is owed to this destination")
    command.add_argument(
        "--acknowledge",
        action="store_true",
        help="take note of what is lost: it is listed once more, and then no longer",
    )
    _json(command)

    command = _command(groups, "rejected", rejected, "list the dead letters: events that were refused, and why")
    _dsn(command, control=True)
    command.add_argument("--destination", metavar="NAME", help="only those of this destination")
    command.add_argument("--limit", metavar="N", type=int, default=1000, help="at most so many (default 1000)")
    _json(command)

    command = _command(
        groups, "redeliver", redeliver, "deliver what is owed now, or dead letters again after a mistake is mended",
        "A suspended destination is taken back into service.",
    )  # fmt: skip
    _dsn(command, control=True)
    command.add_argument("--destination", metavar="NAME", help="only to this destination")
    command.add_argument(
        "--rejected", action="store_true", help="send the rejected events again, by the settings in force"
    )
    _json(command)

    command = _command(
        groups, "prune", prune, "forget the details of complete deliveries of old windows; their manifests stay",
    )  # fmt: skip
    _dsn(command, control=True)
    command.add_argument("--before", metavar="T", required=True, help="windows that ended at this time or earlier")


def _group(groups: Any, name: str, help_: str) -> Any:
    parser = groups.add_parser(name, help=help_, description=help_.capitalize() + ".")
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _command(
    group: Any, name: str, run: Callable[[argparse.Namespace, TextIO], int | None], help_: str, more: str = ""
) -> Any:
    parser = group.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}. {more}".strip())
    parser.set_defaults(run=run)
    return parser


def _dsn(parser: Any, *, control: bool = False) -> None:
    parser.add_argument(
        "--dsn", metavar="DSN", help="the log store (default: LOGSTREAM_DSN, else the embedded PostgreSQL)"
    )
    if control:
        parser.add_argument(
            "--control-dsn", metavar="DSN",
            help="where settings and ledger live (default: LOGSTREAM_CONTROL_DSN, else the log store's database)",
        )  # fmt: skip


def _window(parser: Any) -> None:
    parser.add_argument("--from", dest="start", metavar="T", required=True, help="begin of the window, included")
    parser.add_argument("--to", dest="end", metavar="T", required=True, help="end of the window, not included")


def _json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document; logs go to standard error")


def _dsns(options: argparse.Namespace) -> tuple[str, str]:
    from logstream.database import control_dsn, store_dsn

    store = store_dsn(options.dsn)
    return store, control_dsn(options.control_dsn, store)


def _repository(options: argparse.Namespace) -> Any:
    from logstream.control.engine import open_control
    from logstream.settings.repository import SettingsRepository

    return SettingsRepository(open_control(_dsns(options)[1]))


def _exporter(options: argparse.Namespace) -> Any:
    from logstream.export.exporter import Exporter
    from logstream.hooks.connections import AirflowConnections, use_metadata_database

    use_metadata_database()
    connections = AirflowConnections()
    return Exporter(*_dsns(options), connections, signer=connections.signer)


def _window_of(options: argparse.Namespace) -> Any:
    from logstream.window import Window, parse_time

    return Window(parse_time(options.start, "--from"), parse_time(options.end, "--to"))


def store_init(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream store init`."""
    from logstream.control.engine import open_control
    from logstream.database import connect
    from logstream.store.schema import create_tables

    store, control = _dsns(options)
    with connect(store) as connection:
        create_tables(connection)
    open_control(control)
    print("the log store is ready", file=out)


def store_load(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream store load`."""
    from logstream.database import connect, store_dsn
    from logstream.store.load import load_file

    with connect(store_dsn(options.dsn)) as connection, _progress(options) as advance:
        loaded = load_file(connection, options.file, advance)
    print(f"loaded {loaded.workspaces:,} workspaces and {loaded.events:,} events from {options.file}", file=out)


def store_check(options: argparse.Namespace, out: TextIO) -> int:
    """`logstream store check`."""
    from logstream.control.engine import has_control
    from logstream.settings.models import LogStoreSettings
    from logstream.store.check import check_store

    store, control = _dsns(options)
    settings = _repository(options).current().settings.log_store if has_control(control) else LogStoreSettings()
    return _print_steps(check_store(store, settings), out)


def _print_steps(steps: Iterable[Step], out: TextIO) -> int:
    fine = True
    for step in steps:
        print(f"{step.mark} {step}", file=out, flush=True)
        fine = fine and step.ok
    return 0 if fine else 1


@contextmanager
def _progress(options: argparse.Namespace) -> Iterator[Callable[[int], None] | None]:
    if not options.progress or not options.file.is_file():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"loading {options.file.name}", total=options.file.stat().st_size)
        yield lambda read: bar.update(task, completed=read)


def settings_apply(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream settings apply`."""
    from logstream.settings.document import read_document
    from logstream.store.check import require_log_store
    from logstream.validation import validate_settings, warnings_of

    settings = validate_settings(read_document(options.file), str(options.file))
    for warning in warnings_of(settings):
        print(f"warning: {options.file}: {warning}", file=sys.stderr)
    unknown = require_log_store(_dsns(options)[0], settings.log_store)
    if unknown:
        print(f"note: the log store could not be looked at: {unknown}", file=sys.stderr)
    snapshot = _repository(options).apply(settings, author=os.environ.get("USER"))
    streaming = sum(workspace.streaming.enabled for workspace in settings.workspaces)
    admin = settings.admin is not None and settings.admin.enabled
    print(
        f"applied {options.file} as snapshot {snapshot.id}: "
        + (
            f"the admin setting is on and overrides {streaming} own settings"
            if admin
            else f"{streaming} workspaces stream"
        )
        + f"; {len(settings.destinations)} destinations",
        file=out,
    )


def settings_show(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream settings show`."""
    from logstream.settings.document import write_yaml

    out.write(write_yaml(_repository(options).current().settings.as_document()))


def routes(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream routes`."""
    with _exporter(options) as exporter:
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
    _table(("workspace", "external id", "name", "role", "destination", "reason"), rows, out)


def export(options: argparse.Namespace, out: TextIO) -> int:
    """`logstream export`."""
    from logstream.export.processes import processors
    from logstream.export.summary import summarize
    from logstream.ledger.records import State

    window = _window_of(options)
    with _exporter(options) as exporter:
        exporter.wait_until_closed(window, timeout=options.wait, remind=_remind)
        heal = options.destination is None
        only = [options.destination] if options.destination else None
        planned = exporter.plan(window, only=only, max_tasks=processors(), heal=heal, carrier=f"command {uuid.uuid4()}")
        wait = exporter.deliver_shares(planned.shares)
        with _lane_progress(planned) as advance:
            results = wait(advance)
        sealed, left = exporter.seal(planned.delivery_ids), exporter.ledger.deliveries(planned.left)
    for change in sealed.changes:
        print(f"note: {change}", file=sys.stderr)
    for reason in planned.left.values():
        print(f"note: {reason}", file=sys.stderr)
    reports, own = summarize(planned, [*sealed, *left]), {item.window for item in planned.own}
    healed = [report for report in sealed if report.window not in own and report.state is State.DELIVERED]
    if healed:
        print(f"note: {len(healed)} other windows that destinations were owed were delivered, too", file=sys.stderr)
    if own != {window}:
        print(f"note: {window} was exported as {_windows(sorted(own))}; windows keep their bounds", file=sys.stderr)
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
        _table(("destination", "state", "events", "bytes", "requests", "rejected", "error"), rows, out)
        print(f"window {window}: {totals['events']:,} events to {len(reports)} destinations", file=out)
    failed = [report for report in reports if report.error]
    for report in failed:
        print(f"error: {report.destination}: {report.error}", file=sys.stderr)
    return 1 if failed else 0


def _windows(windows: Sequence[Any]) -> str:
    if len(windows) == 1:
        return f"the window {windows[0]}"
    return f"{len(windows)} windows from {windows[0].start.isoformat()} to {windows[-1].end.isoformat()}"


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
        task = bar.add_task(f"{planned.events:,} events in {lanes} lanes", total=lanes)
        yield lambda _: bar.advance(task)


def verify(options: argparse.Namespace, out: TextIO) -> int:
    """`logstream verify`."""
    from logstream.verify.verifier import verify as verify_exported

    span = _window_of(options)
    with _exporter(options) as exporter:
        result = verify_exported(exporter, span)
    if options.json:
        document = {
            "window": span.as_json(),
            "verified": not result.findings,
            "windows": result.windows,
            "deliveries": result.deliveries,
            "events": result.events,
            "rejected": result.rejected,
            "objects": result.objects,
            "lost": [loss.as_json() for loss in result.lost],
            "findings": [finding.as_json() for finding in result.findings],
        }
        print(json.dumps(document), file=out)
    else:
        outcome = "NOT as it should be" if result.findings else "nothing is missing"
        print(
            f"{span}: {result.windows} windows, {result.deliveries} deliveries, {result.events:,} events delivered, "
            f"{result.rejected:,} rejected, {result.objects:,} objects read: {outcome}",
            file=out,
        )
    for finding in result.findings:
        print(f"error: {finding}", file=sys.stderr)
    return 1 if result.findings else 0


def owed(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream owed`."""
    with _exporter(options) as exporter:
        found, health = exporter.ledger.owed(options.destination), exporter.ledger.health()
        gaps, lost = exporter.ledger.coverage().gaps(), exporter.ledger.losses(options.destination, open_only=True)
        if options.acknowledge:
            exporter.ledger.acknowledge(os.environ.get("USER") or "the command", options.destination)
    suspended = {name for name, destination in health.items() if destination.suspended}
    if options.json:
        document = {
            "owed": [
                {"destination": item.destination, "window": item.window.as_json(), "events": item.events,
                 "planned_at": item.since.isoformat(), "suspended": item.destination in suspended, "error": item.error}
                for item in found
            ],
            "gaps": [gap.as_json() for gap in gaps],
            "lost": [item.as_json() for item in lost],
        }  # fmt: skip
        print(json.dumps(document), file=out)
        return
    rows = [
        (item.destination, str(item.window), f"{item.events:,}",
         "suspended" if item.destination in suspended else "-", item.error or "-")
        for item in found
    ]  # fmt: skip
    _table(("destination", "window", "events", "state", "error"), rows, out)
    print(f"{len(found)} windows are owed", file=out)
    for gap in gaps:
        print(f"not exported yet, to any destination: {gap}", file=out)
    print(f"{len(gaps)} gaps are between windows; scheduled runs export them, oldest first", file=out)
    for item in lost:
        print(f"lost, no longer in the log store: {item}", file=out)


def rejected(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream rejected`."""
    with _exporter(options) as exporter:
        found = exporter.ledger.rejected(destination=options.destination, limit=options.limit)
    if options.json:
        document = [
            {"destination": row.destination, "window": row.window.as_json(), "event_id": row.event_id,
             "workspace_id": row.workspace_id, "kind": row.kind, "reason": row.reason, "request": row.request,
             "rejected_at": row.rejected_at.isoformat()}
            for row in found
        ]  # fmt: skip
        print(json.dumps(document), file=out)
        return
    rows = [
        (row.destination, str(row.window), str(row.event_id), str(row.workspace_id), row.kind, row.reason)
        for row in found
    ]
    _table(("destination", "window", "event", "workspace", "kind", "reason"), rows, out)


def redeliver(options: argparse.Namespace, out: TextIO) -> int:
    """`logstream redeliver`."""
    with _exporter(options) as exporter:
        if options.rejected:
            return _redeliver_rejected(exporter, options, out)
        reports = exporter.redeliver_owed(options.destination)
    if options.json:
        print(
            json.dumps([{"window": r.window.as_json() if r.window else None, **r.as_json()} for r in reports]), file=out
        )
    else:
        rows = [(r.destination, str(r.window), str(r.state), f"{r.events:,}", r.error or "") for r in reports]
        _table(("destination", "window", "state", "events", "error"), rows, out)
    failed = [report for report in reports if report.error]
    for report in failed:
        print(f"error: {report.destination}, window {report.window}: {report.error}", file=sys.stderr)
    return 1 if failed else 0


def _redeliver_rejected(exporter: Any, options: argparse.Namespace, out: TextIO) -> int:
    results = exporter.redeliver_rejected(options.destination)
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
        _table(("destination", "delivered", "rejected again", "gone from the store", "error"), rows, out)
    return 1 if any(result.error or result.rejected_again for result in results) else 0


def prune(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream prune`."""
    from logstream.window import parse_time

    before = parse_time(options.before, "--before")
    with _exporter(options) as exporter:
        forgotten = exporter.ledger.prune(before)
    print(f"forgot the details of {forgotten:,} deliveries; their manifests stay", file=out)


def preview(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream preview`."""
    from logstream.rendering.preview import preview as render

    files = _by_kind(options.template)
    templates = {kind: _read_template(file) for kind, file in files.items()}
    names = ", ".join(files.values())
    print(render(templates, _read(options.event), names, str(options.event), options.kind), file=out)


def _by_kind(values: Sequence[str]) -> dict[str, str]:
    """`--template` as given: the file of each kind of event, or of all."""
    from logstream.settings.models import DEFAULT_KIND, MESSAGE_KEYS

    found: dict[str, str] = {}
    for value in values:
        kind, equals, file = value.partition("=")
        kind, file = (kind, file) if equals and kind in MESSAGE_KEYS else (DEFAULT_KIND, value)
        if kind in found:
            raise InputError(f"--template: there are two for {kind}; give each its kind, as in job=FILE")
        found[kind] = file
    return found


def _read_template(file: str) -> str:
    from logstream.settings.message_files import find_message_file

    return _read(find_message_file(file, Path.cwd()) or Path(file))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from None


def destinations_list(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream destinations list`."""
    from logstream.destinations import destination_types

    rows = []
    for name, kind in destination_types().items():
        fields = kind.options_model.model_fields
        rows.append((name, kind.title, kind.connection_type or "-", ", ".join(fields)))
    _table(("type", "what", "connection", "options"), rows, out)


def destinations_check(options: argparse.Namespace, out: TextIO) -> int:
    """`logstream destinations check`."""
    import asyncio

    from logstream.destinations.registry import make_destination
    from logstream.hooks.connections import AirflowConnections, use_metadata_database

    settings = _repository(options).current().settings
    if options.name not in settings.destinations:
        known = ", ".join(settings.destinations) or "none"
        raise InputError(f'no destination named "{options.name}"; the settings have {known}')
    use_metadata_database()
    destination = make_destination(options.name, settings.destinations[options.name], AirflowConnections())

    async def run() -> bool:
        fine = True
        async for step in destination.run_check():
            print(f"{step.mark} {step}", file=out)
            fine = fine and step.ok
        return fine

    return 0 if asyncio.run(run()) else 1


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO) -> None:
    """Print a table that neither breaks on hostile names nor hides what a pipe wants to read."""
    clean = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(head, *clean, strict=True)]
    for row in (list(head), *clean):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip(), file=out)


def _printable(text: str) -> str:
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return textwrap.shorten(shown, 120, placeholder="...") if len(shown) > 120 else shown


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    raise SystemExit(main())
