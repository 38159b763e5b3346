"""The REST API: everything that the pages do, with the same validation, for tools.

Reading settings gives an `ETag`; changing them takes it back as `If-Match`, so that nobody overwrites what they have not
seen: 428 without it, 409 with what has changed meanwhile.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Header, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from logstream.console import runs
from logstream.console.access import Reader, Writer, may_start_runs, may_write, name_of, reader
from logstream.console.problems import change_as_json
from logstream.console.service import SORTS, Console, Customer
from logstream.console.wiring import the_console
from logstream.destinations import destination_types
from logstream.destinations.base import Step
from logstream.errors import InputError, NotThere
from logstream.events import Kind
from logstream.ledger.condition import Condition, DestinationStatus
from logstream.ledger.overview import DeliveryFilter, DeliverySummary
from logstream.settings.document import parse_yaml
from logstream.settings.models import DESTINATION_NAME, Message
from logstream.settings.repository import Snapshot
from logstream.shapes.samples import sample_event
from logstream.window import Window, parse_time

BIG = 2**63 - 1
Id = Annotated[int, Path(ge=0, le=BIG)]
Name = Annotated[str, Path(pattern=DESTINATION_NAME)]
SomeName = Annotated[str | None, Query(pattern=DESTINATION_NAME)]
Document = Annotated[dict[str, Any], Body()]
Its = Annotated[Console, Depends(the_console)]

REFUSED: dict[int | str, dict[str, Any]] = {
    401: {"description": "Nobody is logged in."},
    403: {"description": "You may not, or the request was made by another site."},
    422: {"description": "What was sent cannot be used; `problems` name the paths."},
    503: {"description": "A database cannot be reached."},
}
CHANGING: dict[int | str, dict[str, Any]] = {
    404: {"description": "There is no such thing."},
    409: {"description": "Somebody else has changed the settings meanwhile, or the admin setting locks this one."},
    428: {"description": "`If-Match` is missing."},
}

PREFIX = "/api/v1"

router = APIRouter(prefix=PREFIX, dependencies=[Depends(reader)], responses=REFUSED)


def schema_of(name: str, content_type: str = "application/json") -> dict[str, Any]:
    """A request body by the name of its schema in the document."""
    body = {"schema": {"$ref": f"#/components/schemas/{name}"}}
    return {"requestBody": {"required": True, "content": {content_type: body}}}


def etag(snapshot: Snapshot) -> str:
    """A version of the settings as an entity tag."""
    return f'"{snapshot.id}"'


def expected_version(if_match: Annotated[str | None, Header()] = None) -> int | None:
    """The version that `If-Match` names; `*` for whichever is in force. Raises 428 without it."""
    if if_match is None:
        raise HTTPException(428, "Send If-Match with the ETag of the settings that you have read (or *).")
    if if_match.strip() == "*":
        return None
    found = re.fullmatch(r'\s*(?:W/)?"?([0-9]{1,18})"?\s*', if_match)
    if found is None:
        raise HTTPException(422, "If-Match is no ETag of these settings.")
    return int(found[1])


Expected = Annotated[int | None, Depends(expected_version)]


def _saved(snapshot: Snapshot, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = etag(snapshot)
    return {"version": snapshot.id, "created_at": snapshot.created_at, "author": snapshot.author}


# settings


@router.get("/settings")
def get_settings(console: Its, response: Response) -> dict[str, Any]:
    """All settings, as `settings.yaml` has them."""
    snapshot = console.current()
    response.headers["ETag"] = etag(snapshot)
    return snapshot.settings.as_document()


@router.put("/settings", responses=CHANGING, openapi_extra=schema_of("Settings"))
def put_settings(
    console: Its, user: Writer, document: Document, expected: Expected, response: Response
) -> dict[str, Any]:
    """Replace all settings."""
    return _saved(console.save(document, name_of(user), expected), response)


@router.get("/settings.yaml", response_class=Response)
def get_yaml(console: Its) -> Response:
    """All settings as a file that `logstream settings apply` takes."""
    snapshot = console.current()
    return Response(
        console.as_yaml(),
        media_type="application/yaml",
        headers={"ETag": etag(snapshot), "Content-Disposition": 'attachment; filename="settings.yaml"'},
    )


async def _text_body(request: Request) -> str:
    try:
        return (await request.body()).decode("utf-8")
    except UnicodeDecodeError as error:
        raise HTTPException(422, f"not UTF-8 text (byte {error.start})") from None


@router.put("/settings.yaml", responses=CHANGING, openapi_extra=schema_of("YAML", "application/yaml"))
def put_yaml(
    console: Its, user: Writer, text: Annotated[str, Depends(_text_body)], expected: Expected, response: Response
) -> dict[str, Any]:
    """Replace all settings by a file (one without `message_file`: there are no files beside it here)."""
    return _saved(console.save(parse_yaml(text), name_of(user), expected), response)


@router.get("/settings/admin")
def get_admin(console: Its, response: Response) -> dict[str, Any] | None:
    """The admin's setting, null if there is none."""
    response.headers["ETag"] = etag(console.current())
    found: dict[str, Any] | None = console.document().get("admin")
    return found


@router.put("/settings/admin", responses=CHANGING, openapi_extra=schema_of("Streaming"))
def put_admin(
    console: Its, user: Writer, streaming: Document, expected: Expected, response: Response
) -> dict[str, Any]:
    """Replace the admin's setting. While it is enabled it applies to every workspace."""
    return _saved(console.save_admin(streaming, name_of(user), expected), response)


@router.delete("/settings/admin", responses=CHANGING)
def delete_admin(console: Its, user: Writer, expected: Expected, response: Response) -> dict[str, Any]:
    """Take the admin's setting away: each workspace's own applies."""
    return _saved(console.save_admin(None, name_of(user), expected), response)


@router.get("/versions")
def get_versions(
    console: Its,
    before: Annotated[int | None, Query(ge=0, le=BIG)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> list[dict[str, Any]]:
    """Who changed the settings and when, newest first."""
    found = console.versions(before, limit)
    return [{"version": item.id, "created_at": item.created_at, "author": item.author} for item in found]


@router.get("/versions/{version}", responses=CHANGING)
def get_version(console: Its, version: Id) -> dict[str, Any]:
    """The settings as they were."""
    return console.snapshot(version).settings.as_document()


@router.get("/versions/{version}/changes", responses=CHANGING)
def get_changes(console: Its, version: Id) -> list[dict[str, Any]]:
    """What a version changed."""
    return [change_as_json(change) for change in console.changes_of(version)]


@router.post("/versions/{version}/restore", responses=CHANGING)
def restore(console: Its, user: Writer, version: Id, expected: Expected, response: Response) -> dict[str, Any]:
    """Put an earlier version in force again."""
    return _saved(console.restore(version, name_of(user), expected), response)


# workspaces


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
    page = console.customers(query, sort, descending=descending, offset=offset, limit=limit, condition=condition or "")
    return {"total": page.total, "workspaces": [_customer(customer) for customer in page.customers]}


@router.get("/workspaces/{workspace_id}", responses=CHANGING)
def get_workspace(console: Its, workspace_id: Id) -> dict[str, Any]:
    """One workspace with its route."""
    return _customer(console.customer(workspace_id))


@router.get("/workspaces/{workspace_id}/settings", responses=CHANGING)
def get_own(console: Its, workspace_id: Id, response: Response) -> dict[str, Any] | None:
    """A workspace's own setting, null if it has none."""
    snapshot = console.current()
    response.headers["ETag"] = etag(snapshot)
    found = snapshot.settings.own.get(workspace_id)
    return found.model_dump(mode="json", exclude_unset=True) if found else None


@router.put("/workspaces/{workspace_id}/settings", responses=CHANGING, openapi_extra=schema_of("Streaming"))
def put_own(
    console: Its, user: Writer, workspace_id: Id, streaming: Document, expected: Expected, response: Response
) -> dict[str, Any]:
    """Replace a workspace's own setting; 409 while the admin setting is on."""
    return _saved(console.save_workspace(workspace_id, streaming, name_of(user), expected), response)


@router.delete("/workspaces/{workspace_id}/settings", responses=CHANGING)
def delete_own(console: Its, user: Writer, workspace_id: Id, expected: Expected, response: Response) -> dict[str, Any]:
    """Take a workspace's own setting away; 409 while the admin setting is on."""
    return _saved(console.save_workspace(workspace_id, None, name_of(user), expected), response)


# destinations


def _reason(text: str | None, user: Any) -> str | None:
    """What a receiver answered, word for word, is for those who may change the settings: it may hold anything."""
    return text if text is None or may_write(user) else "not shown: that takes the right to change the settings"


def _status(status: DestinationStatus, user: Any) -> dict[str, Any]:
    return {
        "name": status.name,
        "condition": status.condition,
        "well": status.is_well,
        "error": _reason(status.health.error or status.error, user),
        "remedy": status.condition.remedy,
        "rejected_share": status.rejected_share,
        "lost_events": status.lost,
        "lag_seconds": status.lag.total_seconds() if status.lag else 0.0,
        "suspended_at": status.health.suspended_at,
        "delivered_until": status.delivered_until,
        "owed_windows": status.owed,
        "owed_since": status.owed_since,
    }


@router.get("/destination-types")
def get_types() -> list[dict[str, Any]]:
    """The types of destinations that are installed, each with the JSON schema of its options."""
    return [
        {"type": name, "title": kind.title, "connection_type": kind.connection_type,
         "options": kind.options_model.model_json_schema()}
        for name, kind in destination_types().items()
    ]  # fmt: skip


@router.get("/destinations")
def get_destinations(console: Its, user: Reader, response: Response) -> list[dict[str, Any]]:
    """All destinations with their options, and how they stand."""
    snapshot = console.current()
    response.headers["ETag"] = etag(snapshot)
    found = snapshot.settings.destinations
    return [
        {**_status(status, user), "type": found[status.name].type, "options": found[status.name].options}
        for status in console.statuses()
        if status.name in found
    ]


@router.put("/destinations/{name}", responses=CHANGING, openapi_extra=schema_of("DestinationSettings"))
def put_destination(
    console: Its, user: Writer, name: Name, destination: Document, expected: Expected, response: Response
) -> dict[str, Any]:
    """Add or replace a destination: its type, and that type's options."""
    return _saved(console.save_destination(name, destination, name_of(user), expected), response)


@router.delete("/destinations/{name}", responses=CHANGING)
def delete_destination(
    console: Its, user: Writer, name: Name, expected: Expected, response: Response
) -> dict[str, Any]:
    """Take a destination away that no setting names any more."""
    return _saved(console.save_destination(name, None, name_of(user), expected), response)


def _steps(steps: list[Step]) -> dict[str, Any]:
    rows = [{"name": step.name, "ok": step.ok, "detail": step.detail, "remedy": step.remedy} for step in steps]
    return {"ok": bool(steps) and all(step.ok for step in steps), "steps": rows}


@router.get("/log-store")
def check_log_store(console: Its, user: Writer) -> dict[str, Any]:
    """Whether the log store is what it must be: columns, types, NULLs, indexes, who closes windows. Reads only."""
    return _steps(console.check_log_store())


@router.post("/destinations/{name}/check", responses=CHANGING)
def check_saved(console: Its, user: Writer, name: Name) -> dict[str, Any]:
    """Try a destination out, step by step. What is written for it is removed again where the vendor allows."""
    found = console.current().settings.destinations
    if name not in found:
        raise NotThere(f'no destination named "{name}"')
    return _steps(console.check(name, {"type": found[name].type, **found[name].options}))


@router.post("/check", openapi_extra=schema_of("DestinationSettings"))
def check_unsaved(console: Its, user: Writer, destination: Document) -> dict[str, Any]:
    """Try a destination out that is not saved."""
    return _steps(console.check("unsaved", destination))


@router.post("/destinations/{name}/suspend", responses=CHANGING, status_code=204)
def suspend(console: Its, user: Writer, name: Name) -> None:
    """Send nothing more to a destination; what it would have got is owed to it until it is resumed."""
    console.suspend(name, name_of(user))


@router.post("/destinations/{name}/resume", responses=CHANGING, status_code=204)
def resume(console: Its, user: Writer, name: Name) -> None:
    """Take a destination back into service: the next run delivers what it is owed, oldest first."""
    console.resume(name)


# messages


class PreviewRequest(BaseModel):
    """What to render: a message template, or one for each kind (null: the event itself), and an event of a kind (a sample)."""

    model_config = ConfigDict(extra="forbid")

    message: Message | None = None
    mask: list[str] = Field([], max_length=50)
    kind: Kind = Kind.JOB
    events: list[str] = Field(["job_details"], max_length=10)
    event: dict[str, Any] | None = None
    newest: bool = Field(False, description="Render the newest real event of the kind; takes the right to write.")


@router.post("/preview")
def preview(console: Its, user: Reader, wanted: PreviewRequest) -> dict[str, Any]:
    """Render one event as an export would."""
    if wanted.newest and not may_write(user):
        raise HTTPException(403, "Real events are only shown to those who may change the settings.")
    setting = {"message": wanted.message, "mask": wanted.mask, "events": wanted.events}
    found = console.preview(setting, wanted.kind, newest=wanted.newest, event=wanted.event)
    return {"message": found.message, "error": found.error, "line": found.line, "column": found.column}


@router.get("/samples/{kind}")
def get_sample(kind: Kind) -> dict[str, Any]:
    """The sample event of a kind."""
    return sample_event(kind)


# deliveries


def _delivery(item: DeliverySummary, user: Any) -> dict[str, Any]:
    return {
        "id": item.id,
        "destination": item.destination,
        "window": item.window.as_json(),
        "state": item.state,
        "events": {"planned": item.planned, "delivered": item.delivered, "rejected": item.rejected},
        "bytes": item.bytes,
        "requests": item.requests,
        "generation": item.generation,
        "sealed_at": item.sealed_at,
        "lag_seconds": item.lag.total_seconds() if item.lag else None,
        "seconds": item.seconds,
        "error": _reason(item.error, user),
    }


@router.get("/deliveries")
def get_deliveries(
    console: Its,
    user: Reader,
    destination: SomeName = None,
    state: Annotated[Literal["planned", "delivered", "failed", "owed"] | None, Query()] = None,
    start: Annotated[str | None, Query(max_length=40)] = None,
    end: Annotated[str | None, Query(max_length=40)] = None,
    before_id: Annotated[int | None, Query(ge=0, le=BIG, description="The id of the last one that was shown.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> list[dict[str, Any]]:
    """What happened, newest first: per window and destination."""
    wanted = delivery_filter(console, destination, state, start, end, before_id)
    return [_delivery(item, user) for item in console.deliveries(wanted, limit)]


def delivery_filter(
    console: Console,
    destination: str | None,
    state: str | None,
    start: str | None,
    end: str | None,
    before_id: int | None,
) -> DeliveryFilter:
    """A filter from what a browser or a tool sends. Raises `InputError` for times that are none."""
    last = console.overview.delivery(before_id) if before_id is not None else None
    return DeliveryFilter(
        destination or None,
        state or None,
        parse_time(start, "start") if start else None,
        parse_time(end, "end") if end else None,
        (last.window.start, last.id) if last else None,
    )


@router.get("/timeline")
def get_timeline(console: Its, destination: SomeName = None) -> list[dict[str, Any]]:
    """Volume and lag of the newest windows, oldest first."""
    return [
        {"start": moment.start, "events": moment.events, "bytes": moment.bytes,
         "lag_seconds": moment.lag.total_seconds() if moment.lag else None, "open": moment.open}
        for moment in console.timeline(destination)
    ]  # fmt: skip


@router.get("/gaps")
def get_gaps(console: Its) -> list[dict[str, str]]:
    """Time since streaming began that no run has exported, oldest first. Scheduled runs export it."""
    return [gap.as_json() for gap in console.gaps()]


@router.get("/losses")
def get_losses(console: Its, destination: SomeName = None) -> list[dict[str, Any]]:
    """Events that no destination will get any more, because the log store has purged them; those not acknowledged yet."""
    return [{**loss.as_json(), "noted_at": loss.noted_at} for loss in console.losses(destination)]


class Acknowledgement(BaseModel):
    """Which losses a person takes note of: those noted by `seen` (ISO 8601), of one destination or of all."""

    model_config = ConfigDict(extra="forbid")

    seen: str = Field(max_length=40)
    destination: str | None = Field(None, pattern=DESTINATION_NAME)


@router.post("/losses/acknowledge")
def acknowledge_losses(console: Its, user: Writer, wanted: Acknowledgement) -> dict[str, int]:
    """Take note of losses: they are no finding of `verify` any more. `events` says of how many."""
    seen = parse_time(wanted.seen, "seen")
    return {"events": console.acknowledge_losses(name_of(user), wanted.destination, seen)}


@router.get("/rejected")
def get_rejected(
    console: Its, user: Reader, destination: SomeName = None, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> list[dict[str, Any]]:
    """The dead letters: events that were refused, and why."""
    return [
        {"destination": row.destination, "window": row.window.as_json(), "event_id": row.event_id,
         "workspace_id": row.workspace_id, "kind": row.kind, "reason": _reason(row.reason, user), "request": row.request,
         "rejected_at": row.rejected_at}
        for row in console.rejected(destination, limit)
    ]  # fmt: skip


class RedeliveryRequest(BaseModel):
    """What to deliver: what is owed (of one window if given), or the dead letters; to one destination or to all."""

    model_config = ConfigDict(extra="forbid")

    destination: str | None = Field(None, pattern=DESTINATION_NAME)
    start: str | None = Field(None, max_length=40)
    end: str | None = Field(None, max_length=40)
    rejected: bool = False


@router.post("/redeliveries", responses=CHANGING, status_code=202)
def redeliver(console: Its, user: Writer, wanted: RedeliveryRequest) -> dict[str, str]:
    """Start an Airflow run that delivers it; `run` is where to watch it."""
    return {"run": begin_redelivery(console, user, wanted)}


def begin_redelivery(console: Console, user: Any, wanted: RedeliveryRequest) -> str:
    """Start a run of the redelivery DAG. Raises `NotThere` for an unknown destination."""
    may_start(user)
    if wanted.destination and wanted.destination not in console.current().settings.destinations:
        raise NotThere(f'no destination named "{wanted.destination}"')
    conf: dict[str, Any] = {"destination": wanted.destination, "rejected": wanted.rejected}
    if wanted.start or wanted.end:
        window = Window(parse_time(wanted.start or "", "start"), parse_time(wanted.end or "", "end")).as_json()
        conf |= {"window_start": window["start"], "window_end": window["end"]}
    return runs.start_redelivery(conf, name_of(user))


def may_start(user: Any) -> None:
    """Raise 403 for a user who may not start runs of the export DAG."""
    if not may_start_runs(user):
        raise HTTPException(403, "You may not start runs of this DAG.")


class BackfillRequest(BaseModel):
    """A range, and the destinations it is for (all if none is named). With `dry_run` nothing is started."""

    model_config = ConfigDict(extra="forbid")

    start: str = Field(max_length=40)
    end: str = Field(max_length=40)
    destinations: list[Annotated[str, Field(pattern=DESTINATION_NAME)]] = Field([], max_length=1000)
    dry_run: bool = False


@router.post("/backfills", responses=CHANGING)
def backfill(console: Its, user: Writer, wanted: BackfillRequest) -> dict[str, Any]:
    """Export a historical range again, or for the first time: an Airflow backfill of the export DAG."""
    start, end = range_of(console, wanted.start, wanted.end, wanted.destinations)
    plan = runs.plan_backfill(start, end)
    answer: dict[str, Any] = {"windows": plan.windows, "backfill": None}
    if not wanted.dry_run:
        may_start(user)
        answer["backfill"] = runs.start_backfill(start, end, wanted.destinations, name_of(user))
    return answer


def range_of(console: Console, start: str, end: str, destinations: list[str]) -> tuple[datetime, datetime]:
    """The range of a backfill. Raises `InputError` for times that are none, `NotThere` for an unknown destination."""
    for name in destinations:
        if name not in console.current().settings.destinations:
            raise NotThere(f'no destination named "{name}"')
    span = Window(parse_time(start, "start"), parse_time(end, "end"))
    if span.end.year > 9990 or span.start.year < 1970:
        raise InputError("the range is not one in which there are events")
    return span.start, span.end
