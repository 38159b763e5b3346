"""Messages: previews and samples."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from logstream.console.access import Reader, may_write
from logstream.console.api.contract import (
    Its,
)
from logstream.events import Kind
from logstream.settings.models import Message
from logstream.shapes.samples import sample_event

router = APIRouter()


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
