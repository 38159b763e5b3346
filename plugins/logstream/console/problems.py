"""Errors as HTTP answers: the same status and words for pages and API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from logstream.console.mistakes import FormMistakes, in_words
from logstream.errors import AirflowAway, DatabaseError, LogstreamError, NotThere, SettingsError
from logstream.settings.changes import SettingsChange
from logstream.settings.edits import Locked
from logstream.settings.repository import SettingsMoved


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was refused.

    `problems` are lines of `path: what is wrong`, `fields` the same by the ids of a form's fields.
    """

    status: int
    detail: str
    problems: list[str] = field(default_factory=list)
    version: int | None = None
    changes: list[SettingsChange] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)

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


def problem_of(error: LogstreamError, document: Mapping[str, Any] | None = None) -> Problem:
    """What an error is to the person who asked.

    With the `document` of the settings, places are told in words and not as paths.
    """
    if isinstance(error, NotThere):
        return Problem(404, str(error))
    if isinstance(error, SettingsMoved):
        return Problem(409, str(error), version=error.current.id, changes=error.changes)
    if isinstance(error, Locked):
        return Problem(409, str(error))
    if isinstance(error, SettingsError):
        problems = error.problems if document is None else [in_words(line, document) for line in error.problems]
        return Problem(422, "the settings do not hold together; nothing was changed", problems)
    if isinstance(error, FormMistakes):
        return Problem(422, str(error), fields=error.fields)
    if isinstance(error, DatabaseError | AirflowAway):
        return Problem(503, str(error))
    return Problem(422, str(error))
