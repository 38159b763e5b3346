"""Key templates: where objects are put, in the user's own words. Validated so that keys stay unique and safe.

Without a template keys are the platform's (`layouts.py`). With one, each placeholder is made safe by the same rule, so ids and
names cannot leave their place in the key.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from logstream.destinations.parcel import LaneRef
from logstream.destinations.transport.keys import LANE, PART, TIME, safe
from logstream.destinations.transport.layouts import Layout
from logstream.destinations.transport.patterns import DIGIT, INTEGER, SAFE, OneOf, Piece, Placeholder, Signs
from logstream.events import EPOCH, Event, Kind
from logstream.window import Window

DATE = {"yyyy": "%Y", "mm": "%m", "dd": "%d", "hh": "%H"}
HIVE = {"yyyy": "year", "mm": "month", "dd": "day", "hh": "hour"}
WINDOW = {"window", "window_start", "window_end"}
OF_EVENTS = {"destination", "workspace_id", "external_id", "kind", "event_id", *DATE, *WINDOW}
OF_BATCHES = {"destination", "lane", "part", *DATE, *WINDOW}

HIVE_EVENTS = "{workspace_id}/{kind}/{yyyy}/{mm}/{dd}/{event_id}"
HIVE_BATCHES = "{destination}/{yyyy}/{mm}/{dd}/{hh}/{window}-lane-{lane}-part-{part}"


@dataclass(frozen=True)
class TemplateLayout(Layout):
    """A key template, checked. `hive` writes folders that are one placeholder as `name=value`."""

    template: str
    hive: bool = False

    @classmethod
    def of_events(cls, template: str, *, hive: bool) -> TemplateLayout:
        """For packaging `file`: times are those of the event. Raises `ValueError`."""
        _check(template, OF_EVENTS)
        if "event_id" not in _names(template):
            raise ValueError("{event_id} must be in it, else events would replace each other")
        return cls(template, hive)

    @classmethod
    def of_batches(cls, template: str, *, hive: bool) -> TemplateLayout:
        """For packaging `batch`: times are those of the window's start. Raises `ValueError`."""
        names = _check(template, OF_BATCHES)
        if not {"lane", "part"} <= names or not ("window" in names or {"window_start", "window_end"} <= names):
            raise ValueError("{window} (or {window_start} and {window_end}), {lane} and {part} must be in it, else batches "
                             "would replace each other")  # fmt: skip
        return cls(template, hive)

    def event_key(self, event: Event, lane: LaneRef) -> str:
        """The key of an event's object."""
        try:
            moment = EPOCH + timedelta(microseconds=event.occurred_us)
        except OverflowError:  # PostgreSQL's infinity
            moment = EPOCH
        workspace = str(event.workspace_id)
        values = {
            **_times(moment),
            **_window(lane.window),
            "destination": lane.destination,
            "workspace_id": workspace,
            "external_id": lane.external_ids.get(event.workspace_id) or workspace,
            "kind": event.kind,
            "event_id": str(event.id),
        }
        return f"{self._fill(values)}.json"

    def batch_key(self, lane: LaneRef, part: int) -> str:
        """The key of a batch, without its suffix."""
        return self._fill(
            {**self._of_window(lane.destination, lane.window), "lane": f"{lane.lane:02d}-of-{lane.lanes:02d}",
             "part": f"{part:05d}"}
        )  # fmt: skip

    def batch_folder(self, destination: str, window: Window) -> str:
        """The folder that holds the batches of one window, as deep as the template tells; it may hold others', too."""
        folders = []
        for folder in self.template.split("/")[:-1]:
            if "{lane}" in folder or "{part}" in folder:
                break
            folders.append(folder)
        values = self._of_window(destination, window)
        return "/".join(_filled(folder, values, hive=self.hive) for folder in folders)

    folders_are_its_own = False

    def event_folder(self, workspace_id: int) -> str:
        """Anywhere."""
        return ""

    def event_patterns(self, destination: str) -> list[list[Piece]]:
        """The second is of an event whose name another one has."""
        name = self.batch_pattern(destination)
        return [[*name, ".json"], [*name, "-", INTEGER, ".json"]]

    def batch_pattern(self, destination: str) -> list[Piece]:
        """What the template gives for a destination, in pieces."""
        pieces: list[Piece] = []
        *folders, last = self.template.split("/")
        for text in folders:
            if self.hive and (name := _alone(text)):
                pieces.append(f"{HIVE.get(name, name)}=")
            pieces += [*_pieces_of(text, destination), "/"]
        return [*pieces, *_pieces_of(last, destination)]

    def _of_window(self, destination: str, window: Window) -> dict[str, str]:
        return {**_times(window.start), **_window(window), "destination": destination}

    def _fill(self, values: dict[str, str]) -> str:
        *folders, name = self.template.split("/")
        parts = [*(_filled(folder, values, hive=self.hive) for folder in folders), _filled(name, values, hive=False)]
        return "/".join(parts)


def _times(moment: datetime) -> dict[str, str]:
    moment = moment.astimezone(UTC)
    # strftime leaves years before 1000 without zeros
    return {name: f"{moment.year:04d}" if name == "yyyy" else f"{moment:{form}}" for name, form in DATE.items()}


def _window(window: Window) -> dict[str, str]:
    start, _, end = window.slug.partition("_")
    return {"window": window.slug, "window_start": start, "window_end": end}


def _filled(text: str, values: dict[str, str], *, hive: bool) -> str:
    filled = "".join(literal + (safe(values[name]) if name else "") for literal, name in _pieces(text))
    name = _alone(text) if hive else None
    return f"{HIVE.get(name, name)}={filled}" if name else filled


def _alone(text: str) -> str | None:
    """The placeholder that is all of a part."""
    return text[1:-1] if text[:1] == "{" and text[-1:] == "}" and text.count("{") == 1 else None


_NUMBERS = {"mm": range(1, 13), "dd": range(1, 32), "hh": range(24)}
_PLACEHOLDERS: dict[str, list[str | Signs | OneOf]] = {
    "workspace_id": [INTEGER],
    "external_id": [SAFE],
    "kind": [OneOf(tuple(map(safe, Kind)))],
    "event_id": [INTEGER],
    "yyyy": [DIGIT, DIGIT, DIGIT, DIGIT],
    **{name: [OneOf(tuple(f"{number:02d}" for number in numbers))] for name, numbers in _NUMBERS.items()},
    "window": [*TIME, "_", *TIME],
    "window_start": TIME,
    "window_end": TIME,
    "lane": LANE,
    "part": PART,
}


def _pieces_of(text: str, destination: str) -> Iterator[Piece]:
    for literal, name in _pieces(text):
        if literal:
            yield literal
        if name == "destination":
            yield safe(destination)
        elif name is not None:
            yield Placeholder(name, tuple(_PLACEHOLDERS[name]))


def _pieces(template: str) -> Iterator[tuple[str, str | None]]:
    for literal, name, form, conversion in string.Formatter().parse(template):
        if form or conversion:
            raise ValueError(f"{{{name}}} takes no format")
        yield literal, name


def _names(template: str) -> set[str]:
    return {name for _, name in _pieces(template) if name is not None}


def _check(template: str, known: set[str]) -> set[str]:
    names = _names(template)
    for name in sorted(names - known):
        reason = "batches hold many workspaces; use packaging file" if name in OF_EVENTS else "unknown"
        if name in ("lane", "part"):
            reason = "events have none; use packaging batch"
        raise ValueError(f"{{{name}}}: {reason}; there are {', '.join(sorted(known))}")
    literals = "".join(literal for literal, _ in _pieces(template))
    if any(character not in string.ascii_letters + string.digits + "/_.=-+@,:;!&()' " for character in literals):
        raise ValueError("letters, digits and the signs /_.=-+@,:;!&()' only")
    parts = template.split("/")
    if any(part in ("", ".", "..") for part in parts) or "_manifests" in parts:
        raise ValueError("no part of it may be empty, ., .. or _manifests")
    return names
