"""Forms: fields drawn from the models, and what a browser sends read back into plain data.

What is left as the model has it is left out, so that a setting made here reads like one written by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from logstream.console.mistakes import message_field, option_label
from logstream.destinations.base import Options
from logstream.destinations.documentation import kind_of
from logstream.destinations.vendor_rules import Accepts
from logstream.events import EventType
from logstream.settings.models import DEFAULT_KIND, MESSAGE_KEYS

Form = Mapping[str, Sequence[str]]
"""What a browser sends: each name with all its values."""

FIRST = ("prefix", "packaging")
"""Options that all object stores have and that people decide on: behind what must be given."""

LAST = ("compression",)
"""Those that all have and that are shown behind a type's own."""

TUNING = frozenset({"max_events", "max_bytes"})
"""Options of a type's own that few need."""

EVENT_LINES: dict[EventType, tuple[str, str]] = {
    EventType.JOB_STATUS: ("Job status", "Each finished job and how it ended, without what its steps did."),
    EventType.JOB_DETAILS: ("Job details", "Each finished job with every step: input, output, status."),
    EventType.USER_ACTIVITY: (
        "User activity",
        "Who changed what in the workspace: logins, recipes, connections, members.",
    ),
    EventType.API_PLATFORM: ("API platform logs", "Every request that the workspace's API endpoints have handled."),
    EventType.LOG_SERVICE: ("Log events", "The messages that recipes and connectors write, by type and level."),
    EventType.GENIE: ("Genie conversations", "What users and Genies wrote to each other."),
}
"""The events to stream, as people read them."""


class Control(StrEnum):
    """How a field is drawn."""

    TEXT = "text"
    NUMBER = "number"
    SWITCH = "switch"
    CHOICE = "choice"
    LINES = "lines"
    PAIRS = "pairs"
    CONNECTION = "connection"


@dataclass(frozen=True, slots=True)
class Field:
    """One option of a destination as a form shows it. `value` is text, for a switch `true` or empty."""

    name: str
    label: str
    control: Control
    help: str
    required: bool
    value: str
    default: str
    choices: tuple[str, ...] = ()
    example: str = ""

    @property
    def id(self) -> str:
        """Its name in the form."""
        return f"option.{self.name}"

    @property
    def hint(self) -> str:
        """What it shows while it is empty: an example, or what it is if left out."""
        shown = self.example or self.default
        return f"e.g. {shown}" if shown else ""


def fields_of(model: type[Options], values: Mapping[str, Any]) -> tuple[list[Field], list[Field]]:
    """A model's options with their values: those to see at once, and those that few need."""
    offered = {name: info for name, info in model.model_fields.items() if not _is_missing(info)}
    fields = [_field(name, info, values) for name, info in offered.items()]
    by_name = {field.name: field for field in fields}
    # what only this type has is what its people look for; what all types share, some in words of their own, is mostly tuning
    shared = {name for base in model.__mro__[1:] if issubclass(base, Options) for name in base.model_fields}
    own = [name for name in by_name if name not in shared | TUNING]
    order = [*(field.name for field in fields if field.required), *FIRST, *own, *LAST]
    seen = [by_name[name] for name in dict.fromkeys(order) if name in by_name]
    return seen, [field for field in fields if field not in seen]


def options_of(model: type[Options], form: Form) -> dict[str, Any]:
    """A form's fields as options. What cannot be read as its kind is kept as text, for the model to refuse."""
    options: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        value = _value(_control(name, info), form.get(f"option.{name}", ()))
        if value is not None and (info.is_required() or value != _plain(_default(info))):
            options[name] = value
    return options


def streaming_of(form: Form) -> dict[str, Any]:
    """A form's fields as a setting."""
    streaming: dict[str, Any] = {"enabled": bool(form.get("enabled")), "events": list(form.get("events", ()))}
    if EventType.LOG_SERVICE in streaming["events"]:
        for name in ("log_types", "log_levels"):
            words = lines_of(form.get(name, ()))
            if words:
                streaming[name] = words
    templates = {kind: "".join(form.get(message_field(kind), ())).replace("\r\n", "\n") for kind in MESSAGE_KEYS}
    given = {kind: template for kind, template in templates.items() if template.strip()}
    if given:
        # one for all stays the one text that it always was
        streaming["message"] = given[DEFAULT_KIND] if given.keys() == {DEFAULT_KIND} else given
    mask = [line.strip() for text in form.get("mask", ()) for line in text.splitlines() if line.strip()]
    if mask:
        streaming["mask"] = mask
    name = "".join(form.get("destination_name", ())).strip()
    if name:
        streaming["destination"] = name
    return streaming


def _field(name: str, info: FieldInfo, values: Mapping[str, Any]) -> Field:
    control = _control(name, info)
    default = _default(info)
    return Field(
        name,
        option_label(name),
        control,
        info.description or "",
        info.is_required(),
        _text(values.get(name, default), control),
        _text(default, control),
        _choices(info.annotation),
        _text(info.examples[0], control) if info.examples else "",
    )


def _control(name: str, info: FieldInfo) -> Control:
    if name == "connection":
        return Control.CONNECTION
    if _choices(info.annotation):
        return Control.CHOICE
    kind = kind_of(info.annotation)
    if kind.startswith("list"):
        return Control.LINES
    return {"true or false": Control.SWITCH, "number": Control.NUMBER, "mapping": Control.PAIRS}.get(kind, Control.TEXT)


def _is_missing(info: FieldInfo) -> bool:
    return any(isinstance(part, Accepts) and part.missing for part in info.metadata)


def _choices(annotation: Any) -> tuple[str, ...]:
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return tuple(str(choice) for choice in annotation)
    optional = type(None) in get_args(annotation)
    for part in get_args(annotation):
        found = _choices(part)
        if found:
            return ("", *found) if optional else found
    return ()


def _default(info: FieldInfo) -> Any:
    if info.is_required():
        return None
    return info.default if info.default is not PydanticUndefined else info.get_default(call_default_factory=True)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, StrEnum) else value


def _text(value: Any, control: Control) -> str:
    if value is None:
        return ""
    if control is Control.SWITCH:
        return "true" if value is True else ""
    if control is Control.LINES:
        return "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if control is Control.PAIRS and isinstance(value, Mapping):
        return "\n".join(f"{key}={item}" for key, item in value.items())
    return str(value)


def _value(control: Control, values: Sequence[str]) -> Any:
    if control is Control.SWITCH:
        return bool(values)
    text = "".join(values[:1]).strip()
    if control is Control.LINES:
        return lines_of(values) or None
    if not text:
        return None
    if control is Control.NUMBER:
        return int(text) if text.isascii() and text.lstrip("-").isdigit() and len(text) < 19 else text
    if control is Control.PAIRS:
        pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
        return {key.strip(): value.strip() for key, _, value in pairs}
    return text


def lines_of(values: Sequence[str]) -> list[str]:
    """Words that stand on lines of their own, or with commas between them."""
    return [word.strip() for value in values for word in value.replace(",", "\n").splitlines() if word.strip()]
