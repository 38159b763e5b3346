"""What the log store's tables or views must be like (docs/log-store.md), as rules over what the catalogue says.

Types are narrow where a wrong guess would be silent. Integers widen to bigint and any JSON is read as its text; a time
without a time zone, a number with a fraction or an id of another kind would have to be guessed at, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from logstream.errors import NotSetUp
from logstream.steps import Step
from logstream.store.catalogue import KINDS, Column, Relation

INTEGERS = frozenset({"int2", "int4", "int8"})
JSON = frozenset({"json", "jsonb"})
TEXTS = "S"
ENUMS = "E"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a column must be: one of some types, or of some categories of types; in words, and what to do otherwise."""

    words: str
    remedy: str
    types: frozenset[str] = frozenset()
    categories: str = ""

    def allows(self, column: Column) -> bool:
        return column.type in self.types or column.category in self.categories


_ID = _Wanted("an integer", "cast it in a view (`id::bigint`)", INTEGERS)
_TIME = _Wanted(
    "timestamp with time zone",
    "say in a view in which zone it is (`recorded_at at time zone 'UTC'`), and index that expression",
    frozenset({"timestamptz"}),
)
_TEXT = _Wanted("text", "cast it in a view (`kind::text`)", categories=TEXTS + ENUMS)
_ANY = _Wanted("text", "", categories="".join(map(chr, range(ord("A"), ord("Z") + 1))))

EVENTS = {
    "id": _ID,
    "workspace_id": _ID,
    "kind": _TEXT,
    "occurred_at": _TIME,
    "recorded_at": _TIME,
    "payload": _Wanted("json, jsonb or text", "give the event's JSON in a view", JSON, TEXTS),
}
"""The columns that events have."""

WORKSPACES = {"id": _ID, "external_id": _ANY, "name": _ANY, "role": _TEXT}
"""The columns that workspaces have."""

READABLE = frozenset("rpv")
"""Kinds of relation that can be a log store: tables, partitioned tables, views."""


def column_steps(what: str, relation: Relation, wanted: dict[str, _Wanted]) -> Iterator[Step]:
    """Whether a relation has the columns that it must, of types that can be read for sure."""
    yield Step(
        f"{what} is a table or view",
        relation.kind in READABLE,
        f"{relation.name} is a {KINDS.get(relation.kind, relation.kind)}",
        "Name a table, or a view of tables.",
    )
    for name, rule in wanted.items():
        column = relation.columns.get(name)
        title = f"{what}.{name} is {rule.words}"
        if column is None:
            yield Step(
                title, False, "there is no such column", f"Add it, or name a view of {relation.name} that has it."
            )
        else:
            yield Step(title, rule.allows(column), column.declared, f"{rule.remedy[:1].upper()}{rule.remedy[1:]}.")


def require(what: str, relation: Relation, wanted: dict[str, _Wanted]) -> None:
    """Raise `NotSetUp` naming the first column that is not as it must be."""
    for step in column_steps(what, relation, wanted):
        if not step.ok:
            raise NotSetUp(f"the log store is not as it must be: {step.name}: no ({step.detail}). {step.remedy}")
