"""Beside the template editor: the message as it will be, and the event with its values, each with its path, to choose from."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, Response

from logstream.console.access import Reader, may_write
from logstream.console.filters import spell
from logstream.console.forms import streaming_of
from logstream.console.layout import Its, Sent, one, show
from logstream.console.mistakes import LABELS, message_field, mistakes_of
from logstream.console.problems import problem_of
from logstream.console.setting_form import sent_destination
from logstream.errors import LogstreamError
from logstream.events import EventType, Kind, Selection
from logstream.jsontext import indented, loads
from logstream.rendering.fit import misfits
from logstream.rendering.paths import MOST_VALUES, matching_nothing, values_of
from logstream.settings.edits import Data
from logstream.settings.models import DEFAULT_KIND, by_kind

router = APIRouter(prefix="/parts", default_response_class=HTMLResponse)


@router.post("/preview")
def preview_part(request: Request, console: Its, user: Reader, form: Sent) -> Response:
    """The message as it will be, for one event."""
    kind = one(form, "preview_kind", Kind.JOB)
    if kind not in list(Kind):
        raise HTTPException(422, "There is no such kind of event.")
    newest = one(form, "preview_event") == "newest" and may_write(user)
    workspace = one(form, "workspace_id")
    number = int(workspace) if workspace.isascii() and workspace.isdigit() and len(workspace) < 19 else None
    setting = streaming_of(form)
    name, destination = sent_destination(form)
    # fields that a refused save has found fault with; the destination's are looked at where they are
    faulted = [
        field for field in one(form, "faulted").split() if field in LABELS and not field.startswith("destination")
    ]
    wrong = mistakes_of(setting, name, destination, (name,)) if faulted else {}
    shown = {field: wrong.get(field, "") for field in faulted}
    try:
        found = console.messages.preview(setting, kind, newest=newest, workspace_id=number)
    except LogstreamError as error:
        problem = problem_of(error)
        return show(request, "parts/preview.html", user, mistakes=problem.problems or [problem.detail], shown=shown)
    if found.message is None:
        own = found.template_of or DEFAULT_KIND
        template = by_kind(setting.get("message")).get(own, "")
        excerpt = _excerpt(template, found.line, found.column) if found.line else None
        editor = message_field(own)
        return show(
            request, "parts/preview.html", user, mistakes=[found.error], found=found, excerpt=excerpt, editor=editor,
            shown=shown,
        )  # fmt: skip
    fit = misfits(setting.get("message"), [kind], destination["type"], destination) if destination else []
    fit += [
        f"`{path}` matches nothing in the sample of {spell([word.replace('_', ' ') for word in kinds])}: it becomes `null`"
        for path, kinds in matching_nothing(setting.get("message"), _selected(setting) or [kind]).items()
    ]
    pretty = indented(found.message)
    return show(
        request, "parts/preview.html", user, found=found, fit=fit, pretty=pretty[:20_000], cut=len(pretty) > 20_000,
        size=len(found.message.encode()), shown=shown,
    )  # fmt: skip


def _selected(setting: Data) -> list[str]:
    """The kinds of events that a form selects."""
    events = [EventType(event) for event in setting.get("events", ()) if event in list(EventType)]
    return sorted(Selection.of(events, (), ()).kinds)


def _excerpt(template: str, line: int, column: int | None) -> tuple[str, str]:
    """The line of a template in which a mistake is, and a mark below its place."""
    lines = template.splitlines() or [""]
    text = lines[min(line, len(lines)) - 1]
    begin = max(0, (column or 1) - 60)
    return text[begin : begin + 120], " " * max(0, (column or 1) - 1 - begin) + "^"


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
