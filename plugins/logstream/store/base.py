"""What the engine asks of a log store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from logstream.events import Cursor, Event, Selection
from logstream.settings.resolution import Workspace
from logstream.window import Window

BadRow = tuple[Event, str]
"""A row that is no event, as far as it can be read as one, and why it is none. Its `payload` may be empty."""


class Page(NamedTuple):
    """Some of the events of a reading, and whether there may be more after them.

    `bad` are rows among them that are no events. `last` is the place of the last of all these, `None` if there are none.
    `bytes` are those of the payloads of all these; a log store that has not counted them leaves it at 0.
    """

    events: list[Event]
    more: bool
    bad: Sequence[BadRow] = ()
    last: Cursor | None = None
    bytes: int = 0


class KindCount(NamedTuple):
    """How many events of one kind a workspace has in a window, and their bytes as stored.

    Those that are not `sound` are rows that are no events: they are streamed wherever their kind is, and rejected.
    """

    workspace_id: int
    kind: str
    log_type: str | None
    log_level: str | None
    events: int
    bytes: int
    sound: bool = True

    def streamed_by(self, selection: Selection) -> bool:
        """Whether a selection takes them."""
        if self.sound:
            return selection.matches(self.kind, self.log_type, self.log_level)
        return selection.takes_bad(self.kind)


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Narrows log events to those with one of some words, in lower case; empty means all."""

    types: frozenset[str]
    levels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events to read: of these workspaces, of these kinds, with log events narrowed.

    It only narrows: it lets through log events that the selection does not take, and the reader decides with
    `Selection.matches`. Rows that are no events come through wherever their kind would, or where it is not known.
    """

    workspace_ids: tuple[int, ...]
    kinds: frozenset[str]
    logs: LogFilter | None = None

    @classmethod
    def of(cls, selection: Selection, workspace_ids: Iterable[int]) -> Filter:
        """The filter of one selection over some workspaces."""
        logs = LogFilter(selection.log_types, selection.log_levels) if selection.filters_logs else None
        return cls(tuple(workspace_ids), selection.kinds, logs)


class EventStore(Protocol):
    """A log store. Every call is a short statement; none leaves a transaction open."""

    def workspaces(self) -> list[Workspace]:
        """All workspaces, by id."""

    def count(
        self, window: Window, *, by_log_type: bool, after: Cursor | None = None,
        workspace_ids: Collection[int] | None = None,
    ) -> list[KindCount]:  # fmt: skip
        """Count the window's events; log events by type and level too if asked.

        With `after` only those after that place, with `workspace_ids` only those of some workspaces.
        """

    def read(
        self,
        window: Window,
        filters: Sequence[Filter],
        after: Cursor | None,
        *,
        max_events: int,
        max_bytes: int,
    ) -> Iterator[Page]:
        """Read the next events in `(recorded_at, id)` order, a page at a time, with one statement.

        At most `max_events`, and no further page once `max_bytes` are full; at least one event where there is one. The
        statement is open until the last page is taken: nothing may be waited for in between.
        """

    def close(self) -> None:
        """Give back connections."""
