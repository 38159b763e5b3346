"""What pages and API ask alike: the models of what is sent, and what is begun by it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import HTTPException
from pydantic import BaseModel, ConfigDict, Field, model_validator

from logstream.console import runs
from logstream.console.access import may_start_runs
from logstream.console.bounds import BIG
from logstream.console.service import Console
from logstream.control.audit import Act, Actor
from logstream.errors import InputError, NotThere
from logstream.events import Kind
from logstream.ledger.overview import DeliveryFilter
from logstream.settings.characters import control_characters
from logstream.settings.explaining import dotted
from logstream.settings.models import DESTINATION_NAME, Message
from logstream.window import Window, parse_time


class Body(BaseModel):
    """What is sent to be kept or done: its texts hold no control characters, and it has no unknown fields."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _can_be_seen(cls, sent: object) -> object:
        for path in control_characters(sent):
            raise ValueError(f"{dotted(path)} holds a control character")
        return sent


class Acknowledgement(Body):
    """Which losses a person takes note of: those noted by `seen` (ISO 8601), of one destination or of all."""

    seen: str = Field(max_length=40)
    destination: str | None = Field(None, pattern=DESTINATION_NAME)


class DeadLetter(Body):
    """A rejected event of a delivery."""

    delivery_id: int = Field(ge=0, le=BIG)
    event_id: int = Field(ge=-BIG, le=BIG)

    @property
    def key(self) -> tuple[int, int]:
        """As the ledger names it."""
        return self.delivery_id, self.event_id


class Discarding(Body):
    """Dead letters that are not to be delivered, and why."""

    events: list[DeadLetter] = Field(min_length=1, max_length=1000)
    note: str = Field(min_length=1, max_length=500)


class RedeliveryRequest(Body):
    """What to deliver: what is owed (of one window if given), or the dead letters; to one destination or to all."""

    destination: str | None = Field(None, pattern=DESTINATION_NAME)
    start: str | None = Field(None, max_length=40)
    end: str | None = Field(None, max_length=40)
    rejected: bool = False
    events: list[DeadLetter] | None = Field(None, max_length=1000, description="With `rejected`, only these.")


MOST_NAMED = 1000
"""Destinations that a backfill names; it is for all if it names none."""


class BackfillRequest(Body):
    """A range, and the destinations it is for (all if none is named). With `dry_run` nothing is started."""

    start: str = Field(max_length=40)
    end: str = Field(max_length=40)
    destinations: list[Annotated[str, Field(pattern=DESTINATION_NAME)]] = Field([], max_length=MOST_NAMED)
    dry_run: bool = False


class PreviewRequest(BaseModel):
    """What to render: a message template, or one for each kind (null: the event itself), and an event of a kind (a sample)."""

    model_config = ConfigDict(extra="forbid")

    message: Message | None = None
    mask: list[str] = Field([], max_length=50)
    kind: Kind = Kind.JOB
    events: list[str] = Field(["job_details"], max_length=10)
    event: dict[str, Any] | None = None
    newest: bool = Field(False, description="Render the newest real event of the kind; takes the right to write.")


def delivery_filter(
    console: Console,
    destination: str | None,
    state: str | None,
    start: str | None,
    end: str | None,
    before_id: int | None,
    customer: str | None = None,
) -> DeliveryFilter:
    """A filter from what a browser or a tool sends. `customer` is a workspace's id, external id or name.

    Raises `InputError` for times that are none, and for a customer that is not known.
    """
    last = console.overview.delivery(before_id) if before_id is not None else None
    return DeliveryFilter(
        destination or None,
        state or None,
        parse_time(start, "start") if start else None,
        parse_time(end, "end") if end else None,
        (last.window.start, last.id) if last else None,
        console.customers.named(customer).id if customer else None,
    )


def begin_redelivery(console: Console, user: Any, by: Actor, wanted: RedeliveryRequest) -> str:
    """Start a run of the redelivery DAG. Raises `NotThere` for an unknown destination."""
    may_start(user)
    if wanted.destination and wanted.destination not in console.settings.current().settings.destinations:
        raise NotThere(f'no destination named "{wanted.destination}"')
    conf: dict[str, Any] = {"destination": wanted.destination, "rejected": wanted.rejected}
    if wanted.events is not None:
        conf["events"] = [list(event.key) for event in wanted.events]
    if wanted.start or wanted.end:
        window = Window(parse_time(wanted.start or "", "start"), parse_time(wanted.end or "", "end")).as_json()
        conf |= {"window_start": window["start"], "window_end": window["end"]}
    run = runs.start_redelivery(conf, by.name)
    console.audit.record(Act.REDELIVERY_STARTED, by, wanted.destination or "", **conf, run=run)
    return run


def begin_backfill(
    console: Console, user: Any, by: Actor, start: datetime, end: datetime, names: list[str], windows: int
) -> int:
    """Start a backfill of the export DAG, which exports so many windows of the range; return its id."""
    may_start(user)
    begun = runs.start_backfill(start, end, names, by.name)
    span = Window(start, end).as_json()
    console.audit.record(Act.BACKFILL_STARTED, by, "", **span, windows=windows, destinations=names, backfill=begun)
    return begun


def may_start(user: Any) -> None:
    """Raise 403 for a user who may not start runs of the export DAG."""
    if not may_start_runs(user):
        raise HTTPException(403, "You may not start runs of this DAG.")


def range_of(console: Console, start: str, end: str, destinations: list[str]) -> tuple[datetime, datetime]:
    """The range of a backfill. Raises `InputError` for times that are none, `NotThere` for an unknown destination."""
    for name in destinations:
        if name not in console.settings.current().settings.destinations:
            raise NotThere(f'no destination named "{name}"')
    span = Window(parse_time(start, "start"), parse_time(end, "end"))
    if span.end.year > 9990 or span.start.year < 1970:
        raise InputError("the range is not one in which there are events")
    return span.start, span.end
