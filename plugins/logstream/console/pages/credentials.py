"""The form of a destination's credentials, inside the form of the destination: new ones, or those that are there."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response

from logstream.console import runs
from logstream.console.access import By, Writer, may_use_connection
from logstream.console.airflow_connections import kept_elsewhere, save_connection, stored_connection
from logstream.console.credentials import (
    CONNECTION_ID,
    ID_FIELD,
    CredentialMistakes,
    StoredConnection,
    authentication_of,
    changed_fields,
    field_id,
    filled_in,
    shown_fields,
)
from logstream.console.forms import Form
from logstream.console.layout import Its, Sent, Text, one, show
from logstream.console.setting_form import access_of, sent_destination
from logstream.control.audit import Act, Actor
from logstream.destinations import destination_types
from logstream.destinations.access import Access
from logstream.errors import InputError

router = APIRouter(prefix="/parts", default_response_class=HTMLResponse)

SAVED_EVENT = "connection-saved"
"""What the browser is told by `HX-Trigger`, with the connection's id."""


@router.get("/credentials")
def credentials_part(
    request: Request, user: Writer, destination_type: Text = "", destination_name: Text = "",
    connection: Annotated[str, Query(alias="option.connection", max_length=200)] = "",
) -> Response:  # fmt: skip
    """The fields of a connection that is there, or of a new one: nothing that is secret is among them."""
    access = _access(destination_type)
    conn_id = connection.strip()
    try:
        stored = _editable(user, conn_id, access) if conn_id else None
    except InputError as error:
        return show(request, "parts/credentials.html", user, refused=str(error))
    if stored is None and not may_use_connection(user, "POST", conn_id):
        return show(request, "parts/credentials.html", user, refused="you may not create connections in Airflow")
    return show(
        request, "parts/credentials.html", user, stored=stored, access=access, destination_type=destination_type,
        conn_id=conn_id or _free_id(destination_name.strip() or f"{destination_type}_audit"),
        chosen=authentication_of(access, stored).name, ways=shown_fields(access, stored), field_id=field_id,
    )  # fmt: skip


@router.post("/credentials")
def save_credentials(request: Request, console: Its, user: Writer, by: By, form: Sent) -> Response:
    """Create the connection, or change what was filled in; a secret that was left empty stays as it is."""
    access = _access(one(form, "destination_type"))
    conn_id, new = one(form, "credential.id"), bool(one(form, "credential.new"))
    fields = {ID_FIELD: "", "credential.way": ""} | {
        field_id(way.name, found.name): "" for way in access.authentications for found in way.fields
    }
    try:
        made, changed = _save(user, by, access, form, conn_id, new=new)
    except CredentialMistakes as error:
        return show(request, "parts/validated.html", user, shown=fields | error.fields, refused=str(error))
    except InputError as error:
        return show(request, "parts/validated.html", user, shown=fields, refused=str(error))
    act = Act.CONNECTION_CREATED if new else Act.CONNECTION_CHANGED
    console.audit.record(act, by, made.conn_id, type=made.conn_type, fields=changed)
    answer = show(
        request, "parts/credentials.html", user, saved=made.conn_id, new=new, connection_type=access.connection_type,
        connections=runs.connection_ids(access.connection_type),
    )  # fmt: skip
    answer.headers.update(
        {"HX-Retarget": "#credentials", "HX-Reswap": "outerHTML",
         "HX-Trigger-After-Swap": json.dumps({SAVED_EVENT: {"id": made.conn_id}})}
    )  # fmt: skip
    return answer


def _save(
    user: Any, by: Actor, access: Access, form: Form, conn_id: str, *, new: bool
) -> tuple[StoredConnection, list[str]]:
    if new and not may_use_connection(user, "POST", conn_id):
        raise HTTPException(403, "You may not create connections in Airflow.")
    stored = _editable(user, conn_id, access) if CONNECTION_ID.fullmatch(conn_id) else None
    if new and stored is not None:
        raise CredentialMistakes({ID_FIELD: "there is a connection of this name; choose it above to edit it"})
    if not new and stored is None:
        raise InputError(f"connection `{conn_id}` was deleted meanwhile; load the page again")
    made = filled_in(access, form, conn_id, stored)
    save_connection(made, by.name, new=new)
    return made, list(changed_fields(access, stored, made))


def _editable(user: Any, conn_id: str, access: Access) -> StoredConnection | None:
    """A connection that this user may see and edit; `None` if there is none of this name.

    Raises 403 for one they may not edit, `InputError` for one that cannot be edited here.
    """
    if place := kept_elsewhere(conn_id):
        raise InputError(f"connection `{conn_id}` comes from {place}, and is edited there")
    stored = stored_connection(conn_id)
    if stored is None:
        return None
    if not (may_use_connection(user, "PUT", conn_id) and may_use_connection(user, "GET", conn_id)):
        raise HTTPException(403, "You may not edit this connection.")
    if stored.conn_type != access.connection_type and {stored.conn_type, access.connection_type} != {"http", "https"}:
        raise InputError(
            f"connection `{conn_id}` is of type {stored.conn_type}; this destination takes one of type {access.connection_type}"
        )
    return stored


def _access(destination_type: str) -> Access:
    found = access_of(destination_types().get(destination_type))
    if found is None:
        raise HTTPException(422, "This type of destination has no form for its credentials.")
    return found


def _free_id(name: str) -> str:
    """A name for a new connection that no other has."""
    base = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:150]
    names = (base if number == 1 else f"{base}_{number}" for number in range(1, 100))
    return next((name for name in names if stored_connection(name) is None and not kept_elsewhere(name)), "")


@router.post("/rights")
def rights_part(request: Request, user: Writer, form: Sent) -> Response:
    """The least that must be allowed at the vendor for the options as they are filled in."""
    _, destination = sent_destination(form)
    access = _access(str((destination or {}).get("type", "")))
    rights = access.rights(destination or {}) if access.rights else None
    return show(request, "parts/rights.html", user, rights=rights, documentation=access.documentation)
