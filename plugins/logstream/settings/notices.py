"""Who is told of what, as settings: receivers of notices of named kinds, each over an Airflow connection.

Settings can be edited in the console, so a receiver is no class with arguments, holds no secret, and none of its fields
may hold what Airflow's notifiers would take for a template.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, distribution
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MAX_RECEIVERS = 20
"""Each is waited for, and a look at the news has its limit."""


class Topic(StrEnum):
    """What there may be news of: of a destination, or of the whole deployment."""

    FAILING = "failing"
    SUSPENDED = "suspended"
    HELD = "held"
    REJECTING = "rejecting"
    LAGGING = "lagging"
    LOST = "lost"
    CHECK = "check"
    GAPS = "gaps"
    LATE = "late"
    RECOVERED = "recovered"
    SETTINGS = "settings"

    @property
    def meaning(self) -> str:
        """When it is told, in a sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    Topic.FAILING: "a window could not be delivered to a destination",
    Topic.SUSPENDED: "a destination has failed too often in a row",
    Topic.HELD: "a person holds a destination",
    Topic.REJECTING: "a destination refuses 1 % or more of its newest events; again whenever the share has doubled",
    Topic.LAGGING: "what a destination has not got is older than the limit",
    Topic.LOST: "events are lost to a destination; again whenever there are more",
    Topic.CHECK: "the daily check of a destination has failed",
    Topic.GAPS: "there is time that no run has exported, and no run is exporting it",
    Topic.LATE: "a scheduled run of the export has not sealed its window within `LOGSTREAM_DEADLINE_MINUTES`",
    Topic.RECOVERED: "one of the troubles above, but `lost` and `late`, has ended",
    Topic.SETTINGS: "the settings were changed: which fields, and by whom",
}


class ReceiverKind(StrEnum):
    """How a notice gets to its receiver."""

    SLACK = "slack"
    SMTP = "smtp"
    WEBHOOK = "webhook"

    @property
    def package(self) -> str | None:
        """The package that it needs beside Logstream's own; `None` if there is none."""
        return None if self is ReceiverKind.WEBHOOK else f"apache-airflow-providers-{self}"

    @property
    def missing(self) -> str | None:
        """The package that it needs and that is not installed here."""
        if self.package is None:
            return None
        try:
            distribution(self.package)
        except PackageNotFoundError:
            return self.package
        return None


_OWN_FIELDS = {ReceiverKind.SLACK: "channel", ReceiverKind.SMTP: "to", ReceiverKind.WEBHOOK: "path"}


def _list(value: object) -> object:
    # `to: ops@example.com` is what people write for one
    return [value] if isinstance(value, str) else value


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Receiver(_Model):
    """One who is told."""

    kind: ReceiverKind = Field(description="`slack`, `smtp` (mail) or `webhook` (a JSON document by HTTP POST).")
    connection: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="The Airflow connection, of type `slack`, `smtp` or `http`.",
    )
    about: Annotated[tuple[Topic, ...], BeforeValidator(_list)] = Field(
        default=(), description="Only news of these topics; of all if left out."
    )
    channel: str | None = Field(
        default=None, pattern=r"^[#@]?[A-Za-z0-9_.-]{1,80}$", description="`slack`: the channel, required."
    )
    to: Annotated[
        tuple[Annotated[str, Field(max_length=254, pattern=r"^[A-Za-z0-9.!#$&'*+/=?^_`|~-]+@[A-Za-z0-9.-]+$")], ...],
        BeforeValidator(_list),
    ] = Field(default=(), max_length=20, description="`smtp`: the addresses, required.")
    path: str | None = Field(
        default=None,
        max_length=2000,
        pattern=r"^[A-Za-z0-9/_.~?&=%-]*$",
        description="`webhook`: put behind the connection's base URL.",
    )

    @model_validator(mode="after")
    def _fields_of_its_kind(self) -> Receiver:
        wrong = [
            f"{field}: goes with kind {kind} alone"
            for kind, field in _OWN_FIELDS.items()
            if kind is not self.kind and getattr(self, field)
        ]
        own = _OWN_FIELDS[self.kind]
        if self.kind is not ReceiverKind.WEBHOOK and not getattr(self, own):
            wrong.append(f"{own}: is required for kind {self.kind}")
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def __str__(self) -> str:
        where = self.channel or ", ".join(self.to) or self.path
        return f"{self.kind} by connection `{self.connection}`" + (f" ({where})" if where else "")


class WorkspaceNotices(_Model):
    """Who is told of the destination of one workspace's own setting, and of no other."""

    to: tuple[Receiver, ...] = Field(default=(), max_length=MAX_RECEIVERS, description="The receivers.")


class Notices(WorkspaceNotices):
    """Who is told of all."""

    lag_minutes: int = Field(
        default=60, ge=1, le=525_600, strict=True,
        description="From this age on, beyond the schedule's interval, what a destination has not got is told of.",
    )  # fmt: skip


def absent(receivers: list[tuple[str, Receiver]]) -> Iterator[str]:
    """Which receivers, given with their paths in the settings, need a package that is not installed here."""
    for path, receiver in receivers:
        if receiver.kind.missing:
            yield (
                f"{path}.kind: {receiver.kind} needs the package {receiver.kind.missing}, which is not installed here; "
                "install it where Airflow runs"
            )


def as_data(receiver: Receiver) -> dict[str, Any]:
    """What makes a receiver the one it is: plain data without its topics."""
    return receiver.model_dump(mode="json", exclude={"about"}, exclude_defaults=True)
