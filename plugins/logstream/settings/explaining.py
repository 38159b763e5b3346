"""What a validator says, in lines of `path: what is wrong`, with a suggestion for what is misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from logstream.settings.wording import wording


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """A pydantic error as lines of `path: what is wrong`, with a suggestion for a misspelt field or word."""
    return [f"{dotted(path)}: {what}" if path else what for path, what in explain_parts(error, model)]


def explain_parts(error: ValidationError, model: type[BaseModel]) -> list[tuple[tuple[str | int, ...], str]]:
    """The same as `explain`, with the path apart."""
    return explain_items(error.errors(), model)


def explain_items(
    items: Iterable[Mapping[str, Any]], model: type[BaseModel]
) -> list[tuple[tuple[str | int, ...], str]]:
    """The same of the single errors, as pydantic and FastAPI list them."""
    result = []
    for item in items:
        path = tuple(part for part in item["loc"] if part != "[key]")
        kind, value = item["type"], item.get("input")
        if kind == "extra_forbidden":
            what = "unknown field" + did_you_mean(str(path[-1]), _fields_at(model, path[:-1]))
        elif kind == "enum" and isinstance(value, str):
            known = [str(word).strip("'") for word in str(item["ctx"]["expected"]).replace(" or ", ", ").split(", ")]
            what = f'no such choice "{_brief(value)}"' + (
                did_you_mean(value, known) or f"; choose from {', '.join(known)}"
            )
        elif kind == "literal_error":
            what = f'no such choice "{_brief(value)}"; choose from {item["ctx"]["expected"]}'
        elif kind == "missing":
            what = "is required"
        elif kind == "value_error":
            # one error may tell of several fields, each on a line of its own
            for text in str(item["ctx"]["error"]).splitlines():
                field, colon, rest = text.partition(": ")
                place = (*path, field) if colon and field.isidentifier() else path
                result.append((place, rest if place != path else text))
            continue
        else:
            what = wording(kind, item.get("ctx", {}), str(item["msg"]))
            if not isinstance(value, dict | list | tuple):
                what += f" (got {_short(value)})"
        result.append((path, what))
    return result


def dotted(path: Iterable[str | int]) -> str:
    """`("workspaces", 3, "streaming")` as `workspaces[3].streaming`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "lake"?` if something known is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else ""


def _fields_at(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int) or current is None:
            continue
        field = current.model_fields.get(part)
        current = _model_in(field.annotation) if field else None
    return list(current.model_fields) if current else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_in(part)
        if found is not None:
            return found
    return None


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _short(value: object) -> str:
    # of a text no more is written out than is shown: it may be megabytes
    text = repr(value[:100] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."
