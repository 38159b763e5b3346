"""The pages. Server-rendered; htmx swaps in what is looked up as somebody types."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates

from logstream import __version__
from logstream.console import runs
from logstream.console.access import Reader, Writer, csrf_token, form_of, may_write, name_of, reader
from logstream.console.api import (
    BIG,
    BackfillRequest,
    Name,
    RedeliveryRequest,
    begin_redelivery,
    delivery_filter,
    may_start,
    range_of,
)
from logstream.console.chart import timeline_chart
from logstream.console.edits import Data, Document, users_of, with_destination
from logstream.console.forms import EVENT_LINES, Form, fields_of, lines_of, options_of, streaming_of
from logstream.console.problems import Problem, problem_of
from logstream.console.service import SORTS, Console, Customer, named, templates
from logstream.console.wiring import the_console
from logstream.console.words import FILTERS, query_of
from logstream.delivery.overview import DeliveryFilter
from logstream.destinations import check_options, destination_types
from logstream.errors import InputError, LogstreamError
from logstream.events import Kind
from logstream.rendering.template import NAMES
from logstream.settings.document import parse_yaml

PAGE = 50
DEAD_LETTERS = 200
Its = Annotated[Console, Depends(the_console)]
Id = Annotated[int, Path(ge=0, le=BIG)]
Text = Annotated[str, Query(max_length=200)]
MaybeId = Annotated[int | None, Query(ge=0, le=BIG)]

router = APIRouter(dependencies=[Depends(reader)], default_response_class=HTMLResponse)
jinja = Jinja2Templates(directory=FilePath(__file__).parent / "templates")
jinja.env.trim_blocks = jinja.env.lstrip_blocks = True
jinja.env.filters.update(FILTERS)
jinja.env.globals.update(query_of=query_of)


async def form_data(request: Request) -> dict[str, list[str]]:
    """What a browser sent: each name with all its values, files as text."""
    found: dict[str, list[str]] = {}
    for name, value in (await form_of(request)).multi_items():
        text = value if isinstance(value, str) else (await value.read()).decode("utf-8", "replace")
        found.setdefault(name, []).append(text)
    return found


Sent = Annotated[dict[str, list[str]], Depends(form_data)]


def show(request: Request, template: str, user: Any, status: int = 200, **context: Any) -> HTMLResponse:
    """Render a page with what every page needs."""
    base = str(request.scope.get("root_path", ""))
    context |= {
        "base": base,
        "airflow": base.rpartition("/")[0],
        "writer": may_write(user),
        "csrf": csrf_token(user),
        "release": __version__,
    }
    return jinja.TemplateResponse(request, template, context, status_code=status)


def back(request: Request, path: str, **query: object) -> RedirectResponse:
    """Send the browser to a page after something was done."""
    base = str(request.scope.get("root_path", ""))
    return RedirectResponse(f"{base}/{path}" + (f"?{urlencode(query)}" if query else ""), status_code=303)


def one(form: Form, name: str, default: str = "") -> str:
    """The first value of a name."""
    return next(iter(form.get(name, ())), default).strip()


def run_path(run: str) -> str:
    """The path of a run that a page was told to link to; nothing else is linked to."""
    return run if run.startswith("dags/logstream_") else ""


# the form of a setting, the admin's or a customer's


def setting_form(console: Console, streaming: Data, edited: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the form of a setting shows. `edited` is the destination as somebody is filling it in."""
    known = console.current().settings.destinations
    name = streaming.get("destination") or ""
    stored = known.get(name)
    given = edited if edited is not None else ({"type": stored.type, **stored.options} if stored else {})
    return {
        "streaming": streaming,
        "lines": EVENT_LINES,
        "names": sorted(known),
        "templates": templates(),
        "placeholders": [f"{{{{{{{name}}}}}}}" for name in (*NAMES, "$.context.user_email")],
        "kinds": list(Kind),
        **destination_fields(known, name, given),
    }


def destination_fields(known: Mapping[str, Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the part of a form shows that is about a destination."""
    kind = str(given.get("type") or "")
    made = destination_types().get(kind)
    seen, more = fields_of(made.options_model, given) if made else ([], [])
    return {
        "destination_name": name,
        "destination_known": name in known,
        "destination_type": kind,
        "types": {key: item.title for key, item in destination_types().items()},
        "fields": seen,
        "more_fields": more,
        "more_open": any(field.value != field.default for field in more),
        "connection_type": made.connection_type if made else None,
        "connections": runs.connection_ids(made.connection_type) if made and made.connection_type else [],
    }


def sent_destination(form: Form) -> tuple[str, Data | None]:
    """The destination that a form names, and its type and options; `None` where the form has no fields for it."""
    name, kind = one(form, "destination_name"), one(form, "destination_type")
    made = destination_types().get(kind)
    if made is None:
        return name, ({"type": kind} if kind else None)
    return name, {"type": kind, **options_of(made.options_model, form)}


def sent_setting(console: Console, form: Form) -> tuple[Data, Document]:
    """A form as (setting, the document that holds its destination)."""
    name, destination = sent_destination(form)
    document = console.document()
    if name and destination is not None:
        document = with_destination(document, name, destination)
    return streaming_of(form), document


def version_of(form: Form) -> int:
    """The version of the settings that a form was filled in upon."""
    text = one(form, "version")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InputError("the form does not say upon which version of the settings it was filled in; load it again")
    return int(text)


def not_saved(console: Console, error: LogstreamError | LookupError) -> Problem:
    """Why something was not saved; with what somebody else has changed meanwhile."""
    return problem_of(error, console.exporter.settings)


# settings of all workspaces


@router.get("/")
def settings_page(request: Request, console: Its, user: Reader, saved: MaybeId = None) -> Response:
    """The admin's setting."""
    snapshot = console.current()
    admin = snapshot.settings.admin
    streaming = admin.model_dump(mode="json", exclude_unset=True) if admin else {}
    return _settings(request, console, user, streaming, version=snapshot.id, saved=saved)


def _settings(
    request: Request, console: Console, user: Any, streaming: Data, *, version: int, saved: int | None = None,
    problem: Problem | None = None, edited: Data | None = None,
) -> HTMLResponse:  # fmt: skip
    settings = console.current().settings
    overridden = console.override().workspaces
    name = streaming.get("destination")
    standing = console.overview.statuses([name])[name] if name in settings.destinations else None
    return show(
        request, "settings.html", user, problem.status if problem else 200, tab="settings", version=version, saved=saved,
        problem=problem, overridden=overridden, overridden_names=named(overridden), workspaces=len(console.workspaces()),
        admin_on=bool(settings.admin and settings.admin.enabled), standing=standing, locked=False, workspace_id=None,
        **setting_form(console, streaming, edited),
    )  # fmt: skip


@router.post("/")
def save_settings(request: Request, console: Its, user: Writer, form: Sent) -> Response:
    """Save the admin's setting."""
    streaming, document = sent_setting(console, form)
    try:
        saved = console.save_admin(streaming, name_of(user), version_of(form), document)
    except LogstreamError as error:
        problem = not_saved(console, error)
        version = problem.version or console.current().id
        edited = sent_destination(form)[1]
        return _settings(request, console, user, streaming, version=version, problem=problem, edited=edited)
    return back(request, "", saved=saved.id)


# what a form looks up while it is filled in


@router.get("/parts/destination")
def destination_part(
    request: Request, console: Its, user: Reader, destination_name: Text = "", destination_type: Text = "",
    changed: Text = "",
) -> Response:  # fmt: skip
    """The fields of a destination: those of the type chosen, or those of the destination chosen by its name."""
    name = destination_name.strip()
    known = console.current().settings.destinations
    stored = known.get(name)
    given: dict[str, Any] = {"type": destination_type}
    if stored and (changed == "name" or stored.type == destination_type):
        given = {"type": stored.type, **stored.options}
    context = destination_fields(known, name, given)
    return show(request, "parts/destination.html", user, names=sorted(known), locked=False, **context)


@router.post("/parts/validate")
def validate_part(request: Request, console: Its, user: Writer, form: Sent) -> Response:
    """What is wrong with the fields of a destination that were touched, each beside its field."""
    _, destination = sent_destination(form)
    wrong: dict[str, str] = {}
    kind = destination_types().get(str((destination or {}).get("type", "")))
    if kind is not None and destination is not None:
        options = {key: value for key, value in destination.items() if key != "type"}
        for path, what in check_options(kind.type, options):
            wrong.setdefault(str(path[0]) if path else "type", what)
    touched = {name.removeprefix("option.") for name in one(form, "touched").split()}
    shown = {name: wrong.get(name, "") for name in (kind.options_model.model_fields if kind else ()) if name in touched}
    return show(request, "parts/validated.html", user, shown=shown)


@router.post("/parts/preview")
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
        found = console.preview(setting, kind, newest=newest, workspace_id=number)
    except LogstreamError as error:
        problem = problem_of(error)
        return show(request, "parts/preview.html", user, mistakes=problem.problems or [problem.detail])
    if found.message is None:
        excerpt = _excerpt(str(setting.get("message", "")), found.line, found.column) if found.line else None
        return show(request, "parts/preview.html", user, mistakes=[found.error], found=found, excerpt=excerpt)
    pretty = json.dumps(json.loads(found.message), indent=2, ensure_ascii=False)
    return show(request, "parts/preview.html", user, found=found, pretty=pretty[:20_000], cut=len(pretty) > 20_000)


def _excerpt(template: str, line: int, column: int | None) -> tuple[str, str]:
    """The line of a template in which a mistake is, and a mark below its place."""
    lines = template.splitlines() or [""]
    text = lines[min(line, len(lines)) - 1]
    begin = max(0, (column or 1) - 60)
    return text[begin : begin + 120], " " * max(0, (column or 1) - 1 - begin) + "^"


@router.post("/parts/test")
def test_part(request: Request, console: Its, user: Writer, form: Sent) -> Response:
    """Try the destination out that a form describes, saved or not."""
    name, destination = sent_destination(form)
    if not destination:
        return show(request, "parts/steps.html", user, steps=[], mistakes=["Choose a destination type first."])
    try:
        steps = console.check(name or "unsaved", destination)
    except LogstreamError as error:
        problem = problem_of(error)
        return show(request, "parts/steps.html", user, steps=[], mistakes=problem.problems or [problem.detail])
    return show(request, "parts/steps.html", user, steps=steps, mistakes=[])


# customers


@router.get("/customers")
def customers_page(
    request: Request, console: Its, user: Reader, query: Text = "", sort: Text = "id", down: bool = False,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1, health: Text = "",
) -> Response:  # fmt: skip
    """All customers, with where their events go."""
    sort = sort if sort in SORTS else "id"
    found = console.customers(query, sort, descending=down, offset=(page - 1) * PAGE, limit=PAGE, health=health)
    template = "parts/customers.html" if request.headers.get("HX-Request") else "customers.html"
    admin = console.current().settings.admin
    return show(
        request, template, user, tab="customers", found=found, query=query, sort=sort, down=down, page=page, health=health,
        pages=max(1, -(-found.total // PAGE)), admin_on=bool(admin and admin.enabled),
    )  # fmt: skip


@router.get("/customers/{workspace_id}")
def customer_page(request: Request, console: Its, user: Reader, workspace_id: Id, saved: MaybeId = None) -> Response:
    """One customer's setting, and what was delivered."""
    snapshot = console.current()
    own = snapshot.settings.own.get(workspace_id)
    streaming = own.model_dump(mode="json", exclude_unset=True) if own else {}
    customer = console.customer(workspace_id)
    return _customer(request, console, user, customer, streaming, version=snapshot.id, saved=saved)


def _customer(
    request: Request, console: Console, user: Any, customer: Customer, streaming: Data, *, version: int,
    saved: int | None = None, problem: Problem | None = None, edited: Data | None = None,
) -> HTMLResponse:  # fmt: skip
    settings = console.current().settings
    return show(
        request, "customer.html", user, problem.status if problem else 200, tab="customers", customer=customer,
        version=version, saved=saved, problem=problem, locked=bool(settings.admin and settings.admin.enabled),
        deliveries=console.customer_deliveries(customer), workspace_id=customer.workspace.id, standing=customer.status,
        own=customer.workspace.id in settings.own, **setting_form(console, streaming, edited),
    )  # fmt: skip


@router.post("/customers/{workspace_id}")
def save_customer(request: Request, console: Its, user: Writer, workspace_id: Id, form: Sent) -> Response:
    """Save a customer's own setting, or take it away."""
    customer = console.customer(workspace_id)
    streaming, document = sent_setting(console, form)
    new, more = (None, None) if one(form, "do") == "remove" else (streaming, document)
    try:
        saved = console.save_workspace(workspace_id, new, name_of(user), version_of(form), more)
    except LogstreamError as error:
        problem = not_saved(console, error)
        version = problem.version or console.current().id
        edited = sent_destination(form)[1]
        return _customer(request, console, user, customer, streaming, version=version, problem=problem, edited=edited)
    return back(request, f"customers/{workspace_id}", saved=saved.id)


# destinations


@router.get("/parts/names")
def names_part(
    request: Request, console: Its, user: Reader, destination: Text = "", destination_name: Text = ""
) -> Response:
    """Some names of destinations that hold what was typed."""
    needle = (destination or destination_name).strip().casefold()
    found = (name for name in sorted(console.current().settings.destinations) if needle in name.casefold())
    return show(request, "parts/names.html", user, names=list(itertools.islice(found, PAGE)))


@router.get("/destinations")
def destinations_page(
    request: Request, console: Its, user: Reader, query: Text = "", health: Text = "",
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1, done: Text = "", run: Text = "",
) -> Response:  # fmt: skip
    """All destinations, and how they stand."""
    return _destinations(request, console, user, query=query, health=health, page=page, done=done, run=run)


def _destinations(
    request: Request, console: Console, user: Any, *, query: str = "", health: str = "", page: int = 1, done: str = "",
    run: str = "", problem: Problem | None = None,
) -> HTMLResponse:  # fmt: skip
    snapshot = console.current()
    total, found = console.destinations(query, health, offset=(page - 1) * PAGE, limit=PAGE)
    rows = [(item, *users_of(snapshot.settings, item.status.name)) for item in found]
    return show(
        request, "destinations.html", user, problem.status if problem else 200, tab="destinations", rows=rows, done=done,
        run=run_path(run), problem=problem, version=snapshot.id, total=total, query=query, health=health, page=page,
        pages=max(1, -(-total // PAGE)),
    )  # fmt: skip


@router.post("/destinations/{name}")
def act_on_destination(request: Request, console: Its, user: Writer, name: Name, form: Sent) -> Response:
    """Suspend, resume, redeliver to or delete a destination."""
    try:
        match one(form, "do"):
            case "suspend":
                console.suspend(name, name_of(user))
                done = "suspended: it gets nothing, and is owed what it would have got"
            case "resume":
                console.resume(name)
                done = "back in service: the next run delivers what it is owed, oldest first"
            case "delete":
                console.save_destination(name, None, name_of(user), version_of(form))
                done = "deleted"
            case "redeliver":
                run = begin_redelivery(console, user, RedeliveryRequest(destination=name))
                return back(request, "destinations", done=f"A run delivers what is owed to {name}.", run=run)
            case _:
                raise InputError("the form does not say what to do")
    except (LogstreamError, LookupError) as error:
        return _destinations(request, console, user, problem=not_saved(console, error))
    return back(request, "destinations", done=f"{name} is {done}.")


@router.get("/destinations/{name}")
def destination_page(request: Request, console: Its, user: Reader, name: Name, saved: MaybeId = None) -> Response:
    """One destination's options."""
    snapshot = console.current()
    stored = snapshot.settings.destinations.get(name)
    if stored is None:
        raise LookupError(f'no destination named "{name}"')
    given = {"type": stored.type, **stored.options}
    return _destination(request, console, user, name, given, version=snapshot.id, saved=saved)


def _destination(
    request: Request, console: Console, user: Any, name: str, given: Data, *, version: int, saved: int | None = None,
    problem: Problem | None = None,
) -> HTMLResponse:  # fmt: skip
    settings = console.current().settings
    by_admin, own = users_of(settings, name)
    return show(
        request, "destination.html", user, problem.status if problem else 200, tab="destinations", version=version,
        saved=saved, problem=problem, users=own, by_admin=by_admin, standing=console.overview.statuses([name])[name],
        locked=False, fixed_name=True, names=sorted(settings.destinations),
        **destination_fields(settings.destinations, name, given),
    )  # fmt: skip


@router.post("/destinations/{name}/options")
def save_destination(request: Request, console: Its, user: Writer, name: Name, form: Sent) -> Response:
    """Save one destination's options."""
    destination = sent_destination(form)[1] or {}
    try:
        saved = console.save_destination(name, destination, name_of(user), version_of(form))
    except LogstreamError as error:
        problem = not_saved(console, error)
        version = problem.version or console.current().id
        return _destination(request, console, user, name, destination, version=version, problem=problem)
    return back(request, f"destinations/{name}", saved=saved.id)


# deliveries


@router.get("/deliveries")
def deliveries_page(
    request: Request, console: Its, user: Reader, destination: Text = "", state: Text = "", start: Text = "", end: Text = "",
    before: MaybeId = None, done: Text = "", run: Text = "",
) -> Response:  # fmt: skip
    """What happened, newest first."""
    names = console.current().settings.destinations
    chosen = destination if destination in names else None
    problem = None
    try:
        wanted = delivery_filter(console, chosen, state, with_utc(start), with_utc(end), before)
    except InputError as error:
        wanted, problem = DeliveryFilter(destination=chosen), problem_of(error)
    found = console.deliveries(wanted, PAGE)
    return show(
        request, "deliveries.html", user, problem.status if problem else 200, tab="deliveries", found=found, state=state,
        links=runs.links((item.window, item.destination) for item in found), destination=destination, start=start, end=end,
        names=sorted(names), more=len(found) == PAGE, problem=problem, done=done, run=run_path(run),
    )  # fmt: skip


def with_utc(text: str) -> str:
    """A time as a browser's field gives it, in UTC as the page says."""
    text = text.strip()
    bare = bool(text) and text[-1].isdigit() and "+" not in text and text.count("-") == 2
    return f"{text}Z" if bare else text


@router.get("/parts/timeline")
def timeline_part(request: Request, console: Its, user: Reader, destination: Text = "") -> Response:
    """Volume and lag over time."""
    names = console.current().settings.destinations
    moments = console.timeline(destination if destination in names else None)
    return show(request, "parts/timeline.html", user, chart=timeline_chart(moments), moments=moments)


@router.post("/deliveries")
def act_on_deliveries(request: Request, console: Its, user: Writer, form: Sent) -> Response:
    """Deliver again what is owed of one window."""
    name = one(form, "destination")
    if name not in console.current().settings.destinations:
        raise LookupError("the settings no longer have this destination")
    run = begin_redelivery(
        console, user, RedeliveryRequest(destination=name, start=one(form, "start")[:40], end=one(form, "end")[:40])
    )
    return back(request, "deliveries", done=f"A run delivers the window to {name} again.", run=run)


@router.post("/parts/backfill")
def backfill_part(request: Request, console: Its, user: Writer, form: Sent) -> Response:
    """How many windows a backfill makes; or start it."""
    known = console.current().settings.destinations
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
            may_start(user)
            begun = runs.start_backfill(start, end, wanted.destinations, name_of(user))
    except (LogstreamError, LookupError) as error:
        return show(request, "parts/backfill.html", user, mistake=problem_of(error).detail)
    return show(request, "parts/backfill.html", user, plan=plan, begun=begun, dag=runs.EXPORT_DAG)


@router.get("/dead-letters")
def dead_letters_page(
    request: Request, console: Its, user: Reader, destination: Text = "", done: Text = "", run: Text = ""
) -> Response:
    """Events that were refused, and why."""
    names = console.current().settings.destinations
    found = console.rejected(destination if destination in names else None, DEAD_LETTERS)
    return show(
        request, "dead_letters.html", user, tab="dead-letters", found=found, destination=destination, names=sorted(names),
        done=done, run=run_path(run), limit=DEAD_LETTERS,
    )  # fmt: skip


@router.post("/dead-letters")
def redeliver_dead_letters(request: Request, console: Its, user: Writer, form: Sent) -> Response:
    """Send dead letters again."""
    name = one(form, "destination")
    known = console.current().settings.destinations
    run = begin_redelivery(console, user, RedeliveryRequest(destination=name if name in known else None, rejected=True))
    return back(request, "dead-letters", done="A run sends them again, by the settings in force.", run=run)


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
        return _history(request, console, user, problem=not_saved(console, error))
    return back(request, "history", saved=saved.id)


@router.post("/history")
def import_settings(request: Request, console: Its, user: Writer, form: Sent) -> Response:
    """Replace all settings by a file."""
    try:
        document = parse_yaml("".join(form.get("file", ())), "settings.yaml")
        saved = console.save(document, name_of(user), version_of(form))
    except LogstreamError as error:
        return _history(request, console, user, problem=not_saved(console, error))
    return back(request, "history", saved=saved.id)
