"""Signs that no text of the settings holds: control characters but for the tab and the ends of lines.

PostgreSQL stores no NUL, and terminals, logs and receivers' headers obey the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Path = tuple[str | int, ...]


def control_characters(value: object, path: Path = ()) -> Iterator[Path]:
    """The paths of plain data at which a text, or the name of a field, holds a control character."""
    if isinstance(value, str):
        if CONTROL.search(value):
            yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from control_characters(key, path)
            yield from control_characters(item, (*path, key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from control_characters(item, (*path, number))
