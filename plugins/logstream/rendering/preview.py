"""Rendering one event outside a run: for the command line and the console's editor."""

from __future__ import annotations

import time

from logstream.errors import BadEvent, InputError, TemplateError
from logstream.events import Kind
from logstream.jsontext import dumps, loads
from logstream.rendering.renderer import Renderer
from logstream.rendering.template import compile_template


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
