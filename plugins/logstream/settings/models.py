"""The settings as data: `settings.yaml`, validated whole, with errors that name the path.

The models know the shape and what must hold between the parts. What a destination's own options may be is known by
its type; the caller passes `check_destination`, so that settings need to know no destination.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import cache, cached_property, partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from logstream.errors import InputError, SettingsError
from logstream.events import EventType, Kind, Selection
from logstream.settings.notices import Notices, Receiver, WorkspaceNotices
from logstream.settings.wording import wording

DESTINATION_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
"""Names of destinations go into object keys and Airflow labels."""

RELATION_NAME = r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$"

OptionsCheck = Callable[[str, dict[str, Any]], list[tuple[tuple[str | int, ...], str]]]
"""`(type, options) -> [(path below the destination, what is wrong)]`; raises `KeyError` with the known types, `InputError` for a
type that cannot be used."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=False)


def _words(value: object) -> object:
    # `events: job_status` is what people write for one
    return [value] if isinstance(value, str) else value


def _mask(path: str) -> str:
    # what else a mask may be is checked when settings are saved: stored ones must load for ever
    if not path.startswith("$."):
        raise ValueError("a JSONPath begins with $.")
    return path


DEFAULT_KIND = "default"
"""The key of the template for all kinds that have none of their own."""

MESSAGE_KEYS = (*Kind, DEFAULT_KIND)


def _message(value: object) -> object:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise ValueError("give a template, or one for each kind of event: " + ", ".join(MESSAGE_KEYS))  # noqa: TRY004 - pydantic's
    for kind, template in value.items():
        if kind not in MESSAGE_KEYS:
            hint = did_you_mean(str(kind), MESSAGE_KEYS) or f"; choose from {', '.join(MESSAGE_KEYS)}"
            raise ValueError(f'there is no kind of event "{kind}"{hint}')
        if not isinstance(template, str):
            raise ValueError(f"{kind}: a template is text")  # noqa: TRY004 - pydantic's
    if not value:
        raise ValueError("give a template for at least one kind of event: " + ", ".join(MESSAGE_KEYS))
    return {str(kind): template for kind, template in value.items()}


Message = Annotated[str | dict[str, str], BeforeValidator(_message)]
"""A template for every event, or one for each kind (`job`, ...) and for those that have none of their own (`default`)."""


def by_kind(message: str | dict[str, str] | None) -> dict[str, str]:
    """A message as templates by kind; one for all is that of `default`, and none is none."""
    if message is None:
        return {}
    return {DEFAULT_KIND: message} if isinstance(message, str) else dict(message)


Words = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], BeforeValidator(_words)]


class Streaming(_Model):
    """One setting: what to stream, in which words, to where. The admin console has one, each workspace may have one."""

    enabled: bool = Field(default=False, strict=True, description="Whether anything is streamed by this setting.")
    events: Annotated[tuple[EventType, ...], BeforeValidator(_words)] = Field(
        default=(), description="The events to stream."
    )
    log_types: Words = Field(default=(), description="Only log events of these types; all if empty.")
    log_levels: Words = Field(default=(), description="Only log events of these levels; all if empty.")
    message: Message | None = Field(
        default=None,
        description="The message template, or one for each kind of event; the event itself if left out.",
        examples=[
            '{"event": {{{log_message}}}}',
            {"job": '{"job": {{{log_message}}}}', "default": "{{{log_message}}}"},
        ],
    )
    mask: Annotated[tuple[Annotated[str, AfterValidator(_mask)], ...], BeforeValidator(_words)] = Field(
        default=(),
        max_length=50,
        description='JSONPaths of fields whose values are replaced by "masked" before anything else.',
        examples=[["$.user.email"]],
    )
    destination: str | None = Field(default=None, description="The name of a destination.")

    @model_validator(mode="after")
    def _complete(self) -> Streaming:
        wrong = []
        if self.enabled and not self.events:
            wrong.append("events: choose at least one of " + ", ".join(EventType))
        if self.enabled and self.destination is None:
            wrong.append("destination: name one; an enabled setting needs it")
        if (self.log_types or self.log_levels) and EventType.LOG_SERVICE not in self.events:
            wrong.append("events: log_types and log_levels only go with log_service")
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    @property
    def selection(self) -> Selection:
        """The selection this setting makes."""
        return Selection.of(self.events, self.log_types, self.log_levels)


class WorkspaceSettings(_Model):
    """A workspace's own setting."""

    id: int = Field(ge=0, le=2**63 - 1, strict=True, description="The workspace's id in the log store.")
    streaming: Streaming = Streaming()
    notices: WorkspaceNotices = WorkspaceNotices()


class DestinationSettings(BaseModel):
    """A destination: its type, and the options that type declares (kept as given, checked by the type)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str

    @property
    def options(self) -> dict[str, Any]:
        """Everything beside `type`."""
        return dict(self.model_extra or {})


class LogStoreSettings(_Model):
    """Where events are read, for a platform that streams from tables it already has (docs/log-store.md)."""

    events: str = Field(default="events", pattern=RELATION_NAME, description="Table or view with our columns.")
    workspaces: str = Field(default="workspaces", pattern=RELATION_NAME, description="Table or view of workspaces.")
    written_tables: Annotated[tuple[Annotated[str, Field(pattern=RELATION_NAME)], ...], BeforeValidator(_words)] = (
        Field(default=(), description="The tables whose writers close windows; needed if `events` is a view.")
    )


class AuditSettings(_Model):
    """What becomes of what people do to the streaming itself, beside being kept in the control database."""

    stream: bool = Field(
        default=False,
        strict=True,
        description="Whether changes of settings, tests, holds, redeliveries and edits of credentials are written into the "
        "log store, as user activity of the admin workspace.",
    )


class Settings(_Model):
    """All of it: `settings.yaml`."""

    version: Literal[1] = 1
    admin: Streaming | None = None
    workspaces: tuple[WorkspaceSettings, ...] = ()
    destinations: dict[Annotated[str, Field(pattern=DESTINATION_NAME)], DestinationSettings] = {}
    log_store: LogStoreSettings = LogStoreSettings()
    notices: Notices = Notices()
    audit: AuditSettings = AuditSettings()

    def receivers(self) -> list[tuple[str, Receiver]]:
        """Every receiver of notices with its path."""
        found = [("notices", self.notices.to)]
        found += [(f"workspaces[{index}].notices", item.notices.to) for index, item in enumerate(self.workspaces)]
        return [(f"{path}.to[{place}]", one) for path, receivers in found for place, one in enumerate(receivers)]

    def streamings(self) -> Iterable[tuple[str, Streaming]]:
        """Every setting with its path."""
        if self.admin is not None:
            yield "admin", self.admin
        for index, workspace in enumerate(self.workspaces):
            yield f"workspaces[{index}].streaming", workspace.streaming

    @property
    def is_empty(self) -> bool:
        """Whether they say nothing, as an empty file does."""
        return not any(self.model_dump(exclude_defaults=True).values())

    @property
    def streams(self) -> bool:
        """Whether any setting is enabled."""
        return any(streaming.enabled for _, streaming in self.streamings())

    @cached_property
    def filters_logs(self) -> bool:
        """Whether any enabled setting narrows log events by type or level."""
        return any(streaming.enabled and streaming.selection.filters_logs for _, streaming in self.streamings())

    @property
    def overrides(self) -> bool:
        """Whether the admin's setting applies to every workspace."""
        return self.admin is not None and self.admin.enabled

    @cached_property
    def own(self) -> dict[int, Streaming]:
        """Workspace id to its own setting."""
        return {workspace.id: workspace.streaming for workspace in self.workspaces}

    def as_document(self) -> dict[str, Any]:
        """Plain data that `parse_settings` reads back to an equal `Settings`; nothing that was left out is added."""
        return self.model_dump(mode="json", exclude_unset=True)


def parse_settings(
    document: object,
    *,
    check_destination: OptionsCheck,
    check_message: Callable[[str], object],
    check_mask: Callable[[str], object],
    source: str = "settings",
) -> Settings:
    """Validate a whole settings document.

    `check_message` raises `InputError` for a template that cannot be used, `check_mask` `ValueError` for a mask. Raises
    `SettingsError` listing every problem as `path: what is wrong`. (`logstream.validation` knows what to give.)
    """
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise SettingsError([f"expected a mapping with admin, workspaces, destinations, not {_type(document)}"], source)
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        # a mistake of the shape must not hide those of the destinations
        others = _destination_problems(_shaped(document.get("destinations")), check_destination)
        raise SettingsError([*explain(error, Settings), *others], source) from None
    problems = [
        *_duplicates(settings),
        *_streaming_problems(settings, check_message, check_mask),
        *_destination_problems(settings.destinations, check_destination),
    ]
    if problems:
        raise SettingsError(problems, source)
    return settings


def _shaped(destinations: object) -> dict[str, DestinationSettings]:
    """Those of a document's destinations that have a name and a type."""
    given = destinations.items() if isinstance(destinations, dict) else ()
    return {
        str(name): DestinationSettings.model_validate(one)
        for name, one in given
        if isinstance(one, dict) and isinstance(one.get("type"), str) and all(isinstance(key, str) for key in one)
    }


def _destination_problems(
    destinations: Mapping[str, DestinationSettings], check_destination: OptionsCheck
) -> Iterable[str]:
    for name, destination in destinations.items():
        try:
            wrong = check_destination(destination.type, destination.options)
        except KeyError as error:
            known = list(error.args[0])
            hint = did_you_mean(destination.type, known) or f"; known: {', '.join(sorted(known))}"
            yield f'destinations.{name}.type: no destination type "{destination.type}"{hint}'
            continue
        except InputError as error:
            yield f"destinations.{name}.type: {error}"
            continue
        yield from [f"{dotted(('destinations', name, *path))}: {what}" for path, what in wrong]


def _streaming_problems(
    settings: Settings, check_message: Callable[[str], object], check_mask: Callable[[str], object]
) -> Iterable[str]:
    # thousands of workspaces have the same few templates
    wrong = cache(partial(_why_not, check_message))
    for path, streaming in settings.streamings():
        if streaming.destination is not None and streaming.destination not in settings.destinations:
            hint = did_you_mean(streaming.destination, settings.destinations)
            yield f'{path}.destination: no destination named "{streaming.destination}"{hint}'
        for kind, template in by_kind(streaming.message).items():
            if (problem := wrong(template)) is not None:
                yield f"{path}.message{'' if isinstance(streaming.message, str) else f'.{kind}'}: {problem}"
        for index, mask in enumerate(streaming.mask):
            try:
                check_mask(mask)
            except ValueError as error:
                yield f"{path}.mask[{index}]: {error}"


def _why_not(check: Callable[[str], object], text: str) -> str | None:
    try:
        check(text)
    except Exception as error:
        return str(error)
    return None


def _duplicates(settings: Settings) -> Iterable[str]:
    first: dict[int, int] = {}
    for index, workspace in enumerate(settings.workspaces):
        if workspace.id in first:
            yield f"workspaces[{index}].id: {workspace.id} is already set in workspaces[{first[workspace.id]}]"
        first.setdefault(workspace.id, index)


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """A pydantic error as lines of `path: what is wrong`, with a suggestion for a misspelt field or word."""
    return [f"{dotted(path)}: {what}" if path else what for path, what in explain_parts(error, model)]


def explain_parts(error: ValidationError, model: type[BaseModel]) -> list[tuple[tuple[str | int, ...], str]]:
    """The same as `explain`, with the path apart."""
    return explain_items(error.errors(), model)


def explain_items(
    items: Iterable[Mapping[str, Any]], model: type[BaseModel]
) -> list[tuple[tuple[str | int, ...], str]]:
    """The same of the single errors, as pydantic and FastAPI list them."""
    result = []
    for item in items:
        path = tuple(part for part in item["loc"] if part != "[key]")
        kind, value = item["type"], item.get("input")
        if kind == "extra_forbidden":
            what = "unknown field" + did_you_mean(str(path[-1]), _fields_at(model, path[:-1]))
        elif kind == "enum" and isinstance(value, str):
            known = [str(word).strip("'") for word in str(item["ctx"]["expected"]).replace(" or ", ", ").split(", ")]
            what = f'no such choice "{_brief(value)}"' + (
                did_you_mean(value, known) or f"; choose from {', '.join(known)}"
            )
        elif kind == "literal_error":
            what = f'no such choice "{_brief(value)}"; choose from {item["ctx"]["expected"]}'
        elif kind == "missing":
            what = "is required"
        elif kind == "value_error":
            # one error may tell of several fields, each on a line of its own
            for text in str(item["ctx"]["error"]).splitlines():
                field, colon, rest = text.partition(": ")
                place = (*path, field) if colon and field.isidentifier() else path
                result.append((place, rest if place != path else text))
            continue
        else:
            what = wording(kind, item.get("ctx", {}), str(item["msg"]))
            if not isinstance(value, dict | list | tuple):
                what += f" (got {_short(value)})"
        result.append((path, what))
    return result


def dotted(path: Iterable[str | int]) -> str:
    """`("workspaces", 3, "streaming")` as `workspaces[3].streaming`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "lake"?` if something known is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else ""


def _fields_at(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int) or current is None:
            continue
        field = current.model_fields.get(part)
        current = _model_in(field.annotation) if field else None
    return list(current.model_fields) if current else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_in(part)
        if found is not None:
            return found
    return None


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _short(value: object) -> str:
    # of a text no more is written out than is shown: it may be megabytes
    text = repr(value[:100] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def _type(value: object) -> str:
    return {list: "a list", str: "a text", int: "a number"}.get(type(value), type(value).__name__)
