"""The tables of `docs/connections.md`, drawn from those that decide (`make docs`)."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from logstream.airflow.connections.fields import STANDARD, ConnectionFields, Fate, Field
from logstream.airflow.connections.tables import TYPES


def table(fields: ConnectionFields) -> str:
    """A Markdown table of a type's fields."""
    rows = ["| field | | |", "| --- | --- | --- |"]
    standard = {name: fields.standard.get(name, Field(Fate.REFUSED, "Airflow's form hides it")) for name in STANDARD}
    lines = [(f"`{name}`", field) for name, field in standard.items()]
    lines += [(f"extra `{name}`", field) for name, field in fields.extras.items()]
    for name, field in [*lines, ("any other extra", fields.others)]:
        words = field.words.replace("|", "\\|")
        rows.append(f"| {name} | {field.fate} | {words[0].upper()}{words[1:]}. |")
    return "\n".join(rows) + "\n"


def begin(kind: str) -> str:
    """The line before a type's table."""
    return f"<!-- fields of {kind}: made by `make docs` -->\n"


END = "<!-- /fields -->\n"


def with_tables(page: str, types: Mapping[str, ConnectionFields]) -> str:
    """A page with its tables drawn anew. Raises `ValueError` where it has no place for one."""
    for kind, fields in types.items():
        pattern = f"{re.escape(begin(kind))}.*?{re.escape(END)}"
        if not re.search(pattern, page, re.DOTALL):
            raise ValueError(f"there is no place for the table: {begin(kind).strip()} ... {END.strip()}")
        page = re.sub(pattern, lambda _, f=fields: begin(f.kind) + table(f) + END, page, flags=re.DOTALL)  # type: ignore[misc]
    return page


def main() -> None:
    """`python -m logstream.airflow.connections.documentation PAGE`: draw all tables anew."""
    page = Path(sys.argv[1])
    page.write_text(with_tables(page.read_text(), TYPES))


if __name__ == "__main__":
    main()
