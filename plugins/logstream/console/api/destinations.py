"""Destinations: their types and options, tests, suspension; and the test of the log store."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from logstream.console.access import By, Reader, Writer
from logstream.console.api.contract import (
    CHANGING,
    Document,
    Expected,
    Its,
    Name,
    etag,
    saved,
    schema_of,
    shown_reason,
)
from logstream.destinations.base import Step
from logstream.destinations.registry import types_as_json
from logstream.errors import NotThere
from logstream.ledger.condition import DestinationStatus
from logstream.ledger.health import HealingPolicy

router = APIRouter()


def _status(status: DestinationStatus, user: Any) -> dict[str, Any]:
    policy = HealingPolicy.from_environment()
    ready = status.ready_in(policy.owed_per_run, policy.gaps_per_run)
    return {
        "name": status.name,
        "condition": status.condition,
        "well": status.is_well,
        "error": shown_reason(status.why, user),
        "remedy": status.condition.remedy,
        "check_error": shown_reason(status.check_error, user),
        "rejected_share": status.rejected_share,
        "lost_events": status.lost,
        "lag_seconds": status.lag.total_seconds() if status.lag else 0.0,
        "suspended_at": status.health.suspended_at,
        "delivered_until": status.delivered_until,
        "owed_windows": status.owed,
        "owed_since": status.owed_since,
        "ready_in_seconds": ready.total_seconds() if ready else None,
    }


@router.get("/destination-types")
def get_types() -> list[dict[str, Any]]:
    """The types of destinations that are installed, each with the JSON schema of its options."""
    return types_as_json()


@router.get("/destinations")
def get_destinations(console: Its, user: Reader, response: Response) -> list[dict[str, Any]]:
    """All destinations with their options, and how they stand."""
    snapshot = console.settings.current()
    response.headers["ETag"] = etag(snapshot)
    found = snapshot.settings.destinations
    return [
        {**_status(status, user), "type": found[status.name].type, "options": found[status.name].options}
        for status in console.destinations.statuses()
        if status.name in found
    ]


@router.put("/destinations/{name}", responses=CHANGING, openapi_extra=schema_of("DestinationSettings"))
def put_destination(
    console: Its, user: Writer, by: By, name: Name, destination: Document, expected: Expected, response: Response
) -> dict[str, Any]:
    """Add or replace a destination: its type, and that type's options."""
    return saved(console.settings.save_destination(name, destination, by, expected), response)


@router.delete("/destinations/{name}", responses=CHANGING)
def delete_destination(
    console: Its, user: Writer, by: By, name: Name, expected: Expected, response: Response
) -> dict[str, Any]:
    """Take a destination away that no setting names any more."""
    return saved(console.settings.save_destination(name, None, by, expected), response)


def _steps(steps: list[Step]) -> dict[str, Any]:
    rows = [{"name": step.name, "ok": step.ok, "detail": step.detail, "remedy": step.remedy} for step in steps]
    return {"ok": bool(steps) and all(step.ok for step in steps), "steps": rows}


@router.get("/log-store")
def check_log_store(console: Its, user: Writer) -> dict[str, Any]:
    """Whether the log store is what it must be: columns, types, NULLs, indexes, who closes windows. Reads only."""
    return _steps(console.settings.check_log_store())


@router.post("/destinations/{name}/check", responses=CHANGING)
def check_saved(console: Its, user: Writer, by: By, name: Name) -> dict[str, Any]:
    """Try a destination out, step by step. What is written for it is removed again where the vendor allows."""
    found = console.settings.current().settings.destinations
    if name not in found:
        raise NotThere(f'no destination named "{name}"')
    return _steps(console.destinations.check(name, {"type": found[name].type, **found[name].options}, by))


@router.post("/check", openapi_extra=schema_of("DestinationSettings"))
def check_unsaved(console: Its, user: Writer, by: By, destination: Document) -> dict[str, Any]:
    """Try a destination out that is not saved."""
    return _steps(console.destinations.check("unsaved", destination, by))


@router.post("/destinations/{name}/suspend", responses=CHANGING, status_code=204)
def suspend(console: Its, user: Writer, by: By, name: Name) -> None:
    """Hold a destination: nothing more is sent there; what it would have got is owed to it until it is resumed."""
    console.destinations.hold(name, by)


@router.post("/destinations/{name}/resume", responses=CHANGING, status_code=204)
def resume(console: Its, user: Writer, by: By, name: Name) -> None:
    """Take a destination back into service: the next run delivers what it is owed, oldest first."""
    console.destinations.resume(name, by)
