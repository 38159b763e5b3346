"""The page of what people did to the streaming itself."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from logstream.console.access import Reader
from logstream.console.layout import PAGE, Its, MaybeId, Text, show

router = APIRouter()


@router.get("/activity")
def activity_page(request: Request, console: Its, user: Reader, before: MaybeId = None, subject: Text = "") -> Response:
    """Who did what, when and from where; from where is shown to those who may change the settings."""
    found = console.audit.newest(before, subject, PAGE)
    return show(
        request, "activity.html", user, tab="activity", found=found, subject=subject, page_size=PAGE,
        streamed=console.settings.current().settings.audit.stream,
    )  # fmt: skip
