"""The pages, rendered on the server."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response

from logstream.console import runs
from logstream.console.access import Reader, Writer, name_of, reader
from logstream.console.api import Name, RedeliveryRequest, begin_redelivery, delivery_filter
from logstream.console.done import done_text, run_path
from logstream.console.edits import Data, users_of
from logstream.console.layout import PAGE, Id, Its, MaybeId, Sent, Text, back, one, show, version_of, with_utc
from logstream.console.problems import Problem, problem_of
from logstream.console.service import SORTS, Console, Customer, named
from logstream.console.setting_form import (
    destination_fields,
    refuse_mistakes,
    sent_destination,
    sent_setting,
    setting_form,
    unproven,
)
from logstream.errors import InputError, LogstreamError, NotThere
from logstream.ledger.overview import DeliveryFilter
from logstream.settings.document import parse_yaml
from logstream.settings.models import DESTINATION_NAME
from logstream.window import parse_time

DEAD_LETTERS = 200
"""Dead letters that are shown at a time."""

LOSSES = 100
"""Losses that are listed one by one, the oldest."""

router = APIRouter(dependencies=[Depends(reader)], default_response_class=HTMLResponse)


# settings of all workspaces


@router.get("/")
def settings_page(
    request: Request, console: Its, user: Reader, saved: MaybeId = None, unchanged: bool = False
) -> Response:
    """The admin's setting."""
    snapshot = console.current()
    admin = snapshot.settings.admin
    streaming = admin.model_dump(mode="json", exclude_unset=True) if admin else {}
    return _settings(request, console, user, streaming, version=snapshot.id, saved=saved, unchanged=unchanged)


def _settings(
    request: Request, console: Console, user: Any, streaming: Data, *, version: int, saved: int | None = None,
    problem: Problem | None = None, edited: Data | None = None, **shown: Any,
) -> HTMLResponse:  # fmt: skip
    settings = console.current().settings
    overridden = console.overridden()
    name = streaming.get("destination")
    standing = console.overview.statuses([name])[name] if name in settings.destinations else None
    return show(
        request, "settings.html", user, problem.status if problem else 200, tab="settings", version=version, saved=saved,
        problem=problem, overridden=overridden, overridden_names=named(overridden), workspaces=len(console.workspaces()),
        admin_on=bool(settings.admin and settings.admin.enabled), standing=standing, locked=False, workspace_id=None,
        **shown, **setting_form(console, streaming, edited),
    )  # fmt: skip


@router.post("/")
def save_settings(request: Request, console: Its, user: Writer, form: Sent) -> Response:
    """Save the admin's setting."""
    streaming, document = sent_setting(console, form)
    name, edited = sent_destination(form)
    try:
        refuse_mistakes(console, streaming, name, edited)
        if warning := unproven(console, form, name, edited):
            return _settings(
                request, console, user, streaming, version=version_of(form), edited=edited, warning=warning,
                tested=one(form, "tested"),
            )  # fmt: skip
        saved = console.save_admin(streaming, name_of(user), version_of(form), document)
    except LogstreamError as error:
        problem = problem_of(error, console.document())
        version = problem.version or console.current().id
        return _settings(request, console, user, streaming, version=version, problem=problem, edited=edited)
    return _after_save(request, "", form, saved.id)


def _after_save(request: Request, path: str, form: dict[str, list[str]], saved: int) -> Response:
    return back(request, path, unchanged="true") if saved == version_of(form) else back(request, path, saved=saved)


# customers


@router.get("/customers")
def customers_page(
    request: Request, console: Its, user: Reader, query: Text = "", sort: Text = "id", down: bool = False,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1, condition: Text = "",
) -> Response:  # fmt: skip
    """All customers, with where their events go."""
    sort = sort if sort in SORTS else "id"
    found = console.customers(query, sort, descending=down, offset=(page - 1) * PAGE, limit=PAGE, condition=condition)
    template = "parts/customers.html" if request.headers.get("HX-Request") else "customers.html"
    admin = console.current().settings.admin
    return show(
        request, template, user, tab="customers", found=found, query=query, sort=sort, down=down, page=page, condition=condition,
        pages=max(1, -(-found.total // PAGE)), admin_on=bool(admin and admin.enabled),
    )  # fmt: skip


@router.get("/customers/{workspace_id}")
def customer_page(
    request: Request, console: Its, user: Reader, workspace_id: Id, saved: MaybeId = None, unchanged: bool = False
) -> Response:
    """One customer's setting, and what was delivered."""
    snapshot = console.current()
    own = snapshot.settings.own.get(workspace_id)
    streaming = own.model_dump(mode="json", exclude_unset=True) if own else {}
    customer = console.customer(workspace_id)
    return _customer(request, console, user, customer, streaming, version=snapshot.id, saved=saved, unchanged=unchanged)


def _customer(
    request: Request, console: Console, user: Any, customer: Customer, streaming: Data, *, version: int,
    saved: int | None = None, problem: Problem | None = None, edited: Data | None = None, **shown: Any,
) -> HTMLResponse:  # fmt: skip
    settings = console.current().settings
    return show(
        request, "customer.html", user, problem.status if problem else 200, tab="customers", customer=customer,
        version=version, saved=saved, problem=problem, locked=bool(settings.admin and settings.admin.enabled),
        deliveries=console.customer_deliveries(customer), workspace_id=customer.workspace.id, standing=customer.status,
        own=customer.workspace.id in settings.own, **shown, **setting_form(console, streaming, edited),
    )  # fmt: skip


@router.post("/customers/{workspace_id}")
def save_customer(request: Request, console: Its, user: Writer, workspace_id: Id, form: Sent) -> Response:
    """Save a customer's own setting, or take it away."""
    customer = console.customer(workspace_id)
    streaming, document = sent_setting(console, form)
    name, edited = sent_destination(form)
    try:
        if one(form, "do") == "remove":
            saved = console.save_workspace(workspace_id, None, name_of(user), version_of(form))
            return _after_save(request, f"customers/{workspace_id}", form, saved.id)
        refuse_mistakes(console, streaming, name, edited)
        if warning := unproven(console, form, name, edited):
            return _customer(
                request, console, user, customer, streaming, version=version_of(form), edited=edited, warning=warning,
                tested=one(form, "tested"),
            )  # fmt: skip
        saved = console.save_workspace(workspace_id, streaming, name_of(user), version_of(form), document)
    except LogstreamError as error:
        problem = problem_of(error, console.document())
        version = problem.version or console.current().id
        return _customer(request, console, user, customer, streaming, version=version, problem=problem, edited=edited)
    return _after_save(request, f"customers/{workspace_id}", form, saved.id)


# destinations


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
    snapshot = console.current()
    total, found = console.destinations(query, condition, offset=(page - 1) * PAGE, limit=PAGE)
    rows = [(item, *users_of(snapshot.settings, item.status.name)) for item in found]
    return show(
        request, "destinations.html", user, problem.status if problem else 200, tab="destinations", rows=rows, done=done,
        run=run_path(run), problem=problem, version=snapshot.id, total=total, query=query, condition=condition, page=page,
        pages=max(1, -(-total // PAGE)),
    )  # fmt: skip


@router.post("/destinations/{name}")
def act_on_destination(request: Request, console: Its, user: Writer, name: Name, form: Sent) -> Response:
    """Suspend, resume, redeliver to or delete a destination."""
    try:
        match one(form, "do"):
            case "suspend":
                console.suspend(name, name_of(user))
                done = "suspended"
            case "resume":
                console.resume(name)
                done = "resumed"
            case "delete":
                console.save_destination(name, None, name_of(user), version_of(form))
                done = "deleted"
            case "redeliver":
                run = begin_redelivery(console, user, RedeliveryRequest(destination=name))
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
    snapshot = console.current()
    stored = snapshot.settings.destinations.get(name)
    if stored is None and console.deliveries(DeliveryFilter(destination=name), 1):
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
    settings = console.current().settings
    by_admin, own = users_of(settings, name)
    return show(
        request, "destination.html", user, problem.status if problem else 200, tab="destinations", version=version,
        saved=saved, problem=problem, users=own, by_admin=by_admin, standing=console.overview.statuses([name])[name],
        locked=False, fixed_name=True, names=sorted(settings.destinations),
        deliveries=console.deliveries(DeliveryFilter(destination=name), 10), losses=console.losses(name), most=LOSSES,
        **shown,
        **destination_fields(settings.destinations, name, given),
    )  # fmt: skip


@router.post("/destinations/{name}/options")
def save_destination(request: Request, console: Its, user: Writer, name: Name, form: Sent) -> Response:
    """Save one destination's options."""
    destination = sent_destination(form)[1] or {}
    try:
        refuse_mistakes(console, {}, name, destination or {"type": ""})
        if warning := unproven(console, form, name, destination):
            return _destination(
                request, console, user, name, destination, version=version_of(form), warning=warning,
                tested=one(form, "tested"),
            )  # fmt: skip
        saved = console.save_destination(name, destination, name_of(user), version_of(form))
    except LogstreamError as error:
        problem = problem_of(error, console.document())
        version = problem.version or console.current().id
        return _destination(request, console, user, name, destination, version=version, problem=problem)
    return _after_save(request, f"destinations/{name}", form, saved.id)


# deliveries


@router.get("/deliveries")
def deliveries_page(
    request: Request, console: Its, user: Reader, destination: Text = "", state: Text = "", start: Text = "", end: Text = "",
    before: MaybeId = None, done: Text = "", name: Text = "", run: Text = "",
) -> Response:  # fmt: skip
    """What happened, newest first."""
    names = console.current().settings.destinations
    # the ledger knows destinations that the settings no longer have
    chosen = destination if re.fullmatch(DESTINATION_NAME, destination) else None
    problem = None
    try:
        wanted = delivery_filter(console, chosen, state, with_utc(start), with_utc(end), before)
    except InputError as error:
        wanted, problem = DeliveryFilter(destination=chosen), problem_of(error)
    found = console.deliveries(wanted, PAGE)
    return show(
        request, "deliveries.html", user, problem.status if problem else 200, tab="deliveries", found=found, state=state,
        links=runs.links((item.window, item.destination) for item in found), destination=destination, start=start, end=end,
        removed=chosen is not None and chosen not in names,
        names=sorted(names), more=len(found) == PAGE, problem=problem, done=done_text(done, name),
        run=run_path(run), losses=console.losses(chosen), most=LOSSES,
    )  # fmt: skip


@router.post("/deliveries")
def act_on_deliveries(request: Request, console: Its, user: Writer, form: Sent) -> Response:
    """Deliver again what is owed of one window."""
    name = one(form, "destination")
    if name not in console.current().settings.destinations:
        raise NotThere("the settings no longer have this destination")
    run = begin_redelivery(
        console, user, RedeliveryRequest(destination=name, start=one(form, "start")[:40], end=one(form, "end")[:40])
    )
    return back(request, "deliveries", done="window", name=name, run=run)


@router.post("/losses")
def acknowledge_losses(request: Request, console: Its, user: Writer, form: Sent) -> Response:
    """Take note of what is lost, as far as the page has shown it."""
    name = one(form, "destination")
    if name and re.fullmatch(DESTINATION_NAME, name) is None:
        raise HTTPException(422, "The form names no destination.")
    console.acknowledge_losses(name_of(user), name, parse_time(one(form, "seen")[:40], "seen"))
    return back(request, "deliveries", done="noted", **({"destination": name} if name else {}))


@router.get("/dead-letters")
def dead_letters_page(
    request: Request, console: Its, user: Reader, destination: Text = "", done: Text = "", run: Text = ""
) -> Response:
    """Events that were refused, and why."""
    names = console.current().settings.destinations
    chosen = destination if re.fullmatch(DESTINATION_NAME, destination) else None
    found = console.rejected(chosen, DEAD_LETTERS)
    return show(
        request, "dead_letters.html", user, tab="dead-letters", found=found, destination=destination, names=sorted(names),
        done=done_text(done, ""), run=run_path(run), limit=DEAD_LETTERS,
    )  # fmt: skip


@router.post("/dead-letters")
def redeliver_dead_letters(request: Request, console: Its, user: Writer, form: Sent) -> Response:
    """Send dead letters again."""
    name = one(form, "destination")
    known = console.current().settings.destinations
    run = begin_redelivery(console, user, RedeliveryRequest(destination=name if name in known else None, rejected=True))
    return back(request, "dead-letters", done="again", run=run)


# history


@router.get("/history")
def history_page(
    request: Request, console: Its, user: Reader, before: MaybeId = None, saved: MaybeId = None
) -> Response:
    """Who changed the settings and when."""
    return _history(request, console, user, before=before, saved=saved)


def _history(
    request: Request, console: Console, user: Any, *, before: int | None = None, saved: int | None = None,
    problem: Problem | None = None,
) -> HTMLResponse:  # fmt: skip
    current = console.current().id
    return show(
        request, "history.html", user, problem.status if problem else 200, tab="history", problem=problem, saved=saved,
        versions=console.versions(before, PAGE), current=current, version=current, page_size=PAGE,
    )  # fmt: skip


@router.get("/history/{version}")
def version_page(request: Request, console: Its, user: Reader, version: Id) -> Response:
    """What one version changed."""
    snapshot, current = console.snapshot(version), console.current().id
    return show(
        request, "version.html", user, tab="history", snapshot=snapshot, found=console.changes_of(version),
        version=current, current=current == version,
    )  # fmt: skip


@router.post("/history/{version}")
def restore_version(request: Request, console: Its, user: Writer, version: Id, form: Sent) -> Response:
    """Put an earlier version in force again."""
    try:
        saved = console.restore(version, name_of(user), version_of(form))
    except LogstreamError as error:
        return _history(request, console, user, problem=problem_of(error))
    return back(request, "history", saved=saved.id)


@router.post("/history")
def import_settings(request: Request, console: Its, user: Writer, form: Sent) -> Response:
    """Show what a file would change; replace all settings by it once that was seen."""
    text = "".join(form.get("file", ())) or "".join(form.get("seen", ()))
    try:
        document = parse_yaml(text, "settings.yaml")
        if "seen" not in form:
            found, version = console.would_change(document), version_of(form)
            return show(request, "import.html", user, tab="history", found=found, text=text, version=version)
        saved = console.save(document, name_of(user), version_of(form))
    except LogstreamError as error:
        return _history(request, console, user, problem=problem_of(error))
    return back(request, "history", saved=saved.id)
