"""The words for access: fields of a connection, ways to authenticate, and what must be allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

OptionValues = Mapping[str, Any]
"""A destination's options as far as they are filled in."""


class Shape(StrEnum):
    """What the value of a field is, and so how it is typed in."""

    LINE = "line"
    ADDRESS = "address"
    """An http(s) URL."""
    TEXT = "text"
    """Several lines, such as PEM."""
    JSON = "json"
    """A JSON object, kept as its text."""
    HEADERS = "headers"
    """Lines of `Name: value`, kept as an object."""

    @property
    def in_one_line(self) -> bool:
        """Whether it is typed into one line."""
        return self in (Shape.LINE, Shape.ADDRESS)


@dataclass(frozen=True, slots=True)
class CredentialField:
    """One field of an Airflow connection, by the name that the vendor has for it."""

    name: str
    label: str
    place: str
    """Where Airflow keeps it: `host`, `login`, `password`, `extra.name`, `extra.object.member`; or `address`, a base URL."""
    help: str = ""
    example: str = ""
    secret: bool = False
    """Whether it is written only, and never shown again."""
    required: bool = False
    shape: Shape = Shape.LINE
    aliases: tuple[str, ...] = ()
    """Other places in which a connection may have the same, that are read and not written."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """One way in which a vendor lets a sender in, with the fields that it takes."""

    name: str
    title: str
    fields: tuple[CredentialField, ...]


@dataclass(frozen=True, slots=True)
class Rights:
    """The least that must be allowed at the vendor, ready to be copied: a policy, a role, the settings of a token."""

    title: str
    text: str
    where: str
    """Where it is put in, in a sentence."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a type of destination is let in."""

    connection_type: str
    """The type of Airflow connection whose fields these are."""
    authentications: tuple[Authentication, ...]
    """The one that most people want first."""
    documentation: str
    """The vendor's own page about it."""
    rights: Callable[[OptionValues], Rights] | None = field(default=None)

    def authentication(self, name: str) -> Authentication | None:
        """The way of a name."""
        return next((found for found in self.authentications if found.name == name), None)


def given(options: OptionValues, name: str, otherwise: str) -> str:
    """An option's text, or the word that stands for it while it is not filled in."""
    value = options.get(name)
    return value if isinstance(value, str) and value else otherwise
