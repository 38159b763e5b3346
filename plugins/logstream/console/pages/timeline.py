"""The newest windows over time, and what no run has exported: parts of several pages."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from logstream.console.access import Reader
from logstream.console.layout import Its, Text, answer_fresh, fresh, show
from logstream.settings.models import DESTINATION_NAME

GAPS = 100
"""Gaps that are listed one by one, the oldest."""

router = APIRouter(prefix="/parts", default_response_class=HTMLResponse)


@router.get("/timeline")
def timeline_part(request: Request, console: Its, user: Reader, destination: Text = "") -> Response:
    """The newest windows over time, of all destinations or of one; once shown, it fetches itself again."""
    chosen = destination if re.fullmatch(DESTINATION_NAME, destination) else None
    part = fresh(
        request, "parts/timeline.html", user, "parts/timeline", {"destination": destination}, name="timeline",
        label="Volume and lag", charts=console.standing.charts(chosen), destination=chosen or "", **_standing(console),
    )  # fmt: skip
    return answer_fresh(request, part)


@router.get("/gaps")
def gaps_part(request: Request, console: Its, user: Reader) -> Response:
    """Time that no run has exported, and what is owed to destinations that are gone; nothing where there is none."""
    return show(request, "parts/gaps.html", user, **_standing(console))


def _standing(console: Its) -> dict[str, Any]:
    return {"gaps": console.deliveries.gaps(), "most": GAPS, "removed": console.deliveries.removed()}
