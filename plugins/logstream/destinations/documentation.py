"""The options of destinations as people read them: the tables in `docs/destinations/` are drawn from the models (`make docs`)."""

from __future__ import annotations

import re
import sys
import types
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from logstream.destinations.base import Options
from logstream.destinations.registry import destination_types

BEGIN, END = "<!-- options: made by `make docs` -->\n", "<!-- /options -->\n"


def options_table(model: type[Options]) -> str:
    """A Markdown table of a model's options: what must be given first, then the rest in their order."""
    fields = sorted(model.model_fields.items(), key=lambda item: not item[1].is_required())
    rows = ["| option | | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in fields:
        example = f" For example `{_text(field.examples[0])}`." if field.examples else ""
        meaning = f"{field.description}{example}".replace("|", "\\|")
        rows.append(f"| `{name}` | {kind_of(field.annotation)} | {_default(field)} | {meaning} |")
    return "\n".join(rows) + "\n"


def kind_of(annotation: Any) -> str:
    """What kind of value an option takes, in words."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return kind_of(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return " or ".join(kind_of(part) for part in get_args(annotation) if part is not type(None))
    if origin in (list, tuple, set):
        return f"list of {kind_of(get_args(annotation)[0])}"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return " \\| ".join(f"`{choice}`" for choice in annotation)
    return {str: "text", int: "number", bool: "true or false", float: "number"}.get(annotation, "text")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.default if field.default is not PydanticUndefined else field.get_default(call_default_factory=True)
    return "" if value in (None, "", (), [], {}) else f"`{_text(value)}`"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}"
    return str(value)


def with_options(page: str, model: type[Options]) -> str:
    """A page with its table drawn anew; at its end, where it has none yet."""
    table = BEGIN + options_table(model) + END
    found = re.search(f"{re.escape(BEGIN)}.*?{re.escape(END)}", page, re.DOTALL)
    if found is None:
        return f"{page.rstrip()}\n\n{table}\n"
    return page[: found.start()] + table + page[found.end() :]


def main() -> None:
    """`python -m logstream.destinations.documentation FOLDER`: draw all tables anew."""
    for name, destination in destination_types().items():
        path = Path(sys.argv[1]) / f"{name}.md"
        if path.exists():
            path.write_text(with_options(path.read_text(), destination.options_model))


if __name__ == "__main__":
    main()
