"""How long rendering one event takes, by template."""

from __future__ import annotations

import statistics
import time
from datetime import timedelta

import msgspec

from benchmarks.store import START, WORKSPACES
from logstream.rendering import Renderer
from logstream.rendering.preview import as_stored
from logstream.testing.events import EventMaker

CASES: dict[str, tuple[str | None, list[str]]] = {
    "default message (the event itself)": (None, []),
    "wrapped message": ('{"source": "workato", "event": {{{log_message}}}}', []),
    "`log_message_str`": ('{"ddsource": "workato", "message": {{{log_message_str}}}}', []),
    "one JSONPath placeholder": ('{"type": {{{$.event}}}, "event": {{{log_message}}}}', []),
    "envelope placeholders": (
        '{"of": {{{workspace.id}}}, "at": {{{event.occurred_at}}}, "event": {{{log_message}}}}',
        [],
    ),
    "`ocsf`": ("{{{ocsf}}}", []),
    "one mask": (None, ["$.user.email"]),
}


def table() -> str:
    """Microseconds an event, medians of 5 over 2,000 events of all kinds."""
    lines = EventMaker(WORKSPACES).lines(2_000, START, timedelta(hours=1))
    events = [as_stored(event.kind, bytes(event.payload)) for event in map(_event, lines)]
    rows = ["## Rendering alone", "", "| template | microseconds an event |", "| --- | ---: |"]
    for name, (message, mask) in CASES.items():
        renderer = Renderer.of(message, drop_lines=False, now_ns=0, mask=mask)
        if renderer.fallback_reason:
            raise SystemExit(renderer.fallback_reason)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            for event in events:
                renderer.render(event)
            times.append(time.perf_counter() - began)
        rows.append(f"| {name} | {statistics.median(times) / len(events) * 1e6:.2f} |")
    return "\n".join([*rows, ""])


class _Event(msgspec.Struct):
    kind: str
    payload: msgspec.Raw


class _Line(msgspec.Struct):
    event: _Event


def _event(line: str) -> _Event:
    return msgspec.json.decode(line, type=_Line).event
