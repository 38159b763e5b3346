"""What was delivered and what was not: deliveries, gaps, losses, dead letters; and delivering again."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query

from logstream.console import runs
from logstream.console.access import By, Reader, Writer, may_write
from logstream.console.api.contract import (
    CHANGING,
    Id,
    Its,
    SomeName,
    shown_reason,
)
from logstream.console.bounds import BIG
from logstream.console.requests import (
    Acknowledgement,
    BackfillRequest,
    Discarding,
    RedeliveryRequest,
    begin_backfill,
    begin_redelivery,
    delivery_filter,
    range_of,
)
from logstream.ledger.overview import DeliverySummary
from logstream.window import parse_time

router = APIRouter()


def _delivery(item: DeliverySummary, lag: timedelta | None, user: Any) -> dict[str, Any]:
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
        "lag_seconds": lag.total_seconds() if lag else None,
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
    customer: Annotated[str | None, Query(max_length=200, description="A workspace's id, external id or name.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> list[dict[str, Any]]:
    """What happened, newest first: per window and destination. What was exported on request, or again, has no lag."""
    wanted = delivery_filter(console, destination, state, start, end, before_id, customer)
    found = console.deliveries.newest(wanted, limit)
    lags = console.deliveries.lags(found)
    return [_delivery(item, lags.get(item.id), user) for item in found]


@router.get("/timeline")
def get_timeline(console: Its, destination: SomeName = None) -> list[dict[str, Any]]:
    """Volume, lag and what is missing of the newest windows, oldest first: the schedule's, and those exported on request."""
    return [
        {**moment.window.as_json(), "events": moment.events, "bytes": moment.bytes,
         "lag_seconds": moment.lag.total_seconds() if moment.lag else None, "open": moment.open, "owed": moment.owed,
         "lost_events": moment.lost, "requested": moment.requested}
        for moment in console.deliveries.timeline(destination)
    ]  # fmt: skip


@router.get("/gaps")
def get_gaps(console: Its) -> list[dict[str, str]]:
    """Time since streaming began that no run has exported, oldest first. Scheduled runs export it."""
    return [gap.as_json() for gap in console.deliveries.gaps()]


@router.get("/losses")
def get_losses(console: Its, destination: SomeName = None) -> list[dict[str, Any]]:
    """Events that no destination will get any more, because the log store has purged them; those not acknowledged yet."""
    return [{**loss.as_json(), "noted_at": loss.noted_at} for loss in console.deliveries.losses(destination)]


@router.post("/losses/acknowledge")
def acknowledge_losses(console: Its, user: Writer, by: By, wanted: Acknowledgement) -> dict[str, int]:
    """Take note of losses: they are no finding of `verify` any more. `events` says of how many."""
    seen = parse_time(wanted.seen, "seen")
    return {"events": console.deliveries.acknowledge_losses(by, wanted.destination, seen)}


@router.get("/rejected")
def get_rejected(
    console: Its, user: Reader, destination: SomeName = None, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> list[dict[str, Any]]:
    """The dead letters: events that were refused, and why, and in which request."""
    writer = may_write(user)
    return [
        {"delivery_id": row.delivery_id, "destination": row.destination, "window": row.window.as_json(), "event_id": row.event_id,
         "workspace_id": row.workspace_id, "kind": row.kind, "reason": shown_reason(row.reason, user),
         "request": row.request if writer else None,
         "rejected_at": row.rejected_at}
        for row in console.deliveries.rejected(destination, limit)
    ]  # fmt: skip


@router.get("/rejected/{delivery_id}/{event_id}", responses=CHANGING)
def get_rejected_event(
    console: Its, user: Writer, delivery_id: Id, event_id: Annotated[int, Path(ge=-BIG, le=BIG)]
) -> dict[str, Any]:
    """A dead letter's event as the log store holds it; null where it no longer does. It takes the right to change settings.

    `fault` is why what it holds is no event (an `occurred_at` that is no time, a text that is no JSON), null where it is one.
    """
    found = console.deliveries.content((delivery_id, event_id))
    held = None if found.payload is None else found.payload.decode("utf-8", "replace")
    return {"event": held, "fault": found.fault}


@router.post("/rejected/discard")
def discard(console: Its, user: Writer, by: By, wanted: Discarding) -> dict[str, int]:
    """Decide that dead letters are not to be delivered: they are neither listed nor sent again any more."""
    keys = [event.key for event in wanted.events]
    return {"events": console.deliveries.discard(keys, by, wanted.note)}


@router.post("/redeliveries", responses=CHANGING, status_code=202)
def redeliver(console: Its, user: Writer, by: By, wanted: RedeliveryRequest) -> dict[str, str]:
    """Start an Airflow run that delivers it; `run` is where to watch it."""
    return {"run": begin_redelivery(console, user, by, wanted)}


@router.post("/backfills", responses=CHANGING)
def backfill(console: Its, user: Writer, by: By, wanted: BackfillRequest) -> dict[str, Any]:
    """Export a historical range again, or for the first time: an Airflow backfill of the export DAG.

    It says how many `runs` there are, how many `windows` they export, how many of these are `new`, and which destinations are
    `reached` by the settings in force; windows that exist keep their bounds.
    """
    start, end = range_of(console, wanted.start, wanted.end, wanted.destinations)
    plan = runs.plan_backfill(start, end)
    found = console.backfills.outcome(plan.intervals, wanted.destinations) if plan.intervals else None
    answer: dict[str, Any] = {
        "runs": len(plan.intervals), "windows": found.windows if found else 0, "new": found.new if found else 0,
        "reached": found.reached if found else [], "backfill": None,
    }  # fmt: skip
    if not wanted.dry_run:
        answer["backfill"] = begin_backfill(
            console, user, by, start, end, wanted.destinations, found.within if found else 0
        )
    return answer
