"""Selecting and rendering the events of some lanes, each workspace's by its own setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from logstream.events import Event, Kind, Selection
from logstream.messages import Messages
from logstream.rendering import Renderer
from logstream.rendering.renderer import Frame
from logstream.settings.models import Streaming
from logstream.settings.resolution import Workspace
from logstream.shapes import log_fields
from logstream.store.base import Filter

if TYPE_CHECKING:
    from logstream.batches import Events, Ints
    from logstream.rendering.columns import ColumnRenderer, Rendered


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
        self.names_workspaces = any(renderer.names_workspace for _, renderer in self._shared)
        self._workspaces = {workspace.id: workspace for workspace in workspaces()} if self.names_workspaces else {}
        self._narrowing = any(selection.filters_logs for selection, _ in self._shared)
        self._filters: tuple[Filter, ...] | None = None
        self._columns: ColumnRenderer | None = None

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

    def select(self, events: Sequence[Event]) -> Sequence[Event]:
        """Those of some events, read by `filters`, that are streamed. Columns stay columns."""
        if not self._narrowing or not events:
            return events
        import numpy as np

        from logstream.batches import KIND_CODE, Events

        columns = Events.of(events)
        logs = np.flatnonzero(columns.kinds == KIND_CODE[Kind.LOG_SERVICE])
        passed_over = [
            row for row, event in zip(logs.tolist(), columns.take(logs), strict=True) if not self._selected(event)
        ]
        return columns.take(np.delete(np.arange(len(columns)), passed_over)) if passed_over else columns

    def render(self, events: Sequence[Event]) -> Iterator[Rendered]:
        """Render selected events, in order, some megabytes of messages at a time."""
        if not events:
            return
        from logstream.batches import Events
        from logstream.rendering.columns import ColumnRenderer

        if self._columns is None:
            self._columns = ColumnRenderer(self._by_workspace, self._frame, self._render)
        yield from self._columns.render(Events.of(events))

    def _frame(self, workspace_id: int, kind: str) -> Frame | None:
        workspace = self._workspaces.get(workspace_id) or Workspace(workspace_id)
        try:
            return self._by_workspace[workspace_id][1].frame(kind, workspace)
        except Exception:  # a name that is no text, say: what becomes of it is said event by event
            return None

    def _render(self, event: Event) -> bytes:
        return self._by_workspace[event[1]][1].render(event, self._workspaces.get(event[1]))

    def _selected(self, event: Event) -> bool:
        selection = self._by_workspace[event[1]][0]
        if event[2] != Kind.LOG_SERVICE or not selection.filters_logs:
            return True
        return selection.matches(event[2], *log_fields(event[5]))

    def fallbacks(self, workspaces: Iterable[int]) -> str | None:
        """What was sent by the default message instead of its template for some workspaces, in words; `None` if nothing was."""
        some = {id(pair[1]): pair[1] for pair in map(self._by_workspace.get, workspaces) if pair is not None}.values()
        broken = [renderer.fallback_reason for renderer in some if renderer.fallback_reason]
        if broken:
            return f"message template broke, the default message was sent instead: {broken[0]}"
        return next((renderer.mask_problem for renderer in some if renderer.mask_problem), None)


class Demultiplexer:
    """Divides events among lanes: `lane_of` maps a workspace to the number of its lane."""

    def __init__(self, lane_of: Mapping[int, int]) -> None:
        self._lane_of = lane_of
        self._numbers = sorted(set(lane_of.values()))
        self._by_workspace: tuple[Ints, Ints] | None = None

    def in_order(self, events: Sequence[Event]) -> Sequence[Event]:
        """Events lane by lane, each lane's in their order."""
        if len(self._numbers) == 1 or not events:
            return events
        from logstream.batches import Events

        columns = Events.of(events)
        return columns.take(self._indexes(columns.workspaces).argsort(kind="stable"))

    def divide(self, chunk: Rendered) -> list[tuple[int, Events, Messages]]:
        """The events of a chunk that is in the lanes' order, with their messages, by lane."""
        if len(self._numbers) == 1 or not len(chunk.events):
            return [(self._numbers[0], chunk.events, chunk.messages)]
        import numpy as np

        indexes = self._indexes(chunk.events.workspaces)
        starts = [0, *(np.flatnonzero(np.diff(indexes)) + 1).tolist()]
        return [
            (self._numbers[int(indexes[start])], chunk.events[start:stop], chunk.messages[start:stop])
            for start, stop in zip(starts, [*starts[1:], len(indexes)], strict=True)
        ]

    def _indexes(self, workspaces: Ints) -> Ints:
        import numpy as np

        if self._by_workspace is None:
            known = sorted(self._lane_of)
            places = [self._numbers.index(self._lane_of[workspace]) for workspace in known]
            self._by_workspace = np.array(known, np.int64), np.array(places, np.uint16)
        known_ids, indexes = self._by_workspace
        return indexes[known_ids.searchsorted(workspaces)]
