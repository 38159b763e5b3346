"""What a change of the settings was, in one line: for the history."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from logstream.console.filters import short
from logstream.settings.changes import SettingsChange

MAX_SUBJECTS = 3
"""Workspaces and destinations that a line names; of more it says how many."""

WHOLE = {"", "type", "events", "enabled"}
"""Fields that are there as long as their subject is."""


def in_a_line(changes: Iterable[SettingsChange], destinations: Collection[str]) -> str:
    """The subjects of some changes with their fields: `all workspaces: events; destination lake: bucket, prefix`.

    `destinations` are the names of those before and after: a name may hold dots, as the paths of changes do.
    """
    subjects: dict[str, dict[str, SettingsChange]] = {}
    for change in changes:
        subject, field = _parts(change.path, destinations)
        subjects.setdefault(subject, {})[field] = change
    lines = [f"{subject}: {_what(found)}" for subject, found in list(subjects.items())[:MAX_SUBJECTS]]
    more = len(subjects) - len(lines)
    return "; ".join([*lines, *([f"and {more:,} more"] if more else [])]) or "nothing"


def _parts(path: str, destinations: Collection[str]) -> tuple[str, str]:
    head, _, rest = path.partition(".")
    if head == "destinations":
        name = max((name for name in destinations if f"{rest}.".startswith(f"{name}.")), key=len, default="")
        head, rest = f"destination {short(name, 40)}", rest[len(name) :].lstrip(".")
    elif head == "admin":
        head = "all workspaces"
    elif head.startswith("workspaces["):
        head = f"workspace {head[len('workspaces[') : -1]}"
    return head, rest.partition("[")[0].partition(".")[0]


def _what(fields: dict[str, SettingsChange]) -> str:
    changes = list(fields.values())
    marker = fields.get("enabled")
    if marker is not None and marker.before is not None and marker.after is not None:
        switched = "switched on" if marker.after else "switched off"
        others = [name.replace("_", " ") for name in fields if name != "enabled"]
        return ", ".join([switched, *others])
    if fields.keys() & WHOLE and all(change.before is None for change in changes):
        return "new"
    if fields.keys() & WHOLE and all(change.after is None for change in changes):
        return "taken away"
    return ", ".join(name.replace("_", " ") for name in fields)
