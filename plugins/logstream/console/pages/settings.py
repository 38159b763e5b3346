"""The page of the admin's setting."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from logstream.console.access import By, Reader, Writer
from logstream.console.layout import Its, MaybeId, Sent, one, show, version_of
from logstream.console.pages.saving import after_save
from logstream.console.problems import Problem, problem_of
from logstream.console.service import Console
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


@router.get("/settings")
def settings_page(
    request: Request, console: Its, user: Reader, saved: MaybeId = None, unchanged: bool = False
) -> Response:
    """The admin's setting."""
    snapshot = console.settings.current()
    admin = snapshot.settings.admin
    streaming = admin.model_dump(mode="json", exclude_unset=True) if admin else {}
    return _settings(request, console, user, streaming, version=snapshot.id, saved=saved, unchanged=unchanged)


def _settings(
    request: Request, console: Console, user: Any, streaming: Data, *, version: int, saved: int | None = None,
    problem: Problem | None = None, edited: Data | None = None, **shown: Any,
) -> HTMLResponse:  # fmt: skip
    settings = console.settings.current().settings
    overridden = console.customers.overridden()
    name = streaming.get("destination")
    standing = console.overview.statuses([name])[name] if name in settings.destinations else None
    return show(
        request, "settings.html", user, problem.status if problem else 200, tab="settings", version=version, saved=saved,
        problem=problem, overridden=overridden,
        workspaces=len(console.customers.workspaces()),
        admin_on=settings.overrides, standing=standing, locked=False, workspace_id=None,
        **shown, **setting_form(console, streaming, edited),
    )  # fmt: skip


@router.post("/settings")
def save_settings(request: Request, console: Its, user: Writer, by: By, form: Sent) -> Response:
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
        saved = console.settings.save_admin(streaming, by, version_of(form), document)
    except LogstreamError as error:
        problem = problem_of(error, console.settings.document())
        version = problem.version or console.settings.current().id
        return _settings(request, console, user, streaming, version=version, problem=problem, edited=edited)
    return after_save(request, "settings", form, saved.id)


@router.get("/parts/log-store")
def log_store_part(request: Request, console: Its, user: Writer) -> Response:
    """Whether the log store is what it must be."""
    try:
        return show(request, "parts/log_store.html", user, steps=console.settings.check_log_store())
    except LogstreamError as error:
        problem = problem_of(error)
        return show(request, "parts/log_store.html", user, mistakes=problem.problems or [problem.detail])
