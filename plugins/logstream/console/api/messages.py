"""Messages: previews and samples."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException

from logstream.console.access import Reader, may_write
from logstream.console.api.contract import (
    Its,
)
from logstream.console.requests import PreviewRequest
from logstream.events import Kind
from logstream.shapes.samples import sample_event

router = APIRouter()


@router.post("/preview")
def preview(console: Its, user: Reader, wanted: PreviewRequest) -> dict[str, Any]:
    """Render one event as an export would."""
    if wanted.newest and not may_write(user):
        raise HTTPException(403, "Real events are only shown to those who may change the settings.")
    setting = {"message": wanted.message, "mask": wanted.mask, "events": wanted.events}
    found = console.messages.preview(setting, wanted.kind, newest=wanted.newest, event=wanted.event)
    return {"message": found.message, "error": found.error, "line": found.line, "column": found.column}


@router.get("/samples/{kind}")
def get_sample(kind: Kind) -> dict[str, Any]:
    """The sample event of a kind."""
    return sample_event(kind)
