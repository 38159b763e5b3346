"""Mistakes in a form: all of them at once, each at its field, in the console's own words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from logstream.console.filters import short
from logstream.destinations import check_options
from logstream.errors import InputError
from logstream.events import Kind
from logstream.rendering import check_mask, compile_template
from logstream.settings.edits import Data
from logstream.settings.explaining import explain_parts
from logstream.settings.models import DEFAULT_KIND, DESTINATION_NAME, Streaming, by_kind
from logstream.settings.wording import PATTERNS
from logstream.units import counted


def message_field(kind: str) -> str:
    """The name of the field for a kind's message template; that for all kinds is `message`."""
    return "message" if kind == DEFAULT_KIND else f"message.{kind}"


LABELS = {
    "events": "Events to stream",
    "log_types": "Log types",
    "log_levels": "Log levels",
    "destination_name": "Destination name",
    "destination_type": "Destination type",
    "message": "Message template",
    **{message_field(kind): f"Message template of {kind.replace('_', ' ')}" for kind in Kind},
    "mask": "Masked fields",
    "lag_minutes": "Minutes behind",
}
"""The fields of a setting by their ids in the form, in its order; the destination's options are before the message."""

Mistakes = dict[str, str]
"""The id of a field of the form, and what is wrong with it."""


class FormMistakes(InputError):
    """Fields of a form cannot be used as they are filled in; nothing was saved."""

    def __init__(self, fields: Mistakes) -> None:
        order = {field: place for place, field in enumerate(LABELS)}
        self.fields = dict(sorted(fields.items(), key=lambda item: order.get(item[0], order["message"] - 0.5)))
        many = counted(len(fields), "field needs", "fields need")
        super().__init__(f"nothing was saved: {many} a correction")


def label_of(field: str) -> str:
    """What a field of the form is called on the page."""
    if found := re.fullmatch(r"receiver\.(\d+)\.(\w+)", field):
        return f"Receiver {int(found[1]) + 1}, {found[2]}"
    return LABELS.get(field) or option_label(field.removeprefix("option."))


ACRONYMS = {"api": "API", "id": "ID", "kms": "KMS", "mb": "MB", "url": "URL"}


def option_label(name: str) -> str:
    """What a destination's option, or a kind of event, is called on the page."""
    words = [ACRONYMS.get(word, word) for word in name.split("_")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def mistakes_of(streaming: Data, name: str, destination: Data | None, known: Collection[str]) -> Mistakes:
    """What is wrong with a setting and the destination that it is filled in with; `known` are the names of those there are."""
    wrong: Mistakes = {}
    enabled = bool(streaming.get("enabled"))
    if enabled and not streaming.get("events"):
        wrong["events"] = "Choose at least one."
    if enabled and not name:
        wrong["destination_name"] = "Name a destination: one that is there, or a new one."
    if name and not re.fullmatch(DESTINATION_NAME, name):
        wrong["destination_name"] = PATTERNS[DESTINATION_NAME]
    if name and name not in known and destination is None:
        wrong["destination_type"] = "Choose where the events go: this destination is new."
    for path, what in _in_setting(streaming):
        line = next((f"line {part + 1}: " for part in path if isinstance(part, int)), "")
        wrong.setdefault(str(path[0]) if path else "events", line + what)
    for kind, template in by_kind(streaming.get("message")).items():
        try:
            compile_template(template)
        except InputError as error:
            wrong[message_field(kind)] = str(error)
    for number, mask in enumerate(streaming.get("mask", ()), start=1):
        try:
            check_mask(mask)
        except ValueError as error:
            wrong.setdefault("mask", f"line {number}: {error}")
    return wrong | (destination_mistakes(destination) if destination else {})


def destination_mistakes(destination: Data) -> Mistakes:
    """What is wrong with a destination's options."""
    options = {key: value for key, value in destination.items() if key != "type"}
    wrong: Mistakes = {}
    try:
        found = check_options(str(destination.get("type", "")), options)
    except KeyError:
        return {"destination_type": "this type is not installed here"}
    for path, what in found:
        place = "".join(f"{short(part, 60)}: " for part in path[1:] if isinstance(part, str))
        wrong.setdefault(f"option.{path[0]}" if path else "destination_type", place + what)
    return wrong


def in_words(problem: str, document: Mapping[str, Any]) -> str:
    """A line of a `SettingsError` about other parts of the settings than the form shows, with the place in words."""
    workspaces = document.get("workspaces") or ()
    if found := re.match(r"workspaces\[(\d+)\]\.streaming\.?", problem):
        number = int(found[1])
        place = f"workspace {workspaces[number]['id']}" if number < len(workspaces) else "a workspace"
    elif found := re.match(r"admin\.?", problem):
        place = "the settings for all workspaces"
    elif found := re.match(r"destinations\.", problem):
        rest = problem[found.end() :]
        name = max((name for name in document.get("destinations") or {} if rest.startswith(name)), key=len, default="")
        return f"destination {name}, {rest[len(name) :].lstrip('.: ')}" if name else rest
    else:
        return problem
    return f"{place}, {problem[found.end() :].lstrip(': ')}"


def _in_setting(streaming: Data) -> list[tuple[tuple[str | int, ...], str]]:
    # whether it is complete was asked in the form's own words
    try:
        Streaming.model_validate({**streaming, "enabled": False})
    except ValidationError as error:
        return explain_parts(error, Streaming)
    return []
