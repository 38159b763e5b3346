"""What is done by a command is kept like what is done in the console: by whom, when, and that it was a command."""

from __future__ import annotations

import os
from typing import Any


def person() -> str:
    """Who gives the command, as far as the system tells."""
    # bytes that are no UTF-8 come as surrogates, which no database takes
    return os.environ.get("USER", "").encode("utf-8", "replace").decode("utf-8") or "the command"


def note_act(settings: Any, act: str, subject: str | None = None, **detail: Any) -> None:
    """Keep an act, over the `SettingsRepository` of the control database in which it was done."""
    from logstream.control.audit import Act, Actor, AuditEvent, AuditTrail

    event = AuditEvent(Act(act), Actor(person()), subject or "", detail)
    AuditTrail(settings.engine).record(event, stream=settings.current().settings.audit.stream)
