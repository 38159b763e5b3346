"""The form of a destination's credentials: what it shows of an Airflow connection, and what it makes of it.

Secrets go one way: they are typed in and never shown again. A secret that is left empty stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from logstream.airflow.connections.http import base_url
from logstream.console.forms import Form
from logstream.destinations.access import Access, Authentication, CredentialField, Shape
from logstream.destinations.transport.addresses import ForbiddenAddress, check_url
from logstream.errors import ConnectionNotFound, InputError

CONNECTION_ID = re.compile(r"[A-Za-z0-9_.-]{1,200}")

LONGEST = {"host": 500, "address": 500, "login": 5_000, "password": 3_000}
"""Characters that Airflow's columns hold, a password's once it is encrypted."""

LONGEST_EXTRA = 50_000


@dataclass(frozen=True, slots=True)
class StoredConnection:
    """An Airflow connection as plain data."""

    conn_id: str
    conn_type: str
    host: str | None = None
    port: int | None = None
    schema: str | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ShownField:
    """A field as the form shows it: `value` is empty for a secret, `kept` says that there is one."""

    field: CredentialField
    value: str = ""
    kept: bool = False


class CredentialMistakes(InputError):
    """Fields of the form cannot be used as they are filled in; no connection was changed."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = dict(fields)
        super().__init__("the connection was not saved: correct the fields that are marked")


def field_id(authentication: str, name: str) -> str:
    """The id of a field in the form."""
    return f"credential.{authentication}.{name}"


ID_FIELD = "credential.id"


def authentication_of(access: Access, stored: StoredConnection | None) -> Authentication:
    """The way in which a connection authenticates: the one that takes the most of what is filled in.

    The first where there is no connection, or where it fits none.
    """
    if stored is None:
        return access.authentications[0]

    def fit(way: Authentication) -> int:
        filled = [one for one in way.fields if _stored_value(stored, one) is not None]
        return len(filled) if all(one in filled for one in way.fields if one.required) else -1

    # of several that fit as well, `max` takes the first
    return max(access.authentications, key=fit)


def shown_fields(access: Access, stored: StoredConnection | None) -> dict[str, list[ShownField]]:
    """The fields of every way to authenticate, by its name, with what a connection has in those of its own way."""
    own = authentication_of(access, stored).fields
    return {
        way.name: [_shown(one, stored if _has(own, one) else None) for one in way.fields]
        for way in access.authentications
    }


def _has(fields: tuple[CredentialField, ...], one: CredentialField) -> bool:
    """Whether a way has this field, too: of the same name at the same place (a login may be an account or a client id)."""
    return any(other.name == one.name and other.place == one.place for other in fields)


def _shown(one: CredentialField, stored: StoredConnection | None) -> ShownField:
    value = _stored_value(stored, one) if stored else None
    if value is None:
        return ShownField(one)
    if one.secret or ((one.place == "host" or one.shape is Shape.ADDRESS) and _may_hold_a_secret(value)):
        return ShownField(one, "", kept=True)
    return ShownField(one, value)


def _may_hold_a_secret(address: str) -> bool:
    """An address with a user, a path or a query: of webhooks and of collectors' URLs those are the secret."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
    except ValueError:
        return True
    return "@" in parts.netloc or parts.path.strip("/") != "" or bool(parts.query)


def filled_in(access: Access, form: Form, conn_id: str, stored: StoredConnection | None) -> StoredConnection:
    """The connection that a form makes, of the one that is stored or of none.

    What the form does not know stays as it is; what belongs to another way to authenticate is taken away. Raises
    `CredentialMistakes`.
    """
    mistakes: dict[str, str] = {}
    if not CONNECTION_ID.fullmatch(conn_id):
        mistakes[ID_FIELD] = "letters, digits and the signs _ . - only"
    way = access.authentication("".join(form.get("credential.way", ())))
    if way is None:
        raise CredentialMistakes({"credential.way": "choose one"})
    own = authentication_of(access, stored).fields
    values: list[tuple[CredentialField, Any]] = []
    for one in way.fields:
        name = field_id(way.name, one.name)
        typed = "".join(form.get(name, ())[:1]).strip()
        kept = _stored_raw(stored, one) if stored and _has(own, one) else None
        if not typed and kept is not None and _shown(one, stored).kept:
            values.append((one, kept))
        elif not typed and one.required:
            mistakes[name] = "is required"
        else:
            try:
                values.append((one, _read(one, typed) if typed else None))
            except InputError as error:
                mistakes[name] = str(error)
    if mistakes:
        raise CredentialMistakes(mistakes)
    made = stored or StoredConnection(conn_id, access.connection_type)
    for one in {one.place: one for other in access.authentications for one in other.fields}.values():
        made = _without(made, one)
    for one, value in values:
        for alias in one.aliases:
            made = _with(made, alias, None)
        if value is not None:
            made = _with(made, one.place, value)
    return made


def _read(one: CredentialField, typed: str) -> Any:
    longest = LONGEST.get(one.place, LONGEST_EXTRA)
    if len(typed) > longest:
        raise InputError(f"must have at most {longest:,} characters")
    if one.shape.in_one_line and ("\n" in typed or "\r" in typed):
        raise InputError("one line only")
    if one.shape is Shape.JSON:
        try:
            found = json.loads(typed)
        except (ValueError, RecursionError):
            raise InputError("is no JSON: paste the whole file") from None
        if not isinstance(found, dict):
            raise InputError("is no JSON object: paste the whole file")
        return typed
    if one.shape is Shape.HEADERS:
        lines = [line.partition(":") for line in typed.splitlines() if line.strip()]
        if any(not colon for _, colon, _ in lines):
            raise InputError("one header a line, as `Name: value`")
        return {name.strip(): value.strip() for name, _, value in lines}
    if one.shape is Shape.ADDRESS:
        # where it may not be, the test of the destination says, with what the operator may allow
        with suppress(ForbiddenAddress):
            check_url(typed)
    return typed.replace("\r\n", "\n")


def _stored_value(stored: StoredConnection, one: CredentialField) -> str | None:
    found = _stored_raw(stored, one)
    return found if found is None or isinstance(found, str) else json.dumps(found)


def _stored_raw(stored: StoredConnection | None, one: CredentialField) -> Any:
    """What a connection has for a field, as it is kept; `None` if it has nothing."""
    if stored is None:
        return None
    return next((value for place in (one.place, *one.aliases) if (value := _at(stored, place)) not in (None, "")), None)


def _at(stored: StoredConnection, place: str) -> Any:
    if place == "address":
        try:
            return base_url(stored, stored.conn_id)
        except (ConnectionNotFound, ValueError):
            return stored.host
    if not place.startswith("extra."):
        return getattr(stored, place)
    found: Any = stored.extra
    for name in place.split(".")[1:]:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _without(stored: StoredConnection, one: CredentialField) -> StoredConnection:
    for place in (one.place, *one.aliases):
        stored = _with(stored, place, None)
    return stored


def _with(stored: StoredConnection, place: str, value: Any) -> StoredConnection:
    if place == "address":
        return replace(stored, host=value, port=None, schema=None)
    if not place.startswith("extra."):
        return replace(stored, **{place: value})
    extra = deepcopy(dict(stored.extra))
    _put(extra, place.split(".")[1:], value)
    return replace(stored, extra=extra)


def _put(target: dict[str, Any], path: list[str], value: Any) -> None:
    """Put a value into nested objects, or (`None`) take it out, with the objects that are empty then."""
    name, *rest = path
    if not rest:
        if value is None:
            target.pop(name, None)
        else:
            target[name] = value
        return
    inner = target.get(name)
    if not isinstance(inner, dict):
        if value is None:
            return
        inner = {}
    _put(inner, rest, value)
    if inner:
        target[name] = inner
    else:
        target.pop(name, None)


def changed_fields(access: Access, before: StoredConnection | None, after: StoredConnection) -> Iterator[str]:
    """The labels of what an edit changed: never a value."""
    told = set()
    for way in access.authentications:
        for one in way.fields:
            if one.label not in told and _stored_raw(before, one) != _stored_raw(after, one):
                told.add(one.label)
                yield one.label
