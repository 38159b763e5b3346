"""The pages of customers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from logstream.console.access import By, Reader, Writer
from logstream.console.layout import PAGE, Id, Its, MaybeId, Sent, Text, one, show, version_of
from logstream.console.pages.saving import after_save
from logstream.console.problems import Problem, problem_of
from logstream.console.service import Console
from logstream.console.service.customers import DAYS_OF, SORTS, Customer
from logstream.console.setting_form import (
    refuse_mistakes,
    sent_destination,
    sent_setting,
    setting_form,
    unproven,
)
from logstream.errors import LogstreamError
from logstream.settings.edits import Data

router = APIRouter()


@router.get("/customers")
def customers_page(
    request: Request, console: Its, user: Reader, query: Text = "", sort: Text = "id", down: bool = False,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1, condition: Text = "",
) -> Response:  # fmt: skip
    """All customers, with where their events go."""
    sort = sort if sort in SORTS else "id"
    found = console.customers.page(
        query, sort, descending=down, offset=(page - 1) * PAGE, limit=PAGE, condition=condition
    )
    template = "parts/customers.html" if request.headers.get("HX-Request") else "customers.html"
    return show(
        request, template, user, tab="customers", found=found, query=query, sort=sort, down=down, page=page, condition=condition,
        pages=max(1, -(-found.total // PAGE)), admin_on=console.settings.current().settings.overrides,
    )  # fmt: skip


@router.get("/customers/{workspace_id}")
def customer_page(
    request: Request, console: Its, user: Reader, workspace_id: Id, saved: MaybeId = None, unchanged: bool = False
) -> Response:
    """One customer's setting, and what was delivered."""
    snapshot = console.settings.current()
    own = snapshot.settings.own.get(workspace_id)
    streaming = own.model_dump(mode="json", exclude_unset=True) if own else {}
    customer = console.customers.find(workspace_id)
    return _customer(request, console, user, customer, streaming, version=snapshot.id, saved=saved, unchanged=unchanged)


def _customer(
    request: Request, console: Console, user: Any, customer: Customer, streaming: Data, *, version: int,
    saved: int | None = None, problem: Problem | None = None, edited: Data | None = None, **shown: Any,
) -> HTMLResponse:  # fmt: skip
    settings = console.settings.current().settings
    return show(
        request, "customer.html", user, problem.status if problem else 200, tab="customers", customer=customer,
        version=version, saved=saved, problem=problem, locked=settings.overrides,
        deliveries=console.customers.deliveries(customer), effective=console.customers.effective(customer),
        workspace_id=customer.workspace.id, standing=customer.status,
        own=customer.workspace.id in settings.own, **shown, **setting_form(console, streaming, edited),
    )  # fmt: skip


@router.get("/parts/customers/{workspace_id}/days")
def days_part(request: Request, console: Its, user: Reader, workspace_id: Id) -> Response:
    """What was delivered for a customer, by day."""
    days = console.customers.by_day(console.customers.find(workspace_id))
    return show(request, "parts/days.html", user, days=days, most=DAYS_OF)


@router.post("/customers/{workspace_id}")
def save_customer(request: Request, console: Its, user: Writer, by: By, workspace_id: Id, form: Sent) -> Response:
    """Save a customer's own setting, or take it away."""
    customer = console.customers.find(workspace_id)
    streaming, document = sent_setting(console, form)
    name, edited = sent_destination(form)
    try:
        if one(form, "do") == "remove":
            saved = console.settings.save_workspace(workspace_id, None, by, version_of(form))
            return after_save(request, f"customers/{workspace_id}", form, saved.id)
        refuse_mistakes(console, streaming, name, edited)
        if warning := unproven(console, form, name, edited):
            return _customer(
                request, console, user, customer, streaming, version=version_of(form), edited=edited, warning=warning,
                tested=one(form, "tested"),
            )  # fmt: skip
        saved = console.settings.save_workspace(workspace_id, streaming, by, version_of(form), document)
    except LogstreamError as error:
        problem = problem_of(error, console.settings.document())
        version = problem.version or console.settings.current().id
        return _customer(request, console, user, customer, streaming, version=version, problem=problem, edited=edited)
    return after_save(request, f"customers/{workspace_id}", form, saved.id)
