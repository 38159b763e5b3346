"""What becomes of the fields of Airflow connections: used, without effect, or refused; never dropped.

`tables.py` says it for each type of connection. These tables decide, and `docs/connections.md` is drawn from them (`make docs`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from logstream.errors import ConnectionNotFound

STANDARD = ("host", "port", "schema", "login", "password")
"""The fields that every Airflow connection has beside its extra."""


def truth(value: object) -> bool | None:
    """A true or false of an extra, `None` for what is neither. Connections that are written as URIs have texts."""
    return {"true": True, "false": False, "1": True, "0": False}.get(str(value).strip().lower())


class Fate(StrEnum):
    """What becomes of a field."""

    USED = "used"
    NO_EFFECT = "no effect"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Field:
    """What becomes of one field, and why."""

    fate: Fate
    words: str
    """What it is used for, why it has no effect, or what to do instead."""
    harmless: tuple[object, ...] = ()
    """Values of a refused field that ask for nothing but what is done anyway."""


def used(words: str) -> Field:
    """A field that is honoured."""
    return Field(Fate.USED, words)


def no_effect(words: str) -> Field:
    """A field that asks for nothing that a destination does."""
    return Field(Fate.NO_EFFECT, words)


def refused(words: str, *harmless: object) -> Field:
    """A field with which a connection is refused, and the remedy."""
    return Field(Fate.REFUSED, words, harmless)


@dataclass(frozen=True, slots=True)
class ConnectionFields:
    """The fields of one type of connection."""

    kind: str
    """The type's name at Airflow."""
    title: str
    standard: Mapping[str, Field]
    """Of `STANDARD`; those left out are refused."""
    extras: Mapping[str, Field]
    """Names in the extra; `a.b` is the member `b` of the object `a`."""
    others: Field
    """What becomes of extras that are not named here."""
    prefix: str = ""
    """Airflow once wrote this before the names in the extra; with it they mean the same."""
    takes: Callable[[str], bool] = lambda _: False
    """Whether an extra that is not named here may be there."""

    def check(self, connection: Any) -> dict[str, Any]:
        """The extra of an Airflow connection, names without prefix, once nothing in it is refused.

        Raises `ConnectionNotFound` naming the first field that would be dropped, and the remedy.
        """
        for name in STANDARD:
            if getattr(connection, name, None) not in (None, ""):
                self._judge(connection, f"its `{name}`", self.standard.get(name), getattr(connection, name))
        extra = {name.removeprefix(self.prefix): value for name, value in (connection.extra_dejson or {}).items()}
        for name, value in self._members(connection, extra):
            if value in (None, "", {}, []) or (name not in self.extras and self.takes(name)):
                continue
            self._judge(connection, f"`{name}` in its extra", self.extras.get(name), value)
        return extra

    def _members(self, connection: Any, values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
        for name, value in values.items():
            path = f"{above}{name}"
            if value in (None, "") or not any(known.startswith(f"{path}.") for known in self.extras):
                yield path, value
            elif isinstance(value, Mapping):
                yield from self._members(connection, value, f"{path}.")
            else:
                raise ConnectionNotFound(
                    f"connection `{connection.conn_id}`: `{path}` in its extra must be an object (JSON)"
                )

    def _judge(self, connection: Any, what: str, field: Field | None, value: object) -> None:
        if field is None:
            raise ConnectionNotFound(
                f"connection `{connection.conn_id}`: {what} is not supported: its name is unknown; see docs/connections.md"
            )
        if field.fate is Fate.REFUSED and value not in field.harmless and truth(value) not in field.harmless:
            raise ConnectionNotFound(f"connection `{connection.conn_id}`: {what} is not supported: {field.words}")
