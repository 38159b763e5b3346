"""The pages of the settings' history, and imports of a file."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from logstream.console.access import By, Reader, Writer
from logstream.console.layout import PAGE, Id, Its, MaybeId, Sent, back, show, version_of
from logstream.console.problems import Problem, problem_of
from logstream.console.service import Console
from logstream.errors import LogstreamError
from logstream.settings.document import parse_yaml

router = APIRouter()


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
    current = console.settings.current().id
    return show(
        request, "history.html", user, problem.status if problem else 200, tab="history", problem=problem, saved=saved,
        versions=console.settings.versions(before, PAGE), current=current, version=current, page_size=PAGE,
    )  # fmt: skip


@router.get("/history/{version}")
def version_page(request: Request, console: Its, user: Reader, version: Id) -> Response:
    """What one version changed."""
    snapshot, current = console.settings.snapshot(version), console.settings.current().id
    return show(
        request, "version.html", user, tab="history", snapshot=snapshot, found=console.settings.changes_of(version),
        version=current, current=current == version,
    )  # fmt: skip


@router.post("/history/{version}")
def restore_version(request: Request, console: Its, user: Writer, by: By, version: Id, form: Sent) -> Response:
    """Put an earlier version in force again."""
    try:
        saved = console.settings.restore(version, by, version_of(form))
    except LogstreamError as error:
        return _history(request, console, user, problem=problem_of(error))
    return back(request, "history", saved=saved.id)


@router.post("/history")
def import_settings(request: Request, console: Its, user: Writer, by: By, form: Sent) -> Response:
    """Show what a file would change; replace all settings by it once that was seen."""
    text = "".join(form.get("file", ())) or "".join(form.get("seen", ()))
    try:
        document = parse_yaml(text, "settings.yaml")
        if "seen" not in form:
            found, version = console.settings.would_change(document), version_of(form)
            return show(request, "import.html", user, tab="history", found=found, text=text, version=version)
        saved = console.settings.save(document, by, version_of(form))
    except LogstreamError as error:
        return _history(request, console, user, problem=problem_of(error))
    return back(request, "history", saved=saved.id)


@router.get("/parts/changed/{version}")
def changed_part(console: Its, version: Id) -> Response:
    """What a version changed, in one line."""
    return HTMLResponse(escape(console.settings.change_in_a_line(version)))
