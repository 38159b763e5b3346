"""How what a person has started ended: kept as an act of that person, like its beginning."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from logstream.control.audit import RUN, Act, Actor, AuditEvent, AuditTrail
from logstream.control.tables import deliveries
from logstream.database import database_errors
from logstream.errors import LogstreamError
from logstream.export.deployment import Deployment
from logstream.export.redeliver import Redelivery
from logstream.ledger.records import Delivery, State
from logstream.window import Window

log = logging.getLogger("logstream")

QUIET = timedelta(hours=1)
"""A backfill of which nothing more has come for so long is over: its DAG was paused, or it was cancelled."""


@contextmanager
def redelivery_ended(
    deployment: Deployment, by: Actor, destination: str | None, **detail: Any
) -> Iterator[dict[str, Any]]:
    """Keep the outcome of the redelivery that the block makes: what the block puts in, and that it broke off where it did.

    A receiver's own words are no part of it.
    """
    outcome: dict[str, Any] = {}
    try:
        yield outcome
    except BaseException as error:
        outcome["broke_off"] = type(error).__name__
        try:
            _keep(deployment, by, destination, {**detail, **outcome})
        except LogstreamError as unwritten:  # what broke it off (the same database, often) is what is to be told
            log.warning("It cannot be kept how the redelivery ended: %s", unwritten)
        raise
    _keep(deployment, by, destination, {**detail, **outcome})


def _keep(deployment: Deployment, by: Actor, destination: str | None, detail: dict[str, Any]) -> None:
    event = AuditEvent(Act.REDELIVERY_ENDED, by, destination or "", detail)
    stream = deployment.settings.current().settings.audit.stream
    AuditTrail(deployment.engine).record(event, stream=stream)


def owed_outcome(reports: Iterable[Delivery]) -> dict[str, int]:
    """Windows that were owed, those that still are, and events that arrived."""
    found = list(reports)
    failed = sum(1 for report in found if report.error)
    return {"delivered": len(found) - failed, "failed": failed, "events": sum(report.events for report in found)}


def rejected_outcome(results: Iterable[Redelivery]) -> dict[str, int]:
    """Dead letters that arrived, that were rejected again, that the log store no longer holds; destinations that failed."""
    found = list(results)
    return {
        "events": sum(result.delivered for result in found),
        "rejected_again": sum(result.rejected_again for result in found),
        "gone": sum(result.gone for result in found),
        "failed": sum(1 for result in found if result.error),
    }


def note_ended_backfills(deployment: Deployment) -> int:
    """Keep how backfills ended that have been exported since; return how many did.

    Airflow lets no task look at a backfill, so the ledger tells: a backfill is over when each of its windows was planned after
    it began and nothing of them is under way, or after an hour in which nothing more came of it.
    """
    trail, noted = AuditTrail(deployment.engine), 0
    for begun in trail.open_backfills():
        outcome = _backfill_outcome(deployment, begun)
        if outcome is None:
            continue
        detail = {"backfill": begun.detail["backfill"], **outcome}
        event = AuditEvent(Act.BACKFILL_ENDED, Actor(begun.actor.name, RUN), begun.subject, detail)
        noted += trail.end_backfill(begun, event, stream=deployment.settings.current().settings.audit.stream)
    return noted


def _backfill_outcome(deployment: Deployment, begun: AuditEvent) -> dict[str, int] | None:
    """Windows that were delivered, that failed, and of which nothing has come; `None` while it goes on."""
    since, wanted = begun.happened_at, begun.detail
    span = Window(datetime.fromisoformat(wanted["start"]), datetime.fromisoformat(wanted["end"]))
    theirs = select(deliveries).where(
        deliveries.c.window_start >= span.start, deliveries.c.window_end <= span.end, deliveries.c.planned_at >= since
    )
    if wanted.get("destinations"):
        theirs = theirs.where(deliveries.c.destination.in_(wanted["destinations"]))
    of = theirs.subquery()
    states = (
        select(
            func.bool_or(of.c.state == State.PLANNED).label("under_way"),
            func.bool_and(of.c.state == State.DELIVERED).label("delivered"),
            func.max(func.greatest(of.c.planned_at, of.c.sealed_at)).label("newest"),
        )
        .group_by(of.c.window_start, of.c.window_end)
        .subquery()
    )
    query = select(
        func.count().filter(states.c.delivered).label("delivered"),
        func.count().filter(~states.c.delivered & ~states.c.under_way).label("failed"),
        func.count().filter(states.c.under_way).label("under_way"),
        func.max(states.c.newest).label("newest"),
        func.clock_timestamp().label("now"),
    )
    with database_errors("reading the ledger"), deployment.engine.connect() as connection:
        row = connection.execute(query).one()
    missing = max(int(wanted.get("windows", 0)) - row.delivered - row.failed, 0)
    quiet = row.now - max(filter(None, (row.newest, since))) > QUIET
    if (row.under_way or missing) and not quiet:
        return None
    return {"delivered": row.delivered, "failed": row.failed, "missing": missing}
