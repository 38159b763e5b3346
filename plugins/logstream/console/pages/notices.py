"""The pages of notices: who is told of all, and who of the destination of one workspace's own setting."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from logstream.console import runs
from logstream.console.access import By, Reader, Writer
from logstream.console.layout import Id, Its, MaybeId, Sent, show, version_of
from logstream.console.notice_form import CONNECTION_TYPES, Row, notices_form, notices_of, sent_rows
from logstream.console.pages.saving import after_save
from logstream.console.problems import Problem, problem_of
from logstream.console.service import Console
from logstream.errors import LogstreamError
from logstream.settings.edits import with_notices
from logstream.settings.notices import WorkspaceNotices

router = APIRouter()


@router.get("/notices")
def notices_page(
    request: Request, console: Its, user: Reader, saved: MaybeId = None, unchanged: bool = False
) -> Response:
    """Who is told of all."""
    return _notices(request, console, user, None, saved=saved, unchanged=unchanged)


@router.get("/customers/{workspace_id}/notices")
def customer_notices_page(
    request: Request, console: Its, user: Reader, workspace_id: Id, saved: MaybeId = None, unchanged: bool = False
) -> Response:
    """Who is told of the destination of a customer's own setting."""
    return _notices(request, console, user, workspace_id, saved=saved, unchanged=unchanged)


@router.post("/notices")
def save_notices(request: Request, console: Its, user: Writer, by: By, form: Sent) -> Response:
    """Save who is told of all."""
    return _save(request, console, user, by, None, form)


@router.post("/customers/{workspace_id}/notices")
def save_customer_notices(
    request: Request, console: Its, user: Writer, by: By, workspace_id: Id, form: Sent
) -> Response:
    """Save who is told of the destination of a customer's own setting."""
    return _save(request, console, user, by, workspace_id, form)


def _save(
    request: Request, console: Console, user: Any, by: By, workspace_id: int | None, form: dict[str, list[str]]
) -> Response:
    if workspace_id is not None:
        console.customers.find(workspace_id)
    try:
        notices = notices_of(form, of_all=workspace_id is None)
        document = with_notices(console.settings.document(), workspace_id, notices)
        saved = console.settings.save(document, by, version_of(form))
    except LogstreamError as error:
        problem = problem_of(error, console.settings.document())
        version = problem.version or console.settings.current().id
        return _notices(request, console, user, workspace_id, version=version, problem=problem, rows=sent_rows(form))
    return after_save(
        request, "notices" if workspace_id is None else f"customers/{workspace_id}/notices", form, saved.id
    )


def _notices(
    request: Request, console: Console, user: Any, workspace_id: int | None, *, version: int | None = None,
    problem: Problem | None = None, rows: list[Row] | None = None, **shown: Any,
) -> HTMLResponse:  # fmt: skip
    snapshot = console.settings.current()
    customer = console.customers.find(workspace_id) if workspace_id is not None else None
    own = {item.id: item.notices for item in snapshot.settings.workspaces}
    notices = own.get(workspace_id, WorkspaceNotices()) if workspace_id is not None else snapshot.settings.notices
    connections = {kind: runs.connection_ids(name) for kind, name in CONNECTION_TYPES.items()}
    return show(
        request, "notices.html", user, problem.status if problem else 200, tab="customers" if customer else "notices",
        customer=customer, version=version or snapshot.id, problem=problem, overridden=snapshot.settings.overrides, **shown,
        **notices_form(notices, {str(kind): ids for kind, ids in connections.items()}, rows),
    )  # fmt: skip
