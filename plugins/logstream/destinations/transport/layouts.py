"""Layouts: the two kinds of keys that objects have, the platform's own (`keys.py`) and those of a template (`templates.py`)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from logstream.destinations.parcel import LaneRef
from logstream.destinations.transport.keys import (
    batch_key,
    batch_pattern,
    event_key,
    event_patterns,
    safe,
    window_folder,
)
from logstream.destinations.transport.patterns import Piece
from logstream.events import Event
from logstream.window import Window


class Layout(ABC):
    """Where objects are put, below a destination's prefix: deterministic, and safe whatever customers' texts are in it."""

    @abstractmethod
    def event_key(self, event: Event, lane: LaneRef) -> str:
        """The key of one event's object, `.json` included."""

    @abstractmethod
    def batch_key(self, lane: LaneRef, part: int) -> str:
        """The key of a batch, without its suffix."""

    @abstractmethod
    def batch_folder(self, destination: str, window: Window) -> str:
        """The folder that holds the batches of one window; see `folders_are_its_own`."""

    @abstractmethod
    def event_patterns(self, destination: str) -> list[list[Piece]]:
        """Every key of an event's object that there can be, in pieces (`patterns.py`)."""

    @abstractmethod
    def batch_pattern(self, destination: str) -> list[Piece]:
        """Every key of a batch that there can be, without its suffix, in pieces."""

    @property
    @abstractmethod
    def folders_are_its_own(self) -> bool:
        """Whether no other window, and no other destination, has batches in the folder of one."""

    @abstractmethod
    def event_folder(self, workspace_id: int) -> str:
        """The folder below which all events of a workspace are; empty where a template may put them anywhere."""


class PlatformLayout(Layout):
    """The platform's own keys."""

    folders_are_its_own = True

    def event_key(self, event: Event, lane: LaneRef) -> str:
        """See `keys.event_key`."""
        return event_key(lane.shown(event))

    def batch_key(self, lane: LaneRef, part: int) -> str:
        """See `keys.batch_key`."""
        return batch_key(lane, part)

    def batch_folder(self, destination: str, window: Window) -> str:
        """See `keys.window_folder`."""
        return window_folder(destination, window)

    def event_patterns(self, destination: str) -> list[list[Piece]]:
        """See `keys.event_patterns`."""
        return event_patterns()

    def batch_pattern(self, destination: str) -> list[Piece]:
        """See `keys.batch_pattern`."""
        return batch_pattern(destination)

    def event_folder(self, workspace_id: int) -> str:
        """The workspace's."""
        return f"{safe(str(workspace_id))}/"
