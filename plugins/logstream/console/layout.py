"""What all pages share: how they are rendered, what a browser sends, and the types of their parameters."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from markupsafe import Markup

from logstream import __version__
from logstream.console.access import csrf_token, form_of, may_create_connections, may_write
from logstream.console.bounds import BIG
from logstream.console.chart import Shade
from logstream.console.deps import the_console
from logstream.console.filters import FILTERS, query_of
from logstream.console.forms import Form
from logstream.console.mistakes import label_of
from logstream.console.remedies import place_of, remedy_here, said_of
from logstream.console.service import Console
from logstream.console.service.deliveries import COUNTED
from logstream.errors import InputError, LogstreamError
from logstream.ledger.condition import Condition
from logstream.settings.characters import CONTROL

PAGE = 50
"""Rows of a list that are shown at a time."""

Its = Annotated[Console, Depends(the_console)]
Id = Annotated[int, Path(ge=0, le=BIG)]
MaybeId = Annotated[int | None, Query(ge=0, le=BIG)]
Text = Annotated[str, Query(max_length=200)]

jinja = Jinja2Templates(directory=FilePath(__file__).parent / "templates")
jinja.env.trim_blocks = jinja.env.lstrip_blocks = True
jinja.env.filters.update(FILTERS)
jinja.env.globals.update(
    query_of=query_of, label_of=label_of, remedy_here=remedy_here, said_of=said_of, place_of=place_of,
    CONDITIONS=tuple(Condition), SHADES=tuple(Shade), MOST_LETTERS=COUNTED,
)  # fmt: skip


async def form_data(request: Request) -> dict[str, list[str]]:
    """What a browser sent: each name with all its values, files as text."""
    found: dict[str, list[str]] = {}
    for name, value in (await form_of(request)).multi_items():
        text = value if isinstance(value, str) else (await value.read()).decode("utf-8", "replace")
        if CONTROL.search(name) or CONTROL.search(text):
            raise HTTPException(422, f"{label_of(name)} holds a control character.")
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
        "may_connect": partial(may_create_connections, user),
        "csrf": csrf_token(user),
        "release": __version__,
        "dead_letters": _dead_letters(),
    }
    return jinja.TemplateResponse(request, template, context, status_code=status)


def _dead_letters() -> int:
    """The number in the navigation; a page that says which database is away is shown without it."""
    try:
        return the_console().deliveries.count_dead_letters()
    except LogstreamError:
        return 0


@dataclass(frozen=True, slots=True)
class Fresh:
    """A part of a page that fetches itself again every few seconds: its HTML, and the tag that says whether it has changed."""

    html: Markup
    tag: str


def fresh(
    request: Request, template: str, user: Any, path: str, query: Mapping[str, object], *, name: str = "fresh",
    label: str = "", **context: Any,
) -> Fresh:  # fmt: skip
    """Render such a part, which is at `path` with `query`. One of several on a page has its own `name`, and a `label`.

    What is shown is swapped only when it has changed, so that nothing flickers, and the focus and a reader's place stay: the
    browser sends back, as `If-None-Match`, the tag that the part has.
    """
    inner = bytes(show(request, template, user, **context).body).decode()
    # each page has a token of its own, which is no news
    token = _TOKEN.search(inner)
    tag = hashlib.sha256(inner.replace(token[1] if token else "\0", "").encode()).hexdigest()[:20]
    around = jinja.env.get_template("parts/fresh.html")
    address = f"{request.scope.get('root_path', '')}/{path}?{query_of(**query)}"
    return Fresh(Markup(around.render(inner=Markup(inner), tag=tag, address=address, name=name, label=label)), tag)  # noqa: S704 - rendered


_TOKEN = re.compile(r'name="csrf_token" value="([^"]*)"')


def answer_fresh(request: Request, part: Fresh) -> Response:
    """The part by itself; 304 where it looks as it does already."""
    known = request.headers.get("If-None-Match") == part.tag
    return Response(status_code=304) if known else HTMLResponse(part.html)


def back(request: Request, path: str, **query: object) -> RedirectResponse:
    """Send the browser to a page after something was done."""
    base = str(request.scope.get("root_path", ""))
    return RedirectResponse(f"{base}/{path}" + (f"?{urlencode(query)}" if query else ""), status_code=303)


def one(form: Form, name: str, default: str = "") -> str:
    """The first value of a name."""
    return next(iter(form.get(name, ())), default).strip()


def version_of(form: Form) -> int:
    """The version of the settings that a form was filled in upon."""
    text = one(form, "version")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InputError("the form does not say upon which version of the settings it was filled in; load it again")
    return int(text)


def with_utc(text: str) -> str:
    """A time as a browser's field gives it, in UTC as the page says."""
    text = text.strip()
    bare = bool(text) and text[-1].isdigit() and "+" not in text and text.count("-") == 2
    return f"{text}Z" if bare else text
