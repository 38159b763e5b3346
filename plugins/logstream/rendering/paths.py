"""The JSONPaths of an event's values, and those of templates that match nothing: for people who write templates."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from logstream.errors import TemplateError
from logstream.jsonpath import PathError, TooMuchWork, Work, compile_path, find
from logstream.rendering.template import compile_template
from logstream.settings.models import DEFAULT_KIND, by_kind
from logstream.shapes.samples import sample_event
from logstream.units import counted

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IN_NO_PLACEHOLDER = re.compile(r"""[{}\n\r"'\\]""")

MOST_VALUES = 400
"""Values of one event that are shown to choose from."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value of an event: its name, how deep it stands, its path, and its JSON; of an object or list only what it is."""

    name: str
    depth: int
    path: str
    text: str
    inner: bool = False


def values_of(event: Any) -> list[Value]:
    """The values of an event with their paths, objects and lists before what is in them. Of a list the first item alone.

    What no path in a template can name (a field whose name holds a quote or a brace) is left out.
    """
    found: list[Value] = []
    for value in _walk(event, "$", 0):
        if len(found) == MOST_VALUES:
            break
        found.append(value)
    return found


def _walk(value: Any, path: str, depth: int) -> Iterator[Value]:
    items: Iterable[tuple[str, str, Any]] = ()
    if isinstance(value, dict):
        items = ((name, _member(name), inner) for name, inner in value.items() if not _IN_NO_PLACEHOLDER.search(name))
    elif isinstance(value, list) and value:
        items = (("0", "[0]", value[0]),)
    for name, step, inner in items:
        nested = isinstance(inner, dict | list) and bool(inner)
        what = "field" if isinstance(inner, dict) else "item"
        text = counted(len(inner), what) if nested else json.dumps(inner, ensure_ascii=False)
        yield Value(name, depth, path + step, text, nested)
        if nested:
            yield from _walk(inner, path + step, depth + 1)


def _member(name: str) -> str:
    return f".{name}" if _NAME.fullmatch(name) else f"['{name}']"


def matching_nothing(message: str | dict[str, str] | None, kinds: Iterable[str]) -> dict[str, list[str]]:
    """The paths of a message's templates that match nothing in the samples of some kinds, with these kinds."""
    templates, found = by_kind(message), dict[str, list[str]]()
    for kind in sorted(kinds):
        template = templates.get(kind, templates.get(DEFAULT_KIND))
        for path in _paths(template) if template else ():
            if not _matches(path, sample_event(kind)):
                found.setdefault(path, []).append(kind)
    return found


def _paths(template: str) -> list[str]:
    try:
        return compile_template(template).paths
    except TemplateError:
        return []


def _matches(path: str, event: Any) -> bool:
    try:
        return bool(find(compile_path(path), event, Work(0)))
    except (PathError, TooMuchWork):
        return True
