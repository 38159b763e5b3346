"""Losses: events that were planned and that the log store no longer held when they were to be delivered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, select, update

from logstream.control.tables import SCHEMA, deliveries, losses
from logstream.database import database_errors
from logstream.destinations.parcel import Tally
from logstream.ledger.book import Book, any_of
from logstream.units import counted
from logstream.window import Window


@dataclass(frozen=True, slots=True)
class Loss:
    """Events of one workspace and kind that a destination will never get. `is_new`: the newest plan of the delivery found it."""

    delivery_id: int
    destination: str
    window: Window
    workspace_id: int
    kind: str
    events: int
    noted_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    is_new: bool

    def as_json(self) -> dict[str, object]:
        """Plain data for `owed --json` and `verify --json`."""
        return {
            "window": self.window.as_json(), "destination": self.destination, "workspace_id": self.workspace_id,
            "kind": self.kind, "events": self.events,
        }  # fmt: skip

    def __str__(self) -> str:
        what = counted(self.events, "event")
        return f"{what} of kind {self.kind} of workspace {self.workspace_id}, {self.destination}, {self.window}"


class Losses(Book):
    """Reads losses, and notes who has taken note of them."""

    def losses(
        self, destination: str | None = None, *, delivery_ids: Iterable[int] | None = None, span: Window | None = None,
        open_only: bool = False,
    ) -> list[Loss]:  # fmt: skip
        """What is lost, by window: to one destination, of some deliveries, of the windows in a span; with `open_only` only what
        is not acknowledged."""
        query = (
            select(losses, deliveries.c.destination, deliveries.c.window_start, deliveries.c.window_end)
            .add_columns((losses.c.noted_at >= deliveries.c.planned_at).label("is_new"))
            .join(deliveries, deliveries.c.id == losses.c.delivery_id)
            .order_by(deliveries.c.window_start, deliveries.c.destination, losses.c.workspace_id, losses.c.kind)
        )
        if destination is not None:
            query = query.where(deliveries.c.destination == destination)
        if delivery_ids is not None:
            query = query.where(any_of(losses.c.delivery_id, delivery_ids))
        if span is not None:
            query = query.where(deliveries.c.window_start >= span.start, deliveries.c.window_end <= span.end)
        if open_only:
            query = query.where(losses.c.acknowledged_at.is_(None))
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return [_loss(row) for row in connection.execute(query)]

    def acknowledge(self, by: str, destination: str | None = None, seen: datetime | None = None) -> int:
        """Note that a person knows of all losses, or of those of one destination; return of how many events.

        With `seen`, only of those that were noted by then: what a page has shown.
        """
        noted = update(losses).where(losses.c.acknowledged_at.is_(None))
        if seen is not None:
            noted = noted.where(losses.c.noted_at <= seen)
        if destination is not None:
            of_it = select(deliveries.c.id).where(deliveries.c.destination == destination)
            noted = noted.where(losses.c.delivery_id.in_(of_it))
        noted = noted.values(acknowledged_at=func.clock_timestamp(), acknowledged_by=by)
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            return sum(connection.execute(noted.returning(losses.c.events)).scalars())


_NOTE = f"""
insert into {SCHEMA}.losses as l (delivery_id, workspace_id, kind, events)
select * from unnest(%s::bigint[], %s::bigint[], %s::text[], %s::bigint[])
on conflict (delivery_id, workspace_id, kind) do update set
    events = excluded.events,
    noted_at = case when excluded.events > l.events then clock_timestamp() else l.noted_at end,
    acknowledged_at = case when excluded.events > l.events then null else l.acknowledged_at end,
    acknowledged_by = case when excluded.events > l.events then null else l.acknowledged_by end
"""  # noqa: S608 - the schema is ours

_FORGET = f"delete from {SCHEMA}.losses where delivery_id = any(%s::bigint[]) and events = 0"  # noqa: S608


def losses_of(connection: Connection, delivery_ids: Iterable[int]) -> dict[int, Tally]:
    """Delivery id to the events that are lost of it."""
    found: dict[int, Tally] = {}
    for row in connection.execute(select(losses).where(any_of(losses.c.delivery_id, delivery_ids))):
        found.setdefault(row.delivery_id, Tally())[(row.workspace_id, row.kind)] = row.events
    return found


def note_losses(connection: Connection, lost: Mapping[int, Tally]) -> None:
    """Write down, in the transaction of a plan or of a lane's end, what is lost of deliveries: by id, all in all.

    Where more is lost than before, it is new, and nobody has acknowledged it. What is lost no longer is 0.
    """
    rows = [(number, *key, events) for number, tally in sorted(lost.items()) for key, events in sorted(tally.items())]
    if rows:
        columns: Sequence[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
        connection.exec_driver_sql(_NOTE, tuple(columns))
        connection.exec_driver_sql(_FORGET, (sorted(lost),))


def _loss(row: Any) -> Loss:
    window = Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC))
    return Loss(
        row.delivery_id, row.destination, window, row.workspace_id, row.kind, row.events, row.noted_at,
        row.acknowledged_at, row.acknowledged_by, row.is_new,
    )  # fmt: skip
