"""The pages of deliveries, of what is lost, and of dead letters."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass, fields
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from fastapi.responses import HTMLResponse, Response

from logstream.console import runs
from logstream.console.access import By, Reader, Writer
from logstream.console.bounds import BIG
from logstream.console.done import done_text, run_path
from logstream.console.forms import Form
from logstream.console.layout import (
    PAGE,
    Fresh,
    Id,
    Its,
    MaybeId,
    Sent,
    Text,
    answer_fresh,
    back,
    fresh,
    one,
    show,
    with_utc,
)
from logstream.console.problems import Problem, problem_of
from logstream.console.requests import DeadLetter, RedeliveryRequest, begin_redelivery, delivery_filter
from logstream.console.service import Console
from logstream.errors import InputError, LogstreamError, NotThere
from logstream.jsontext import indented
from logstream.ledger.overview import DeliveryFilter
from logstream.settings.models import DESTINATION_NAME
from logstream.window import parse_time

DEAD_LETTERS = 200
"""Dead letters that are shown at a time."""

LOSSES = 100
"""Losses that are listed one by one, the oldest."""

EVENT_SIGNS = 50_000
"""So much of an event is shown."""

READABLE_DEPTH = 50
"""An event that is nested deeper is shown as it is: indented it would be mostly blanks."""

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person wants to see of the deliveries."""

    destination: Text = ""
    state: Text = ""
    customer: Text = ""
    start: Text = ""
    end: Text = ""
    before: MaybeId = None

    @property
    def chosen(self) -> str | None:
        """The destination, where it is a name: the ledger knows some that the settings no longer have."""
        return self.destination if re.fullmatch(DESTINATION_NAME, self.destination) else None

    def query(self) -> dict[str, object]:
        """As the address has it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


Wanted = Annotated[Asked, Depends()]


@router.get("/deliveries")
def deliveries_page(
    request: Request, console: Its, user: Reader, asked: Wanted, done: Text = "", name: Text = "", run: Text = ""
) -> Response:
    """What happened, newest first."""
    names = console.settings.current().settings.destinations
    part, problem = _part(request, console, user, asked)
    return show(
        request, "deliveries.html", user, problem.status if problem else 200, tab="deliveries", fresh=part.html, asked=asked,
        removed=asked.chosen is not None and asked.chosen not in names, names=sorted(names), problem=problem,
        done=done_text(done, name), run=run_path(run), losses=console.deliveries.losses(asked.chosen), most=LOSSES,
    )  # fmt: skip


@router.get("/parts/deliveries")
def deliveries_part(request: Request, console: Its, user: Reader, asked: Wanted) -> Response:
    """The same for a page that is open."""
    return answer_fresh(request, _part(request, console, user, asked)[0])


def _part(request: Request, console: Console, user: Any, asked: Asked) -> tuple[Fresh, Problem | None]:
    problem = None
    try:
        wanted = delivery_filter(
            console, asked.chosen, asked.state, with_utc(asked.start), with_utc(asked.end), asked.before, asked.customer
        )
    except InputError as error:
        wanted, problem = DeliveryFilter(destination=asked.chosen), problem_of(error)
    # what a filter that is none would show is not what was asked for
    found = [] if problem else console.deliveries.newest(wanted, PAGE)
    theirs = console.overview.events_of(wanted.workspace, [item.id for item in found]) if wanted.workspace else None
    part = fresh(
        request, "parts/deliveries.html", user, "parts/deliveries", asked.query(), found=found, asked=asked, theirs=theirs,
        unusable=problem is not None, lags=console.deliveries.lags(found),
        links=runs.links((item.window, item.destination) for item in found), more=len(found) == PAGE,
        backfill=runs.newest_backfill(),
    )  # fmt: skip
    return part, problem


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
    return _dead_letters(request, console, user, destination, done=done_text(done, ""), run=run_path(run))


def _dead_letters(
    request: Request, console: Console, user: Any, destination: str, *, problem: Problem | None = None, **shown: Any
) -> HTMLResponse:
    names = console.settings.current().settings.destinations
    chosen = destination if re.fullmatch(DESTINATION_NAME, destination) else None
    return show(
        request, "dead_letters.html", user, problem.status if problem else 200, tab="dead-letters", problem=problem,
        found=console.deliveries.rejected(chosen, DEAD_LETTERS), destination=destination, names=sorted(names),
        limit=DEAD_LETTERS, **shown,
    )  # fmt: skip


@router.post("/dead-letters")
def act_on_dead_letters(request: Request, console: Its, user: Writer, by: By, form: Sent) -> Response:
    """Send dead letters again, all or some, or discard some."""
    name, do = one(form, "destination"), one(form, "do")
    known = console.settings.current().settings.destinations
    chosen = name if name in known else None
    kept = {"destination": chosen} if chosen else {}
    try:
        if do == "all":
            run = begin_redelivery(console, user, by, RedeliveryRequest(destination=chosen, rejected=True))
            return back(request, "dead-letters", done="again", run=run, **kept)
        letters = chosen_letters(form)
        if do == "discard":
            console.deliveries.discard([letter.key for letter in letters], by, one(form, "note")[:500])
            return back(request, "dead-letters", done="discarded", **kept)
        run = begin_redelivery(console, user, by, RedeliveryRequest(rejected=True, events=letters))
        return back(request, "dead-letters", done="some", run=run, **kept)
    except LogstreamError as error:
        return _dead_letters(request, console, user, name, problem=problem_of(error))


def chosen_letters(form: Form) -> list[DeadLetter]:
    """The dead letters that a person has ticked. Raises `InputError` where there is none."""
    keys = [re.fullmatch(r"(\d{1,18}):(-?\d{1,18})", value) for value in form.get("letter", ())]
    found = [DeadLetter(delivery_id=int(key[1]), event_id=int(key[2])) for key in keys if key]
    if not found:
        raise InputError("tick the dead letters that are meant")
    return found[:DEAD_LETTERS]


@router.get("/parts/dead-letter/{delivery_id}/{event_id}")
def dead_letter_part(
    request: Request, console: Its, user: Writer, delivery_id: Id, event_id: Annotated[int, Path(ge=-BIG, le=BIG)]
) -> Response:
    """The event of a dead letter, for those who may see real events."""
    try:
        found = console.deliveries.content((delivery_id, event_id))
    except NotThere as error:
        return show(request, "parts/dead_letter.html", user, mistake=str(error))
    return show(
        request, "parts/dead_letter.html", user, fault=found.fault, size=len(found.payload or b""),
        pretty=readable(found.payload), most=EVENT_SIGNS,
    )  # fmt: skip


def readable(payload: bytes | None) -> str | None:
    """An event for people to read: with a line for each value; as it is where it is no JSON, long, or nested beyond reading."""
    if payload is None:
        return None
    text = payload[:EVENT_SIGNS].decode("utf-8", "replace")
    steps = ((sign in "[{") - (sign in "]}") for sign in text)
    if len(payload) > EVENT_SIGNS or max(itertools.accumulate(steps), default=0) > READABLE_DEPTH:
        return text
    try:
        json.loads(text)
    except ValueError:
        return text
    return indented(text)
