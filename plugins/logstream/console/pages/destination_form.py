"""The part of a form that is about a destination: its fields, what is wrong with them, and trying it out."""

from __future__ import annotations

import itertools
import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from logstream.console.access import By, Reader, Writer, test_notes
from logstream.console.layout import PAGE, Its, Sent, Text, one, show
from logstream.console.mistakes import destination_mistakes, label_of
from logstream.console.problems import problem_of
from logstream.console.setting_form import destination_fields, sent_destination
from logstream.destinations import destination_types
from logstream.errors import LogstreamError
from logstream.settings.edits import Data
from logstream.settings.models import DESTINATION_NAME
from logstream.settings.wording import PATTERNS

router = APIRouter(prefix="/parts", default_response_class=HTMLResponse)


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


@router.post("/test")
def test_part(request: Request, console: Its, user: Writer, by: By, form: Sent) -> Response:
    """Try the destination out that a form describes, saved or not."""
    name, destination = sent_destination(form)
    if not destination:
        return show(request, "parts/steps.html", user, steps=[], mistakes=["Choose a destination type first."])
    wrong = destination_mistakes(destination)
    # who tested what is kept by its name
    if name and not re.fullmatch(DESTINATION_NAME, name):
        wrong = {"destination_name": PATTERNS[DESTINATION_NAME], **wrong}
    shown = {field: wrong.get(field, "") for field in ("destination_name", *option_fields(destination))}
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


@router.get("/names")
def names_part(
    request: Request, console: Its, user: Reader, destination: Text = "", destination_name: Text = ""
) -> Response:
    """Some names of destinations that hold what was typed."""
    needle = (destination or destination_name).strip().casefold()
    found = (name for name in sorted(console.settings.current().settings.destinations) if needle in name.casefold())
    return show(request, "parts/names.html", user, names=list(itertools.islice(found, PAGE)))
