"""Selecting and rendering the events of some lanes, each workspace's by its own setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from logstream.destinations.parcel import cursor_of
from logstream.errors import BadEvent, BadForSetting
from logstream.events import Event, Kind, Selection
from logstream.messages import Messages
from logstream.rendering import Renderer
from logstream.settings.models import Streaming
from logstream.settings.resolution import Workspace
from logstream.shapes import log_fields
from logstream.store.base import BadRow, Filter
from logstream.tracebacks import words_of


class Unsendable(NamedTuple):
    """An event that cannot be sent, and why.

    `doubted`: a message could not be made of it, so its setting, or our code, may be at fault and not the event. It is believed
    only beside acceptances (`export/refusals.py`). What is no event at all, or too deep for every receiver, is believed.
    """

    event: Event
    reason: str
    doubted: bool = False


@dataclass(slots=True)
class Chunk:
    """Events that are rendered: those to send with their messages, and those that cannot be sent."""

    events: list[Event] = field(default_factory=list)
    messages: Messages = field(default_factory=lambda: Messages([]))
    bad: list[Unsendable] = field(default_factory=list)


class EventRenderer:
    """Selects and renders events of the workspaces in `streamings`. `now_ns` is the instant of each of them.

    `workspaces` is asked for all workspaces if a template names them.
    """

    def __init__(
        self,
        streamings: Mapping[int, Streaming],
        now_ns: Mapping[int, int],
        workspaces: Callable[[], Iterable[Workspace]] = tuple,
    ) -> None:
        shared: dict[tuple[int, int], tuple[Selection, Renderer]] = {}
        self._by_workspace: dict[int, tuple[Selection, Renderer]] = {}
        for workspace, streaming in streamings.items():
            # an admin's setting is one object for all workspaces, and so is its renderer
            key = id(streaming), now_ns[workspace]
            if key not in shared:
                selection = streaming.selection
                renderer = Renderer.of(
                    streaming.message,
                    drop_lines=selection.drops_lines,
                    now_ns=now_ns[workspace],
                    mask=streaming.mask,
                )
                shared[key] = selection, renderer
            self._by_workspace[workspace] = shared[key]
        self._shared = list(shared.values())
        named = any(renderer.names_workspace for _, renderer in self._shared)
        self._workspaces = {workspace.id: workspace for workspace in workspaces()} if named else {}
        self._narrowing = any(selection.filters_logs for selection, _ in self._shared)
        self._filters: tuple[Filter, ...] | None = None
        # messages of one renderer for all workspaces are made many at a time
        self._only = self._shared[0][1] if len(self._shared) == 1 else None

    @property
    def filters(self) -> tuple[Filter, ...]:
        """What to read."""
        if self._filters is not None:
            return self._filters
        groups: dict[Selection, list[int]] = {}
        for workspace, (selection, _) in self._by_workspace.items():
            groups.setdefault(selection, []).append(workspace)
        self._filters = tuple(Filter.of(selection, sorted(workspaces)) for selection, workspaces in groups.items())
        return self._filters

    def knows(self, event: Event) -> bool:
        """Whether there is a setting for the event's workspace."""
        return event[1] in self._by_workspace

    def select(self, events: list[Event]) -> list[Event]:
        """Those of some events, read by `filters`, that are streamed."""
        return [event for event in events if self._selected(event)] if self._narrowing else events

    def render(self, events: list[Event], bad: Sequence[BadRow] = ()) -> Chunk:
        """Render the selected ones of some events, in order. `bad` are rows among them that are no events."""
        events = self.select(events)
        unsendable = [Unsendable(event, reason) for event, reason in bad]
        if self._only is not None:
            messages = self._only.render_plain(events)
            if messages is not None:
                return Chunk(events, messages, unsendable)
        chunk = Chunk(bad=unsendable)
        for event in events:
            try:
                renderer = self._by_workspace[event[1]][1]
                chunk.messages.inner.append(renderer.render(event, self._workspaces.get(event[1])))
                chunk.events.append(event)
            except BadForSetting as error:
                chunk.bad.append(Unsendable(event, str(error), doubted=True))
            except BadEvent as error:
                chunk.bad.append(Unsendable(event, str(error)))
            except Exception as error:  # of whatever kind, it is this event's alone
                reason = f"it cannot be rendered ({type(error).__name__}: {words_of(error)[:300]})"
                chunk.bad.append(Unsendable(event, reason, doubted=True))
        if bad:
            # they enter the ledger in the window's order
            chunk.bad.sort(key=lambda row: cursor_of(row.event))
        return chunk

    def _selected(self, event: Event) -> bool:
        selection = self._by_workspace[event[1]][0]
        if event[2] != Kind.LOG_SERVICE or not selection.filters_logs:
            return True
        return selection.matches(event[2], *log_fields(event[5]))

    @property
    def fallbacks(self) -> str | None:
        """What was sent by the default message instead of its template, in words; `None` if nothing was."""
        broken = [renderer.fallback_reason for _, renderer in self._shared if renderer.fallback_reason]
        if broken:
            return f"message template broke, the default message was sent instead: {broken[0]}"
        return next((renderer.mask_problem for _, renderer in self._shared if renderer.mask_problem), None)


class Demultiplexer:
    """Divides what is read among lanes: `lane_of` maps a workspace to the number of its lane."""

    def __init__(self, lane_of: Mapping[int, int]) -> None:
        self._numbers = sorted(set(lane_of.values()))
        self._index = {workspace: self._numbers.index(number) for workspace, number in lane_of.items()}

    def divide(
        self, events: list[Event], bad: Sequence[BadRow] = ()
    ) -> list[tuple[int, list[Event], Sequence[BadRow]]]:
        """Events, and rows that are no events, by the lane of their workspace, in order."""
        if len(self._numbers) == 1:
            return [(self._numbers[0], events, bad)]
        lanes: list[list[Event]] = [[] for _ in self._numbers]
        rows: list[list[BadRow]] = [[] for _ in self._numbers]
        add, index = [lane.append for lane in lanes], self._index
        for event in events:
            add[index[event[1]]](event)
        for row in bad:
            rows[index[row[0].workspace_id]].append(row)
        return list(zip(self._numbers, lanes, rows, strict=True))


def after(chunk: Chunk, resume: tuple[int, int]) -> tuple[Sequence[Event], Chunk]:
    """Cut a chunk at a checkpoint, given as (recorded_us, id): the events before it, and the chunk of those after it."""
    keep = next((index for index, event in enumerate(chunk.events) if (event[4], event[0]) > resume), len(chunk.events))
    bad = [row for row in chunk.bad if cursor_of(row.event) > resume]
    return chunk.events[:keep], Chunk(chunk.events[keep:], chunk.messages[keep:], bad)
