"""Backfills: what one would do, and starting it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from logstream.console import runs
from logstream.console.access import By, Writer
from logstream.console.forms import lines_of
from logstream.console.layout import Its, Sent, one, show, with_utc
from logstream.console.problems import problem_of
from logstream.console.requests import MOST_NAMED, BackfillRequest, begin_backfill, range_of
from logstream.console.service.backfills import MOST_NAMES
from logstream.errors import LogstreamError

router = APIRouter(prefix="/parts", default_response_class=HTMLResponse)


@router.post("/backfill")
def backfill_part(request: Request, console: Its, user: Writer, by: By, form: Sent) -> Response:
    """What a backfill would do; or start it."""
    known = console.settings.current().settings.destinations
    chosen = list(dict.fromkeys(lines_of(form.get("destinations", ()))))
    if unknown := [name for name in chosen if name not in known]:
        return show(request, "parts/backfill.html", user, mistake=f'no destination named "{unknown[0]}"')
    if len(chosen) > MOST_NAMED:
        return show(
            request, "parts/backfill.html", user, mistake=f"name {MOST_NAMED:,} destinations at most, or none for all"
        )
    wanted = BackfillRequest(
        start=with_utc(one(form, "start"))[:40], end=with_utc(one(form, "end"))[:40], destinations=chosen
    )
    begun, outcome = None, None
    try:
        start, end = range_of(console, wanted.start, wanted.end, wanted.destinations)
        plan = runs.plan_backfill(start, end)
        if plan.intervals:
            outcome = console.backfills.outcome(plan.intervals, chosen)
        if one(form, "do") == "start":
            begun = begin_backfill(console, user, by, start, end, wanted.destinations, outcome.within if outcome else 0)
    except LogstreamError as error:
        return show(request, "parts/backfill.html", user, mistake=problem_of(error).detail)
    answer = show(
        request, "parts/backfill.html", user, plan=plan, begun=begun, outcome=outcome, only=chosen, most=MOST_NAMES,
        dag=runs.EXPORT_DAG,
    )  # fmt: skip
    if begun:
        answer.headers["HX-Trigger"] = "begun"
    return answer
