"""The parts of pages that htmx swaps in: what is looked up while an administrator types, and what takes its time."""

from __future__ import annotations

import itertools
import re
from html import escape
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, Response

from logstream.console import runs
from logstream.console.access import By, Reader, Writer, may_write, reader, test_notes
from logstream.console.filters import spell
from logstream.console.forms import lines_of, streaming_of
from logstream.console.layout import PAGE, Id, Its, Sent, Text, one, show, with_utc
from logstream.console.mistakes import destination_mistakes, label_of, message_field
from logstream.console.problems import problem_of
from logstream.console.requests import BackfillRequest, begin_backfill, range_of
from logstream.console.setting_form import destination_fields, sent_destination
from logstream.destinations import destination_types
from logstream.errors import LogstreamError
from logstream.events import EventType, Kind, Selection
from logstream.jsontext import indented
from logstream.rendering.fit import misfits
from logstream.rendering.paths import matching_nothing
from logstream.settings.edits import Data
from logstream.settings.models import DEFAULT_KIND, DESTINATION_NAME, by_kind
from logstream.window import Window

GAPS = 100
"""Gaps that are listed one by one, the oldest."""

router = APIRouter(prefix="/parts", dependencies=[Depends(reader)], default_response_class=HTMLResponse)


@router.get("/destination")
def destination_part(
    request: Request, console: Its, user: Reader, destination_name: Text = "", destination_type: Text = "",
    changed: Text = "",
) -> Response:  # fmt: skip
    """The fields of a destination: those of the type chosen, or those of the destination chosen by its name."""
    name = destination_name.strip()
    known = console.settings.current().settings.destinations
    stored = known.get(name)
    given: dict[str, Any] = {"type": destination_type}
    if stored and (changed == "name" or stored.type == destination_type):
        given = {"type": stored.type, **stored.options}
    context = destination_fields(known, name, given)
    return show(request, "parts/destination.html", user, names=sorted(known), locked=False, **context)


@router.post("/validate")
def validate_part(request: Request, console: Its, user: Writer, form: Sent) -> Response:
    """What is wrong with the fields of a destination that were touched, each beside its field."""
    _, destination = sent_destination(form)
    wrong = destination_mistakes(destination) if destination else {}
    fields, touched = option_fields(destination), one(form, "touched").split()
    return show(
        request, "parts/validated.html", user, shown={name: wrong.get(name, "") for name in fields if name in touched}
    )


def option_fields(destination: Data | None) -> list[str]:
    """The ids of the fields that a form has for a destination."""
    kind = destination_types().get(str((destination or {}).get("type", "")))
    return [f"option.{name}" for name in kind.options_model.model_fields] if kind else []


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
    try:
        found = console.messages.preview(setting, kind, newest=newest, workspace_id=number)
    except LogstreamError as error:
        problem = problem_of(error)
        return show(request, "parts/preview.html", user, mistakes=problem.problems or [problem.detail])
    if found.message is None:
        own = found.template_of or DEFAULT_KIND
        template = by_kind(setting.get("message")).get(own, "")
        excerpt = _excerpt(template, found.line, found.column) if found.line else None
        editor = message_field(own)
        return show(
            request, "parts/preview.html", user, mistakes=[found.error], found=found, excerpt=excerpt, editor=editor
        )
    _, destination = sent_destination(form)
    fit = misfits(setting.get("message"), [kind], destination["type"], destination) if destination else []
    fit += [
        f"`{path}` matches nothing in the sample of {spell([word.replace('_', ' ') for word in kinds])}: it becomes `null`"
        for path, kinds in matching_nothing(setting.get("message"), _selected(setting) or [kind]).items()
    ]
    pretty = indented(found.message)
    return show(
        request, "parts/preview.html", user, found=found, fit=fit, pretty=pretty[:20_000], cut=len(pretty) > 20_000,
        size=len(found.message.encode()),
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


@router.post("/test")
def test_part(request: Request, console: Its, user: Writer, by: By, form: Sent) -> Response:
    """Try the destination out that a form describes, saved or not."""
    name, destination = sent_destination(form)
    if not destination:
        return show(request, "parts/steps.html", user, steps=[], mistakes=["Choose a destination type first."])
    wrong = destination_mistakes(destination)
    shown = {field: wrong.get(field, "") for field in option_fields(destination)}
    if wrong:
        todo = "Not tested: correct " + ", ".join(map(label_of, wrong)) + " first"
        return show(request, "parts/steps.html", user, steps=[], mistakes=[todo], shown=shown)
    try:
        steps = console.destinations.check(name or "unsaved", destination, by)
    except LogstreamError as error:
        problem = problem_of(error)
        return show(request, "parts/steps.html", user, steps=[], mistakes=problem.problems or [problem.detail])
    note = test_notes().write(destination, passed=bool(steps) and all(step.ok for step in steps))
    return show(request, "parts/steps.html", user, steps=steps, mistakes=[], tested=note, shown=shown)


@router.get("/changed/{version}")
def changed_part(console: Its, version: Id) -> Response:
    """What a version changed, in one line."""
    return HTMLResponse(escape(console.settings.change_in_a_line(version)))


@router.get("/log-store")
def log_store_part(request: Request, console: Its, user: Writer) -> Response:
    """Whether the log store is what it must be."""
    try:
        return show(request, "parts/log_store.html", user, steps=console.settings.check_log_store())
    except LogstreamError as error:
        problem = problem_of(error)
        return show(request, "parts/log_store.html", user, mistakes=problem.problems or [problem.detail])


@router.get("/names")
def names_part(
    request: Request, console: Its, user: Reader, destination: Text = "", destination_name: Text = ""
) -> Response:
    """Some names of destinations that hold what was typed."""
    needle = (destination or destination_name).strip().casefold()
    found = (name for name in sorted(console.settings.current().settings.destinations) if needle in name.casefold())
    return show(request, "parts/names.html", user, names=list(itertools.islice(found, PAGE)))


@router.get("/timeline")
def timeline_part(request: Request, console: Its, user: Reader, destination: Text = "") -> Response:
    """The newest windows over time, of all destinations or of one."""
    chosen = destination if re.fullmatch(DESTINATION_NAME, destination) else None
    charts = console.standing.charts(chosen)
    return show(request, "parts/timeline.html", user, charts=charts, destination=chosen or "", **_standing(console))


@router.get("/gaps")
def gaps_part(request: Request, console: Its, user: Reader) -> Response:
    """Time that no run has exported, and what is owed to destinations that are gone; nothing where there is none."""
    return show(request, "parts/gaps.html", user, **_standing(console))


def _standing(console: Its) -> dict[str, object]:
    return {"gaps": console.deliveries.gaps(), "most": GAPS, "removed": console.deliveries.removed()}


@router.post("/backfill")
def backfill_part(request: Request, console: Its, user: Writer, by: By, form: Sent) -> Response:
    """How many windows a backfill makes; or start it."""
    known = console.settings.current().settings.destinations
    chosen = lines_of(form.get("destinations", ()))
    if unknown := [name for name in chosen if name not in known]:
        return show(request, "parts/backfill.html", user, mistake=f'no destination named "{unknown[0]}"')
    wanted = BackfillRequest(
        start=with_utc(one(form, "start"))[:40], end=with_utc(one(form, "end"))[:40], destinations=chosen
    )
    begun = None
    try:
        start, end = range_of(console, wanted.start, wanted.end, wanted.destinations)
        plan = runs.plan_backfill(start, end)
        if one(form, "do") == "start":
            begun = begin_backfill(console, user, by, start, end, wanted.destinations)
    except LogstreamError as error:
        return show(request, "parts/backfill.html", user, mistake=problem_of(error).detail)
    again = None
    if plan.first and plan.last and not begun:
        again = console.deliveries.again(Window(plan.first.start, plan.last.end), chosen)
    answer = show(request, "parts/backfill.html", user, plan=plan, begun=begun, again=again, dag=runs.EXPORT_DAG)
    if begun:
        answer.headers["HX-Trigger"] = "begun"
    return answer
