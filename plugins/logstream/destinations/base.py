"""What a destination is. Authors of plug-ins subclass one of the two transports, or `Destination` itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Generic, TypeVar, final

from pydantic import BaseModel, ConfigDict, Field

from logstream.datasets import DataSet
from logstream.destinations.access.base import Access
from logstream.destinations.credentials import Connections
from logstream.destinations.outcome import Outcome, Retry
from logstream.destinations.parcel import LaneRef, Packer, Parcel
from logstream.destinations.transport.secrets import Secrets
from logstream.errors import InputError
from logstream.steps import Step
from logstream.threads import is_from_outside
from logstream.tracebacks import words_of

__all__ = ["ConnectionOptions", "Destination", "Limits", "Options", "OptionsModel", "Step"]


class Options(BaseModel):
    """A destination's options, as `settings.yaml` has them beside `type`. Unknown ones are refused.

    Every field says what it is for: the console's form and the docs are drawn from it. Secrets are never options; they
    are in the Airflow connection.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lanes: Annotated[int, Field(ge=1, le=64, strict=True)] = Field(
        default=4,
        description="Into how many lanes the workspaces of this destination are divided. Lanes are delivered at the same "
        "time; each makes objects of its own.",
    )


class ConnectionOptions(Options):
    """Options of a destination that takes its address or credentials from an Airflow connection."""

    connection: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="The Airflow connection with the credentials.",
        examples=["aws_lake"],
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """What a receiver takes in one request. `None`: no limit. Bytes are of the encoded body before compression.

    `event_bytes` are of one event's entry as it stands in the body, `message_bytes` of its message as the receiver keeps it.
    """

    events: int | None = None
    bytes: int | None = None
    event_bytes: int | None = None
    message_bytes: int | None = None
    concurrency: int = 8


OptionsModel = type[Options]

O = TypeVar("O", bound=Options)  # noqa: E741 - the options


class Destination(ABC, Generic[O]):
    """One configured destination.

    Authors write `open`, `send`, `check` and `close`. The engine calls `start`, `deliver` and `run_check`, which call those
    and let no text out that holds a secret: what leaves a destination leaves it there.
    """

    type: ClassVar[str]
    """The name under which settings choose it, and its entry point."""

    title: ClassVar[str]
    """Its name for people."""

    connection_type: ClassVar[str | None] = None
    """The type of Airflow connection it takes (`aws`, `http`, ...)."""

    access: ClassVar[Access | None] = None
    """The fields of that connection by the vendor's names, and the least rights; without it the console offers no form for it."""

    replaces: ClassVar[bool] = False
    """Whether sending a parcel again replaces what the first sending made (objects do), so that checkpoints may be rare."""

    options_model: ClassVar[OptionsModel]

    def __init__(self, name: str, options: O, connections: Connections) -> None:
        self.name = name
        self.options: O = options
        self.connections = connections
        self.secrets = Secrets()
        """What must be in no text. The transports add what they send; a class that sends in its own way adds its own."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def needs_external_ids(self) -> bool:
        """Whether `packer` wants workspaces' external ids in its lane."""
        return False

    @property
    @abstractmethod
    def limits(self) -> Limits:
        """What its receiver takes."""

    @abstractmethod
    def packer(self, lane: LaneRef, part: int) -> Packer:
        """A packer for a lane, of which `part` parcels are delivered already."""

    def data_set(self) -> DataSet:
        """The place it writes to, by OpenLineage's names. Asked unopened; blocks. Raises `InputError` for its connection.

        A destination that says nothing of its place is known by its name in the settings.
        """
        return DataSet("logstream://destination", self.name)

    def options_problem(self) -> str | None:
        """Why no event could be sent with its options, each of which may be right; `None` if some can. Asked unopened."""
        return None

    async def open(self) -> None:
        """Get credentials and clients. Raises `InputError` with the remedy where they are missing."""

    async def close(self) -> None:
        """Give back what `open` took."""

    @abstractmethod
    async def send(self, parcel: Parcel) -> Outcome:
        """Send one parcel and read the answer. Never raises for what a receiver or a network may do."""

    @abstractmethod
    def check(self) -> AsyncIterator[Step]:
        """Try it out step by step; remove what that leaves, where it can be removed. Stops at the first step that fails."""

    @final
    async def start(self) -> None:
        """Open it, before the first `deliver`. Raises `InputError` for whatever stands in its way."""
        try:
            await self.open()
        except InputError as error:
            await self.close()
            if self.secrets.mask(str(error)) == str(error):
                raise
            raise InputError(self.secrets.mask(str(error))) from None
        except BaseException as error:
            await self.close()
            if is_from_outside(error):
                raise
            # before it is open it is not known what is secret: a parser's words may quote the key that it cannot read
            where = getattr(self.options, "connection", None)
            remedy = f"look at what connection `{where}` holds" if where else "look at its options"
            raise InputError(f"destination {self.name} cannot be opened ({type(error).__name__}): {remedy}") from None

    @final
    async def deliver(self, parcel: Parcel) -> Outcome:
        """Send one parcel; the outcome's reasons hold no secrets. Never raises, whatever `send` does."""
        try:
            outcome = await self.send(parcel)
        except BaseException as error:
            if is_from_outside(error):
                raise
            outcome = Retry(f"sending to {self.name} broke: {type(error).__name__}: {words_of(error)}")
        return self.secrets.outcome(outcome)

    @final
    async def run_check(self) -> AsyncIterator[Step]:
        """Open it, check it, close it. Raises `InputError` as `start` does."""
        await self.start()
        try:
            async for step in self.check():
                mask = self.secrets.mask
                yield replace(step, name=mask(step.name), detail=mask(step.detail), remedy=mask(step.remedy))
        finally:
            await self.close()

    def split(self, parcel: Parcel) -> list[Parcel]:
        """A parcel in smaller ones, with names of their own; empty if it cannot be split."""
        return []

    def subset(self, parcel: Parcel, indexes: tuple[int, ...]) -> Parcel:
        """A parcel of some of a parcel's events, to send again."""
        raise TypeError(f"{self.type} sends whole parcels only ({parcel.name}, {indexes})")
