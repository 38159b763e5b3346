"""The first page: is everything well, and what needs a person."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from logstream.console.access import Reader
from logstream.console.layout import Fresh, Its, answer_fresh, fresh, show
from logstream.console.service import Console
from logstream.ledger.condition import Condition

PROBLEMS = 20
"""So many are listed, the most urgent."""

router = APIRouter()


@router.get("/")
def overview_page(request: Request, console: Its, user: Reader) -> Response:
    """Is everything well, what needs a person, and what the newest windows carried."""
    return show(request, "overview.html", user, tab="overview", fresh=_part(request, console, user).html)


@router.get("/parts/overview")
def overview_part(request: Request, console: Its, user: Reader) -> Response:
    """The same for a page that is open."""
    return answer_fresh(request, _part(request, console, user))


def _part(request: Request, console: Console, user: Any) -> Fresh:
    status = console.standing.status()
    return fresh(
        request, "parts/overview.html", user, "parts/overview", {}, standing=status, shown=PROBLEMS,
        standings={one.name: one for one in status.destinations}, charts=console.standing.charts(),
        known=console.settings.current().settings.destinations.keys(),
        newest=max((one.delivered_until for one in status.destinations if one.delivered_until), default=None),
        oldest=min((at for one in status.destinations for at in (one.owed_since, one.gaps.since) if at), default=None),
        catching_up=Condition.CATCHING_UP in status.counts,
    )  # fmt: skip
