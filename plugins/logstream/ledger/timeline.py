"""Windows over time, as people look at them: what each carried, how late it was complete, what is missing of it.

The work is bounded by deliveries, not by windows: few destinations are shown over many windows, a thousand over some dozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Row, text

from logstream.control.tables import SCHEMA
from logstream.database import database_errors
from logstream.ledger.coverage import AskedBy
from logstream.ledger.debts import ORPHANED
from logstream.window import Window

DELIVERIES = 24_000
"""So many deliveries are summed up for one look: a few tenths of a second."""

FEWEST, MOST = 24, 480
"""Windows that are looked at, whatever their deliveries."""


@dataclass(frozen=True, slots=True)
class Moment:
    """All deliveries of one window.

    `lag` is that of the latest that is complete, but for those that were exported again later: how late they had been is not
    known any more. `open` counts deliveries that are not, `owed` those of them that no run is at
    work on, `lost` events that will never arrive and that no person has taken note of yet. `requested` says that the window
    was exported on request and not by the schedule.
    """

    window: Window
    events: int = 0
    bytes: int = 0
    lag: timedelta | None = None
    open: int = 0
    owed: int = 0
    lost: int = 0
    requested: bool = False

    @property
    def start(self) -> datetime:
        """When the window begins."""
        return self.window.start


_WIDTH = text(
    f"""
    select count(*) from {SCHEMA}.deliveries
    where window_start = (select max(window_start) from {SCHEMA}.windows where asked_by = :asked_by)
    """  # noqa: S608 - the schema is ours
)

_OF_ALL = f"""
    select window_start, window_end from {SCHEMA}.windows
    where asked_by = :asked_by order by window_start desc limit :windows
    """  # noqa: S608 - the schema is ours

_OF_ONE = f"""
    select w.window_start, w.window_end from {SCHEMA}.windows w join {SCHEMA}.deliveries d using (window_start, window_end)
    where w.asked_by = :asked_by and d.destination = :destination order by w.window_start desc limit :windows
    """  # noqa: S608 - the schema is ours


def _moments(chosen: str, only: str) -> str:
    return f"""
    with chosen as materialized ({chosen}),
    found as materialized (
        select d.id, d.window_start, d.window_end, d.state,
            case when d.generation = 1 then d.sealed_at - d.window_end end as lag,
            d.state in ('failed', 'owed') or (d.state = 'planned' and {ORPHANED}) as owed
        from chosen c join {SCHEMA}.deliveries d on d.window_start = c.window_start and d.window_end = c.window_end {only}
    ),
    sent as (
        select window_start, sum(l.delivered_events) as events, sum(l.bytes) as bytes
        from found f join {SCHEMA}.lanes l on l.delivery_id = f.id group by 1
    ),
    gone as (
        select window_start, sum(x.events) as lost from found f join {SCHEMA}.losses x on x.delivery_id = f.id
        where x.acknowledged_at is null group by 1
    ),
    held as (
        select window_start, max(lag) as lag, count(*) filter (where state <> 'delivered') as open,
            count(*) filter (where owed) as owed
        from found group by 1
    )
    select c.window_start, c.window_end, coalesce(sent.events, 0) as events, coalesce(sent.bytes, 0) as bytes, held.lag,
        coalesce(held.open, 0) as open, coalesce(held.owed, 0) as owed, coalesce(gone.lost, 0) as lost
    from chosen c left join held using (window_start) left join sent using (window_start) left join gone using (window_start)
    order by c.window_start
    """  # noqa: S608 - no part of it comes from outside


_ALL = text(_moments(_OF_ALL, ""))
_ONE = text(_moments(_OF_ONE, "and d.destination = :destination"))


class Timeline:
    """Looks at the newest windows of the ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def moments(self, destination: str | None = None, asked_by: AskedBy = AskedBy.SCHEDULE) -> list[Moment]:
        """The newest windows of the schedule, or of those exported on request, oldest first: all, or those of a destination."""
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            width = 1 if destination else connection.execute(_WIDTH, {"asked_by": asked_by}).scalar_one()
            windows = min(MOST, max(FEWEST, DELIVERIES // max(width, 1)))
            given: dict[str, Any] = {"asked_by": asked_by, "windows": windows}
            if destination:
                rows = connection.execute(_ONE, {**given, "destination": destination})
            else:
                rows = connection.execute(_ALL, given)
            return [_moment(row, asked_by) for row in rows]


def _moment(row: Row[Any], asked_by: AskedBy) -> Moment:
    return Moment(
        Window(row.window_start, row.window_end), int(row.events), int(row.bytes), row.lag, row.open, row.owed, int(row.lost),
        asked_by is AskedBy.REQUEST,
    )  # fmt: skip
