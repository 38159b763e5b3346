"""Rendering one event outside a run: for the command line and the console's editor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from logstream import clock
from logstream.errors import BadEvent, InputError, TemplateError
from logstream.events import EPOCH, Event, Kind
from logstream.jsontext import dumps, loads
from logstream.rendering.renderer import Renderer
from logstream.rendering.template import compile_template
from logstream.settings.models import DEFAULT_KIND
from logstream.settings.resolution import Workspace
from logstream.shapes import kind_of, parse_time, read_head, said_time

SAMPLE_WORKSPACE = Workspace(1001, "acme-1", "Acme Corp")
"""The customer of samples, and of events that come without one."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What became of a sample: the message, or the mistake, with its place in the template where it has one.

    `template_of` is the kind whose template it was (`default`: that of all others), of a message that has several.
    """

    message: str | None = None
    error: str | None = None
    line: int | None = None
    column: int | None = None
    template_of: str | None = None


def render_sample(template: str | None, kind: str, payload: bytes, *, drop_lines: bool) -> Rendered:
    """Render an event that no log store has, of the customer of samples."""
    return render_event(template, as_stored(kind, payload), SAMPLE_WORKSPACE, drop_lines=drop_lines)


def render_event(
    template: str | None, event: Event, workspace: Workspace | None, *, drop_lines: bool, mask: Sequence[str] = ()
) -> Rendered:
    """Render an event by the same code as an export does; mistakes are returned, not raised."""
    try:
        compiled = compile_template(template) if template is not None else None
    except TemplateError as error:
        return Rendered(error=error.reason, line=error.line, column=error.column)
    try:
        renderer = Renderer(compiled, drop_lines=drop_lines, now_ns=clock.time_ns(), mask=mask)
        message = renderer.render(event, workspace)
    except BadEvent as error:
        return Rendered(error=f"the event cannot be sent: {error}")
    if renderer.fallback_reason:
        return Rendered(error=f"the template breaks on this event: {renderer.fallback_reason}")
    return Rendered(message.decode("utf-8"))


def preview(
    message: str | Mapping[str, str], event: str, template_name: str | Mapping[str, str] = "template",
    event_name: str = "event", kind: str | None = None,
) -> str:  # fmt: skip
    """Render an event: its payload, or a line as `logstream store load` takes it. `message` may be by kind of event, and the name
    of its template, too.

    A payload's kind is told by its fields unless `kind` says it. Raises `InputError` naming template or event, with line and
    column for a template's mistake.
    """
    try:
        stored = _read_event(event, kind)
    except BadEvent as error:
        raise InputError(f"{event_name}: {error}") from None
    sources = {DEFAULT_KIND: message} if isinstance(message, str) else message
    names = dict.fromkeys(sources, template_name) if isinstance(template_name, str) else template_name
    for own, source in sources.items():
        try:
            compile_template(source)
        except TemplateError as error:
            raise InputError(f"{names[own]}{'' if len(sources) == 1 else f' (of {own})'}: {error}") from None
    of = stored.kind if stored.kind in sources else DEFAULT_KIND
    try:
        chosen = sources.get(of)
        renderer = Renderer.of(chosen, drop_lines=False, now_ns=clock.time_ns())
        rendered = renderer.render(stored, SAMPLE_WORKSPACE if stored.workspace_id == SAMPLE_WORKSPACE.id else None)
    except BadEvent as error:
        raise InputError(f"{event_name}: {error}") from None
    if renderer.fallback_reason:
        raise InputError(f"{names.get(of, of)}: the template breaks on this event: {renderer.fallback_reason}")
    return rendered.decode("utf-8")


def as_stored(kind: str, payload: bytes, workspace_id: int | None = None, event_id: int = 1) -> Event:
    """An event that no log store has, as one would have it: at the time that it says, recorded at once."""
    said = said_time(kind, read_head(payload)) or clock.now()
    moment = (said - EPOCH) // timedelta(microseconds=1)
    return Event(event_id, SAMPLE_WORKSPACE.id if workspace_id is None else workspace_id, kind, moment, moment, payload)


def _read_event(text: str, kind: str | None) -> Event:
    """The event of a file: a payload, or a line of `logstream store load`. Raises `BadEvent`."""
    document = loads(text.encode("utf-8", "surrogatepass"))
    if not isinstance(document, dict) or document.keys() != {"event"} or not isinstance(document["event"], dict):
        found = kind_of(document) if isinstance(document, dict) else None
        return as_stored(kind or found or Kind.JOB, text.strip().encode())
    given = document["event"]
    workspace, identity = (number if type(number := given.get(name)) is int else 1 for name in ("workspace_id", "id"))
    event = as_stored(kind or str(given.get("kind") or Kind.JOB), dumps(given.get("payload")), workspace, identity)
    times = [parse_time(given.get(name)) for name in ("occurred_at", "recorded_at")]
    occurred, recorded = ((time - EPOCH) // timedelta(microseconds=1) if time else None for time in times)
    moment = event.occurred_us if occurred is None else occurred
    return event._replace(occurred_us=moment, recorded_us=moment if recorded is None else recorded)
