"""A slow, plain renderer to check the fast one against: it parses everything and knows no shortcut."""

from __future__ import annotations

import json
import re
from typing import Any

from jsonpath_ng.ext import parse

PLACEHOLDER = re.compile(r"\{\{\{\s*(.+?)\s*\}\}\}|\{\{\s*(.+?)\s*\}\}")


def parsed(payload: bytes) -> Any:
    """JSON with its numbers as text, so that none is rounded."""
    return json.loads(payload, parse_float=lambda text: {"number": text}, parse_int=lambda text: {"number": text})


def expected(template: str, payload: bytes, *, drop_lines: bool = False) -> Any:
    """What a message must parse to (by `parsed`), for templates without time placeholders.

    Every placeholder is replaced by a marker that is looked up again in the parsed template.
    """
    event = parsed(payload)
    if drop_lines and isinstance(event, dict):
        event.pop("lines", None)
    names: list[str] = []

    def mark(match: re.Match[str]) -> str:
        names.append(match.group(1) or match.group(2))
        inside = template[: match.start()].replace('\\"', "").count('"') % 2
        return f"@@{len(names) - 1}@@" if inside else f'"@@{len(names) - 1}@@only"'

    document = json.loads(PLACEHOLDER.sub(mark, template))
    return _filled(document, names, event, payload)


def _filled(value: Any, names: list[str], event: Any, payload: bytes) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, names, event, payload) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, names, event, payload) for item in value]
    if isinstance(value, str):
        whole = re.fullmatch(r"@@(\d+)@@only", value)
        if whole:
            return _value(names[int(whole.group(1))], event)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"number": repr(value)}
    return value


def _value(name: str, event: Any) -> Any:
    if name == "log_message":
        return event
    found = [match.value for match in parse(name).find(event)]
    return found[0] if len(found) == 1 else found or None
