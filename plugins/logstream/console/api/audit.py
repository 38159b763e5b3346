"""What people did to the streaming itself."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from logstream.console.access import Reader, may_write
from logstream.console.api.contract import Its
from logstream.console.bounds import BIG

router = APIRouter()


@router.get("/audit-events")
def get_audit_events(
    console: Its,
    user: Reader,
    subject: Annotated[str, Query(max_length=200, description="Those on one destination or connection.")] = "",
    before: Annotated[int | None, Query(ge=0, le=BIG, description="The id of the last one that was shown.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> list[dict[str, Any]]:
    """Who did what, newest first; from where is told to those who may change the settings."""
    writer = may_write(user)
    return [
        {"id": event.id, "happened_at": event.happened_at, "act": event.act, "actor": event.actor.name,
         "source": event.actor.source if writer else None, "subject": event.subject, "detail": event.detail}
        for event in console.audit.newest(before, subject, limit)
    ]  # fmt: skip
