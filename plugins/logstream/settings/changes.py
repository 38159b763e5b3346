"""What changed between two settings, in the words of `settings.yaml`: for histories, and for two who edit at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from logstream.settings.explaining import dotted
from logstream.settings.models import Settings

MANY = ("workspaces", "destinations")
"""Parts of the settings of which there are many."""


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """One field that changed. `before` and `after` are plain data; `None` where the field was, or is, left out."""

    path: str
    before: Any
    after: Any


def changes(before: Settings, after: Settings) -> list[SettingsChange]:
    """Every field that differs, workspaces and destinations told apart by id and name wherever they stand in the file.

    What holds for all comes first: that the admin setting was switched on is not to be found behind hundreds of workspaces.
    """
    found = _differences((), _by_name(before), _by_name(after))
    return sorted(found, key=lambda change: change.path.startswith(MANY))


def _by_name(settings: Settings) -> dict[str, Any]:
    document = settings.as_document()
    # by id and not by place: one workspace more in front is one change
    document["workspaces"] = {
        item["id"]: {**item.get("streaming", {}), **({"notices": item["notices"]} if "notices" in item else {})}
        for item in document.get("workspaces", ())
    }
    return document


def _differences(path: tuple[str | int, ...], before: Any, after: Any) -> Iterator[SettingsChange]:
    if before == after:
        return
    sides = [side for side in (before, after) if side is not None]
    if any(sides) and all(isinstance(side, Mapping) for side in sides):
        # what is new or gone is told field by field, too
        for key in {**(before or {}), **(after or {})}:
            yield from _differences((*path, key), (before or {}).get(key), (after or {}).get(key))
    else:
        yield SettingsChange(dotted(path), before, after)
