"""The settings as data: `settings.yaml`. The models know the shape and what must hold between the parts.

A whole document is read by `settings.parsing`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from logstream.events import EventType, Kind, Selection
from logstream.settings.explaining import did_you_mean
from logstream.settings.notices import Notices, Receiver, WorkspaceNotices

DESTINATION_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
"""Names of destinations go into object keys and Airflow labels."""

RELATION_NAME = r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$"


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
