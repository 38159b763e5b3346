"""The pages of destinations."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from logstream.console.access import By, Reader, Writer
from logstream.console.api.contract import Name
from logstream.console.done import done_text, run_path
from logstream.console.layout import PAGE, Its, MaybeId, Sent, Text, back, one, show, version_of
from logstream.console.pages.deliveries import LOSSES
from logstream.console.pages.saving import after_save
from logstream.console.problems import Problem, problem_of
from logstream.console.requests import RedeliveryRequest, begin_redelivery
from logstream.console.service import Console
from logstream.console.setting_form import (
    destination_fields,
    refuse_mistakes,
    sent_destination,
    unproven,
)
from logstream.errors import InputError, LogstreamError, NotThere
from logstream.ledger.health import HealingPolicy
from logstream.ledger.overview import DeliveryFilter
from logstream.settings.edits import Data, users_of

router = APIRouter()


@router.get("/destinations")
def destinations_page(
    request: Request, console: Its, user: Reader, query: Text = "", condition: Text = "",
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1, done: Text = "", name: Text = "", run: Text = "",
) -> Response:  # fmt: skip
    """All destinations, and how they stand."""
    return _destinations(
        request, console, user, query=query, condition=condition, page=page, done=done_text(done, name), run=run
    )


def _destinations(
    request: Request, console: Console, user: Any, *, query: str = "", condition: str = "", page: int = 1, done: str = "",
    run: str = "", problem: Problem | None = None,
) -> HTMLResponse:  # fmt: skip
    snapshot = console.settings.current()
    total, found = console.destinations.page(query, condition, offset=(page - 1) * PAGE, limit=PAGE)
    rows = [(item, *users_of(snapshot.settings, item.status.name)) for item in found]
    return show(
        request, "destinations.html", user, problem.status if problem else 200, tab="destinations", rows=rows, done=done,
        admin_on=snapshot.settings.overrides, run=run_path(run), problem=problem, version=snapshot.id, total=total,
        query=query, condition=condition, page=page, pages=max(1, -(-total // PAGE)), policy=HealingPolicy.from_environment(),
    )  # fmt: skip


@router.post("/destinations/{name}")
def act_on_destination(request: Request, console: Its, user: Writer, by: By, name: Name, form: Sent) -> Response:
    """Hold, resume, redeliver to or delete a destination."""
    try:
        match one(form, "do"):
            case "hold":
                console.destinations.hold(name, by)
                done = "held"
            case "resume":
                console.destinations.resume(name, by)
                done = "resumed"
            case "delete":
                console.settings.save_destination(name, None, by, version_of(form))
                done = "deleted"
            case "redeliver":
                run = begin_redelivery(console, user, by, RedeliveryRequest(destination=name))
                return back(request, "destinations", done="owed", name=name, run=run)
            case _:
                raise InputError("the form does not say what to do")
    except LogstreamError as error:
        return _destinations(request, console, user, problem=problem_of(error))
    return back(request, "destinations", done=done, name=name)


@router.get("/destinations/{name}")
def destination_page(
    request: Request, console: Its, user: Reader, name: Name, saved: MaybeId = None, unchanged: bool = False
) -> Response:
    """One destination's options."""
    snapshot = console.settings.current()
    stored = snapshot.settings.destinations.get(name)
    if stored is None and console.deliveries.newest(DeliveryFilter(destination=name), 1):
        # it was removed from the settings; what it got and what it is owed is in the ledger
        return back(request, "deliveries", destination=name)
    if stored is None:
        raise NotThere(f'no destination named "{name}"')
    given = {"type": stored.type, **stored.options}
    return _destination(request, console, user, name, given, version=snapshot.id, saved=saved, unchanged=unchanged)


def _destination(
    request: Request, console: Console, user: Any, name: str, given: Data, *, version: int, saved: int | None = None,
    problem: Problem | None = None, **shown: Any,
) -> HTMLResponse:  # fmt: skip
    settings = console.settings.current().settings
    by_admin, own = users_of(settings, name)
    standing = console.overview.statuses([name])[name]
    return show(
        request, "destination.html", user, problem.status if problem else 200, tab="destinations", version=version,
        saved=saved, problem=problem, users=own, by_admin=by_admin, admin_on=settings.overrides,
        standing=standing, numbers=standing.numbers(HealingPolicy.from_environment()),
        locked=False, fixed_name=True, names=sorted(settings.destinations),
        deliveries=console.deliveries.newest(DeliveryFilter(destination=name), 10),
        losses=console.deliveries.losses(name), most=LOSSES, **shown,
        **destination_fields(settings.destinations, name, given),
    )  # fmt: skip


@router.post("/destinations/{name}/options")
def save_destination(request: Request, console: Its, user: Writer, by: By, name: Name, form: Sent) -> Response:
    """Save one destination's options."""
    destination = sent_destination(form)[1] or {}
    try:
        refuse_mistakes(console, {}, name, destination or {"type": ""})
        if warning := unproven(console, form, name, destination):
            return _destination(
                request, console, user, name, destination, version=version_of(form), warning=warning,
                tested=one(form, "tested"),
            )  # fmt: skip
        saved = console.settings.save_destination(name, destination, by, version_of(form))
    except LogstreamError as error:
        problem = problem_of(error, console.settings.document())
        version = problem.version or console.settings.current().id
        return _destination(request, console, user, name, destination, version=version, problem=problem)
    return after_save(request, f"destinations/{name}", form, saved.id)
