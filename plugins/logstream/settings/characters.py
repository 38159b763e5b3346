"""Signs that no text of the settings holds: control characters but for the tab and the ends of lines, and lone surrogates.

PostgreSQL stores no NUL and no surrogate, and terminals, logs and receivers' headers obey the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

Path = tuple[str | int, ...]


def control_characters(value: object) -> Iterator[Path]:
    """The paths of plain data at which a text, or the name of a field, holds a control character."""
    if _has_any(value):
        yield from _paths(value, ())


def _has_any(value: object) -> bool:
    """The same without paths, for the many who have none: settings of thousands are a hundred thousand texts."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            if CONTROL.search(one):
                return True
        elif isinstance(one, dict):
            left += one
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one
    return False


def _paths(value: object, path: Path) -> Iterator[Path]:
    if isinstance(value, str):
        if CONTROL.search(value):
            yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str) and CONTROL.search(key):
                yield path  # what stands under it cannot be named
            else:
                yield from _paths(item, (*path, key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _paths(item, (*path, number))
