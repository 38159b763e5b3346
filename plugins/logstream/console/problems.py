"""Errors as HTTP answers: the same status and words for pages and API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from logstream.console.edits import Locked
from logstream.errors import DatabaseError, LogstreamError, SettingsError
from logstream.settings.changes import SettingsChange
from logstream.settings.repository import SettingsMoved, SettingsRepository


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was refused. `problems` are lines of `path: what is wrong`."""

    status: int
    detail: str
    problems: list[str] = field(default_factory=list)
    version: int | None = None
    changes: list[SettingsChange] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The body of the API's answer."""
        body: dict[str, Any] = {"detail": self.detail}
        if self.problems:
            body["problems"] = self.problems
        if self.version is not None:
            body["version"] = self.version
            body["changes"] = [change_as_json(change) for change in self.changes]
        return body


def change_as_json(change: SettingsChange) -> dict[str, Any]:
    """A change as the API tells it."""
    return {"path": change.path, "before": change.before, "after": change.after}


def problem_of(error: LogstreamError | LookupError, settings: SettingsRepository | None = None) -> Problem:
    """What an error is to whoever asked. With `settings`, what has changed meanwhile is looked up."""
    if isinstance(error, LookupError):
        return Problem(404, str(error.args[0]) if error.args else "not found")
    if isinstance(error, SettingsMoved):
        found = settings.changes_since(error.since, error.current) if settings else []
        return Problem(409, str(error), version=error.current.id, changes=found)
    if isinstance(error, Locked):
        return Problem(409, str(error))
    if isinstance(error, SettingsError):
        return Problem(422, "the settings do not hold together; nothing was changed", error.problems)
    if isinstance(error, DatabaseError):
        return Problem(503, str(error))
    return Problem(422, str(error))
