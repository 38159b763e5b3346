"""The pages of deliveries, of what is lost, and of dead letters."""

from __future__ import annotations

import re

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from logstream.console import runs
from logstream.console.access import By, Reader, Writer
from logstream.console.done import done_text, run_path
from logstream.console.layout import PAGE, Its, MaybeId, Sent, Text, back, one, show, with_utc
from logstream.console.problems import problem_of
from logstream.console.requests import RedeliveryRequest, begin_redelivery, delivery_filter
from logstream.errors import InputError, NotThere
from logstream.ledger.overview import DeliveryFilter
from logstream.settings.models import DESTINATION_NAME
from logstream.window import parse_time

DEAD_LETTERS = 200
"""Dead letters that are shown at a time."""

LOSSES = 100
"""Losses that are listed one by one, the oldest."""

router = APIRouter()


@router.get("/deliveries")
def deliveries_page(
    request: Request, console: Its, user: Reader, destination: Text = "", state: Text = "", start: Text = "", end: Text = "",
    before: MaybeId = None, done: Text = "", name: Text = "", run: Text = "",
) -> Response:  # fmt: skip
    """What happened, newest first."""
    names = console.settings.current().settings.destinations
    # the ledger knows destinations that the settings no longer have
    chosen = destination if re.fullmatch(DESTINATION_NAME, destination) else None
    problem = None
    try:
        wanted = delivery_filter(console, chosen, state, with_utc(start), with_utc(end), before)
    except InputError as error:
        wanted, problem = DeliveryFilter(destination=chosen), problem_of(error)
    found = console.deliveries.newest(wanted, PAGE)
    return show(
        request, "deliveries.html", user, problem.status if problem else 200, tab="deliveries", found=found, state=state,
        links=runs.links((item.window, item.destination) for item in found), destination=destination, start=start, end=end,
        removed=chosen is not None and chosen not in names,
        names=sorted(names), more=len(found) == PAGE, problem=problem, done=done_text(done, name),
        run=run_path(run), losses=console.deliveries.losses(chosen), most=LOSSES,
    )  # fmt: skip


@router.post("/deliveries")
def act_on_deliveries(request: Request, console: Its, user: Writer, by: By, form: Sent) -> Response:
    """Deliver again what is owed of one window."""
    name = one(form, "destination")
    if name not in console.settings.current().settings.destinations:
        raise NotThere("the settings no longer have this destination")
    run = begin_redelivery(
        console, user, by, RedeliveryRequest(destination=name, start=one(form, "start")[:40], end=one(form, "end")[:40])
    )
    return back(request, "deliveries", done="window", name=name, run=run)


@router.post("/losses")
def acknowledge_losses(request: Request, console: Its, user: Writer, by: By, form: Sent) -> Response:
    """Take note of what is lost, as far as the page has shown it."""
    name = one(form, "destination")
    if name and re.fullmatch(DESTINATION_NAME, name) is None:
        raise HTTPException(422, "The form names no destination.")
    console.deliveries.acknowledge_losses(by, name, parse_time(one(form, "seen")[:40], "seen"))
    return back(request, "deliveries", done="noted", **({"destination": name} if name else {}))


@router.get("/dead-letters")
def dead_letters_page(
    request: Request, console: Its, user: Reader, destination: Text = "", done: Text = "", run: Text = ""
) -> Response:
    """Events that were refused, and why."""
    names = console.settings.current().settings.destinations
    chosen = destination if re.fullmatch(DESTINATION_NAME, destination) else None
    found = console.deliveries.rejected(chosen, DEAD_LETTERS)
    return show(
        request, "dead_letters.html", user, tab="dead-letters", found=found, destination=destination, names=sorted(names),
        done=done_text(done, ""), run=run_path(run), limit=DEAD_LETTERS,
    )  # fmt: skip


@router.post("/dead-letters")
def redeliver_dead_letters(request: Request, console: Its, user: Writer, by: By, form: Sent) -> Response:
    """Send dead letters again."""
    name = one(form, "destination")
    known = console.settings.current().settings.destinations
    run = begin_redelivery(
        console, user, by, RedeliveryRequest(destination=name if name in known else None, rejected=True)
    )
    return back(request, "dead-letters", done="again", run=run)
