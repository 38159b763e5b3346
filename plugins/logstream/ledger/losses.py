"""Losses: events that were planned and that their destination will never get, by why.

The log store purged them before they could be delivered; or an administrator has written them off (`ledger/write_offs.py`).
Either way they have left their lane's `planned`, so that of each delivery planned = delivered + rejected + lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, select, update

from logstream.control.tables import SCHEMA, deliveries, losses
from logstream.database import database_errors
from logstream.destinations.parcel import Tally
from logstream.ledger.book import Book, any_of
from logstream.units import counted
from logstream.window import Window, iso


class Why(StrEnum):
    """Why events are lost."""

    PURGED = "purged"
    """The log store no longer held them when they were to be delivered."""
    WRITTEN_OFF = "written off"
    """An administrator has decided that their destination shall not get them."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Events of one workspace and kind that a destination will never get. `is_new`: the newest plan of the delivery found it.

    What is written off is acknowledged by the person who did it; `note` is what that person said of it.
    """

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
    why: Why = Why.PURGED
    note: str | None = None

    def as_json(self) -> dict[str, object]:
        """Plain data for `owed --json` and `verify --json`."""
        return {
            "window": self.window.as_json(), "destination": self.destination, "workspace_id": self.workspace_id,
            "kind": self.kind, "events": self.events, "reason": self.why,
            **({"by": self.acknowledged_by, "at": iso(self.noted_at), "note": self.note} if self.note else {}),
        }  # fmt: skip

    def __str__(self) -> str:
        events = counted(self.events, "event")
        what = f"{events} of kind {self.kind} of workspace {self.workspace_id}, {self.destination}, {self.window}"
        if self.why is Why.PURGED:
            return f"lost, no longer in the log store: {what}"
        return f"written off by {self.acknowledged_by} on {self.noted_at:%Y-%m-%d %H:%M} UTC ({self.note}): {what}"


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
            .order_by(
                deliveries.c.window_start,
                deliveries.c.destination,
                losses.c.workspace_id,
                losses.c.kind,
                losses.c.reason,
            )
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

    def lost_of(self, delivery_ids: Iterable[int]) -> dict[int, dict[Why, Tally]]:
        """Delivery id to the events that are lost of it, by why."""
        found: dict[int, dict[Why, Tally]] = {}
        for loss in self.losses(delivery_ids=delivery_ids):
            tally = found.setdefault(loss.delivery_id, {}).setdefault(loss.why, Tally())
            tally[(loss.workspace_id, loss.kind)] = loss.events
        return found

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
        with self._writing("writing the ledger") as connection:
            return sum(connection.execute(noted.returning(losses.c.events)).scalars())


_NOTE = f"""
insert into {SCHEMA}.losses as l (delivery_id, workspace_id, kind, events)
select * from unnest(%s::bigint[], %s::bigint[], %s::text[], %s::bigint[])
on conflict (delivery_id, workspace_id, kind, reason) do update set
    events = excluded.events,
    noted_at = case when excluded.events > l.events then clock_timestamp() else l.noted_at end,
    acknowledged_at = case when excluded.events > l.events then null else l.acknowledged_at end,
    acknowledged_by = case when excluded.events > l.events then null else l.acknowledged_by end
"""  # noqa: S608 - the schema is ours

# added to what is there by then: lanes of one delivery may end at once, in tasks of their own
_NOTE_MORE = f"""
insert into {SCHEMA}.losses as l (delivery_id, workspace_id, kind, events)
select * from unnest(%s::bigint[], %s::bigint[], %s::text[], %s::bigint[])
on conflict (delivery_id, workspace_id, kind, reason) do update set
    events = l.events + excluded.events, noted_at = clock_timestamp(), acknowledged_at = null, acknowledged_by = null
"""  # noqa: S608 - the schema is ours

# what is planned again after all is not written off any more; who decided what is left, and why, stays
_WRITE_OFF_LESS = f"""
update {SCHEMA}.losses l set events = n.events
from unnest(%s::bigint[], %s::bigint[], %s::text[], %s::bigint[]) as n(delivery_id, workspace_id, kind, events)
where (l.delivery_id, l.workspace_id, l.kind, l.reason) = (n.delivery_id, n.workspace_id, n.kind, '{Why.WRITTEN_OFF}')
"""  # noqa: S608 - the schema is ours

_FORGET = f"delete from {SCHEMA}.losses where delivery_id = any(%s::bigint[]) and events = 0"  # noqa: S608


def losses_of(connection: Connection, delivery_ids: Iterable[int], why: Why = Why.PURGED) -> dict[int, Tally]:
    """Delivery id to the events that are lost of it."""
    found: dict[int, Tally] = {}
    query = select(losses).where(any_of(losses.c.delivery_id, delivery_ids), losses.c.reason == why)
    for row in connection.execute(query):
        found.setdefault(row.delivery_id, Tally())[(row.workspace_id, row.kind)] = row.events
    return found


def note_losses(connection: Connection, lost: Mapping[int, Tally]) -> None:
    """Write down, in the transaction of a plan, what was purged of deliveries: by id, all in all, of what has changed.

    Where more is lost than before, it is new, and not acknowledged. What is lost no longer is 0.
    """
    _write(connection, _NOTE, lost)


def note_more_losses(connection: Connection, lost: Mapping[int, Tally]) -> None:
    """Write down, in the transaction of a lane's end, what it has found to be purged beside what was known."""
    _write(connection, _NOTE_MORE, lost)


def write_off_less(connection: Connection, left: Mapping[int, Tally]) -> None:
    """Write down, in the transaction of a plan, what is left written off of deliveries of which some is planned again."""
    _write(connection, _WRITE_OFF_LESS, left)


def _write(connection: Connection, statement: str, lost: Mapping[int, Tally]) -> None:
    rows = [(number, *key, events) for number, tally in sorted(lost.items()) for key, events in sorted(tally.items())]
    if rows:
        columns: Sequence[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
        connection.exec_driver_sql(statement, tuple(columns))
        connection.exec_driver_sql(_FORGET, (sorted(lost),))


def _loss(row: Any) -> Loss:
    window = Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC))
    return Loss(
        row.delivery_id, row.destination, window, row.workspace_id, row.kind, row.events, row.noted_at,
        row.acknowledged_at, row.acknowledged_by, row.is_new, Why(row.reason), row.note,
    )  # fmt: skip
