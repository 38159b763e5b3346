"""Workspaces: their routes, and their own settings."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from logstream.console.access import By, Writer
from logstream.console.api.contract import (
    CHANGING,
    Document,
    Expected,
    Id,
    Its,
    etag,
    saved,
    schema_of,
)
from logstream.console.bounds import BIG
from logstream.console.service.customers import SORTS, Customer
from logstream.errors import SettingsError
from logstream.ledger.condition import Condition

router = APIRouter()

_WITHIN = re.compile(r"^workspaces\[\d+\]\.(streaming\.)?")
"""Where a workspace's own setting stands in the settings: all else there was in force before."""


def _customer(customer: Customer) -> dict[str, Any]:
    workspace, status = customer.workspace, customer.status
    return {
        "workspace_id": workspace.id,
        "external_id": workspace.external_id,
        "name": workspace.name,
        "role": workspace.role,
        "route": customer.reason.name.lower(),
        "reason": str(customer.reason),
        "destination": customer.destination,
        "condition": status.condition if status else None,
        "delivered_until": status.delivered_until if status else None,
        "lag_seconds": customer.lag.total_seconds() if customer.lag else 0.0,
        "owed_windows": status.owed if status else 0,
    }


@router.get("/workspaces")
def get_workspaces(
    console: Its,
    query: Annotated[str, Query(max_length=200, description="Part of an id, external id, name or destination.")] = "",
    sort: Annotated[str, Query(pattern=f"^({'|'.join(SORTS)})$")] = "id",
    descending: bool = False,
    condition: Annotated[Condition | None, Query()] = None,
    offset: Annotated[int, Query(ge=0, le=BIG)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> dict[str, Any]:
    """Workspaces with their routes, and how the destinations stand that they lead to."""
    page = console.customers.page(
        query, sort, descending=descending, offset=offset, limit=limit, condition=condition or ""
    )
    return {"total": page.total, "workspaces": [_customer(customer) for customer in page.customers]}


@router.get("/workspaces/{workspace_id}", responses=CHANGING)
def get_workspace(console: Its, workspace_id: Id) -> dict[str, Any]:
    """One workspace with its route."""
    return _customer(console.customers.find(workspace_id))


@router.get("/workspaces/{workspace_id}/settings", responses=CHANGING)
def get_own(console: Its, workspace_id: Id, response: Response) -> dict[str, Any] | None:
    """A workspace's own setting, null if it has none."""
    snapshot = console.settings.current()
    response.headers["ETag"] = etag(snapshot)
    found = snapshot.settings.own.get(workspace_id)
    return found.model_dump(mode="json", exclude_unset=True) if found else None


@router.put("/workspaces/{workspace_id}/settings", responses=CHANGING, openapi_extra=schema_of("Streaming"))
def put_own(
    console: Its, user: Writer, by: By, workspace_id: Id, streaming: Document, expected: Expected, response: Response
) -> dict[str, Any]:
    """Replace a workspace's own setting; 409 while the admin setting is on."""
    try:
        return saved(console.settings.save_workspace(workspace_id, streaming, by, expected), response)
    except SettingsError as error:  # its places are in the whole document, which the caller has not seen
        raise SettingsError([_WITHIN.sub("", problem) for problem in error.problems]) from None


@router.delete("/workspaces/{workspace_id}/settings", responses=CHANGING)
def delete_own(
    console: Its, user: Writer, by: By, workspace_id: Id, expected: Expected, response: Response
) -> dict[str, Any]:
    """Take a workspace's own setting away; 409 while the admin setting is on."""
    return saved(console.settings.save_workspace(workspace_id, None, by, expected), response)
