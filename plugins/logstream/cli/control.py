"""`logstream control`: the control database's schema, at upgrades."""

from __future__ import annotations

import argparse
from typing import Any, TextIO

from logstream.cli.arguments import add_command, add_dsn, add_group, dsns


def add(groups: Any) -> None:
    """Add the commands."""
    control = add_group(groups, "control", "show or upgrade the schema of the control database (settings and ledger)")
    command = add_command(
        control, "current", current, "print the schema's version, and whether this Logstream needs another",
        "Changes nothing. Ends with 1 if it is not the version that this Logstream needs.",
    )  # fmt: skip
    add_dsn(command, control=True)
    command = add_command(
        control, "upgrade", upgrade, "bring the schema up to date; what is in it stays",
        "Any command does that when it finds an older schema; this one does nothing else, for deployments that upgrade the "
        "database before the workers. Older workers then end their tasks with one line, and have done nothing.",
    )  # fmt: skip
    add_dsn(command, control=True)


def current(options: argparse.Namespace, out: TextIO) -> int:
    """`logstream control current`."""
    from logstream import __version__
    from logstream.control.engine import HEAD, revision_of

    found = revision_of(dsns(options)[1])
    if found == HEAD:
        print(f"{found}: up to date for Logstream {__version__}", file=out)
        return 0
    if found is None:
        print("there is no schema yet; `logstream control upgrade` makes it", file=out)
    elif found > HEAD:
        print(f"{found}: of a newer Logstream; this one, {__version__}, needs {HEAD}: upgrade Logstream here", file=out)
    else:
        print(f"{found}: Logstream {__version__} needs {HEAD}; `logstream control upgrade` brings it there", file=out)
    return 1


def upgrade(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream control upgrade`."""
    from logstream.control.engine import HEAD, open_control, revision_of

    control = dsns(options)[1]
    before = revision_of(control)
    open_control(control)
    print(f"{HEAD}: was up to date" if before == HEAD else f"{HEAD}: upgraded from {before or 'nothing'}", file=out)
