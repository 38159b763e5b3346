"""Rendering one event outside a run: for the command line and the console's editor."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from logstream.errors import BadEvent, InputError, TemplateError
from logstream.events import Kind
from logstream.jsontext import dumps, loads
from logstream.rendering.renderer import Renderer
from logstream.rendering.template import compile_template


@dataclass(frozen=True, slots=True)
class Rendered:
    """What became of a sample: the message, or the mistake, with its place in the template where it has one."""

    message: str | None = None
    error: str | None = None
    line: int | None = None
    column: int | None = None


def render_sample(
    template: str | None, kind: str, payload: bytes, *, drop_lines: bool, mask: Sequence[str] = ()
) -> Rendered:
    """Render an event by the same code as an export does; mistakes are returned, not raised."""
    try:
        compiled = compile_template(template) if template is not None else None
    except TemplateError as error:
        return Rendered(error=error.reason, line=error.line, column=error.column)
    try:
        renderer = Renderer(compiled, drop_lines=drop_lines, now_ns=time.time_ns(), mask=mask)
        message = renderer.render(kind, payload)
    except BadEvent as error:
        return Rendered(error=f"the event cannot be sent: {error}")
    if renderer.fallback_reason:
        return Rendered(error=f"the template breaks on this event: {renderer.fallback_reason}")
    return Rendered(message.decode("utf-8"))


def preview(template: str, event: str, template_name: str = "template", event_name: str = "event") -> str:
    """Render an event: its payload, or a line as `logstream store load` takes it.

    Raises `InputError` naming template or event, with line and column for a template's mistake.
    """
    try:
        compiled = compile_template(template)
    except TemplateError as error:
        raise InputError(f"{template_name}: {error}") from None
    try:
        document = loads(event.encode("utf-8", "surrogatepass"))
        kind, payload = "", event.strip().encode()
        if isinstance(document, dict) and document.keys() == {"event"} and isinstance(document["event"], dict):
            kind = str(document["event"].get("kind", ""))
            payload = dumps(document["event"].get("payload"))
        renderer = Renderer(compiled, drop_lines=False, now_ns=time.time_ns())
        message = renderer.render(kind or Kind.JOB, payload)
    except BadEvent as error:
        raise InputError(f"{event_name}: {error}") from None
    if renderer.fallback_reason:
        raise InputError(f"{template_name}: the template breaks on this event: {renderer.fallback_reason}")
    return message.decode("utf-8")
