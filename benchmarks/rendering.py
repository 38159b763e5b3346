"""How long rendering one event takes, by template."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import timedelta

import msgspec

from benchmarks.store import START, WORKSPACES
from logstream.batches import Events
from logstream.rendering import Renderer
from logstream.rendering.columns import ColumnRenderer
from logstream.rendering.preview import as_stored
from logstream.settings.resolution import Workspace
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
    """Microseconds an event, medians of 5 over 2,000 events of all kinds: one by one, and as the engine does it."""
    lines = EventMaker(WORKSPACES).lines(2_000, START, timedelta(hours=1))
    events = [as_stored(event.kind, bytes(event.payload)) for event in map(_event, lines)]
    columns = Events.of(events)
    workspaces = {event.workspace_id for event in events}
    rows = ["## Rendering alone", "", "Microseconds of processor time an event: one by one, and the same in columns.", "",
            "| template | one by one | in columns |", "| --- | ---: | ---: |"]  # fmt: skip
    for name, (message, mask) in CASES.items():
        renderer = Renderer.of(message, drop_lines=False, now_ns=0, mask=mask)
        if renderer.fallback_reason:
            raise SystemExit(renderer.fallback_reason)
        together = ColumnRenderer(
            workspaces, lambda workspace, kind, own=renderer: own.frame(kind, Workspace(workspace)), renderer.render
        )
        alone = _median(lambda own=renderer: [own.render(event) for event in events])
        many = _median(lambda own=together: list(own.render(columns)))
        rows.append(f"| {name} | {alone / len(events) * 1e6:.2f} | {many / len(events) * 1e6:.2f} |")
    return "\n".join([*rows, ""])


def _median(run: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return statistics.median(times)


class _Event(msgspec.Struct):
    kind: str
    payload: msgspec.Raw


class _Line(msgspec.Struct):
    event: _Event


def _event(line: str) -> _Event:
    return msgspec.json.decode(line, type=_Line).event
