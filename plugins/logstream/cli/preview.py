"""`logstream preview`: one event by a message template."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from logstream.cli.arguments import add_command
from logstream.errors import InputError
from logstream.events import Kind


def add(groups: Any) -> None:
    """Add the commands."""
    command = add_command(groups, "preview", preview, "render one event by a message template")
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
        "--kind",
        metavar="KIND",
        choices=[kind.value for kind in Kind],
        help="the kind of a payload, if its fields do not tell it (job, ...)",
    )


def preview(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream preview`."""
    from logstream.rendering.preview import preview as render

    files = _by_kind(options.template)
    templates = {kind: _read_template(file) for kind, file in files.items()}
    print(render(templates, _read(options.event), files, str(options.event), options.kind), file=out)


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
