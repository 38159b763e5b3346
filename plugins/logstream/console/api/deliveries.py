"""What was delivered and what was not: deliveries, gaps, losses, dead letters; and delivering again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from logstream.console import runs
from logstream.console.access import Reader, Writer, may_start_runs, name_of
from logstream.console.api.contract import (
    BIG,
    CHANGING,
    Its,
    SomeName,
    shown_reason,
)
from logstream.console.service import Console
from logstream.errors import InputError, NotThere
from logstream.ledger.overview import DeliveryFilter, DeliverySummary
from logstream.settings.models import DESTINATION_NAME
from logstream.window import Window, parse_time

router = APIRouter()


def _delivery(item: DeliverySummary, user: Any) -> dict[str, Any]:
    return {
        "id": item.id,
        "destination": item.destination,
        "window": item.window.as_json(),
        "state": item.state,
        "events": {"planned": item.planned, "delivered": item.delivered, "rejected": item.rejected, "lost": item.lost},
        "bytes": item.bytes,
        "requests": item.requests,
        "generation": item.generation,
        "sealed_at": item.sealed_at,
        "lag_seconds": item.lag.total_seconds() if item.lag else None,
        "seconds": item.seconds,
        "error": shown_reason(item.error, user),
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
         "workspace_id": row.workspace_id, "kind": row.kind, "reason": shown_reason(row.reason, user), "request": row.request,
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
