"""The event beside the template editor: its values, each with its path, to choose from."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, Response

from logstream.console.access import Reader, may_write
from logstream.console.forms import streaming_of
from logstream.console.layout import Its, Sent, one, show
from logstream.console.problems import problem_of
from logstream.errors import LogstreamError
from logstream.events import Kind
from logstream.jsontext import loads
from logstream.rendering.paths import MOST_VALUES, values_of

router = APIRouter(prefix="/parts", default_response_class=HTMLResponse)


@router.post("/event")
def event_part(request: Request, console: Its, user: Reader, form: Sent) -> Response:
    """The values of the event that is previewed, after masks, as buttons that put their paths into the template."""
    kind = one(form, "preview_kind", Kind.JOB)
    if kind not in list(Kind):
        raise HTTPException(422, "There is no such kind of event.")
    setting = {name: value for name, value in streaming_of(form).items() if name != "message"}
    workspace = one(form, "workspace_id")
    number = int(workspace) if workspace.isascii() and workspace.isdigit() and len(workspace) < 19 else None
    newest = one(form, "preview_event") == "newest" and may_write(user)
    try:
        found = console.messages.preview(setting, kind, newest=newest, workspace_id=number)
    except LogstreamError as error:
        problem = problem_of(error)
        return show(request, "parts/event.html", user, mistake=(problem.problems or [problem.detail])[0])
    if found.message is None:
        return show(request, "parts/event.html", user, mistake=found.error)
    values = values_of(loads(found.message.encode()))
    return show(request, "parts/event.html", user, values=values, more=len(values) == MOST_VALUES)
