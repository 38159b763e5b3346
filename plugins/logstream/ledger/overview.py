"""What became of deliveries, for people to look at: the newest first, and how destinations stand.

Reads the ledger's sums, never its counts by workspace: a page is as quick with 10,000 workspaces as with ten.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Row, Select, exists, func, literal, literal_column, select, text, tuple_

from logstream.control.tables import SCHEMA, checks, deliveries, destinations, lanes, losses
from logstream.database import database_errors
from logstream.ledger.condition import RECENT_WINDOWS, Backlog, DestinationStatus
from logstream.ledger.coverage import Coverage
from logstream.ledger.debts import is_owed
from logstream.ledger.health import Health
from logstream.ledger.records import State
from logstream.ledger.windows import Windows
from logstream.window import Window


@dataclass(frozen=True, slots=True)
class DeliverySummary:
    """One window at one destination. `seconds` of work from the first lane's begin to the last one's end."""

    id: int
    destination: str
    window: Window
    state: str
    planned: int
    delivered: int
    rejected: int
    bytes: int
    requests: int
    generation: int
    sealed_at: datetime | None
    seconds: float | None
    error: str | None
    lost: int = 0

    @property
    def lag(self) -> timedelta | None:
        """How long after its end the window was complete."""
        return self.sealed_at - self.window.end if self.sealed_at else None


LOOKED_THROUGH = 5_000
"""A delivery's workspaces are in its lanes: so many deliveries are looked into for those of one workspace."""


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries to show. `before` is the (window start, id) of the last one shown."""

    destination: str | None = None
    state: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    before: tuple[datetime, int] | None = None
    workspace: int | None = None
    """Only those that were planned with events of this workspace, of the newest `LOOKED_THROUGH` that are left."""


_NEWEST = text(
    f"""
    select n.name, newest.* from unnest(cast(:names as text[])) n(name) cross join lateral (
        select max(d.window_end) filter (where l.delivered_events > 0) as until,
            max(d.sealed_at) filter (where l.delivered_events > 0) as arrived,
            max(d.sealed_at) as sealed,
            sum(l.rejected_events)::float / nullif(sum(l.rejected_events + l.delivered_events), 0) as rejected_share
        from (
            select id, window_end, sealed_at from {SCHEMA}.deliveries
            where destination = n.name and state = 'delivered' order by window_start desc limit {RECENT_WINDOWS}
        ) d left join {SCHEMA}.lanes l on l.delivery_id = d.id
    ) newest
    """  # noqa: S608 - the schema is ours
)

_LOST = text(
    f"""
    select d.destination, sum(l.events) as events from {SCHEMA}.losses l join {SCHEMA}.deliveries d on d.id = l.delivery_id
    where l.acknowledged_at is null group by 1
    """  # noqa: S608 - the schema is ours
)


_FAILED_CHECKS = select(checks).where(checks.c.error.is_not(None))


def _check_error(failed: Row[Any] | None, arrived: datetime | None) -> str | None:
    """What a daily check found, unless events have arrived since."""
    if failed is None or (arrived is not None and arrived > failed.checked_at):
        return None
    return str(failed.error)


# of a lane that is planned again, `blameless` is still of its last error
_WHY = (
    func.max(lanes.c.last_error).filter(~lanes.c.blameless).label("error"),
    func.max(lanes.c.last_error).filter(lanes.c.blameless, lanes.c.state != State.DELIVERED).label("blameless"),
)


def _blocked(*found: Row[Any] | None) -> str | None:
    """Why what is owed, or under way, has failed by no fault of its destination, unless some of it has failed by its own."""
    rows = [row for row in found if row is not None]
    return None if any(row.error for row in rows) else next((row.blameless for row in rows if row.blameless), None)


UNENDED = (
    "its run did not end: its tasks were stopped, or could not write to the ledger; see whether the export DAG runs"
)
"""Why a window is not there of which the ledger has nothing but its plan, and no run any more."""


def _debts() -> Select[Any]:
    """What is owed, and why: the reasons of lanes, or of deliveries where no lane has one. As `Delivery.is_excused`, a lane that
    did not end tells nothing of its destination."""
    one = (
        select(
            deliveries.c.destination,
            deliveries.c.window_start,
            deliveries.c.state,
            deliveries.c.error.label("said"),
            *_WHY,
            func.bool_and(lanes.c.state == State.DELIVERED).label("arrived"),
            func.bool_and(lanes.c.blameless).label("excused"),
        )
        .outerjoin(lanes, lanes.c.delivery_id == deliveries.c.id)
        .where(is_owed())
        .group_by(deliveries.c.id)
        .subquery()
    ).c
    failed = one.state == State.FAILED
    # all has arrived, and it could not be sealed: its lanes tell whose fault that was (`Outcomes.seal`)
    own = func.max(one.said).filter(failed, one.arrived, ~one.excused)
    excused = func.max(one.said).filter(failed, ~one.arrived | one.excused)
    unended = func.max(literal(UNENDED)).filter(one.state == State.PLANNED)
    return select(
        one.destination,
        func.count().label("owed"),
        func.min(one.window_start).label("since"),
        func.coalesce(func.max(one.error), own).label("error"),
        func.coalesce(func.max(one.blameless), excused, unended).label("blameless"),
    ).group_by(one.destination)


def _troubles() -> Select[Any]:
    """Why what runs are at work on has failed so far: by the index `deliveries_open`."""
    return (
        select(deliveries.c.destination, *_WHY)
        .join(lanes, lanes.c.delivery_id == deliveries.c.id)
        .where(deliveries.c.state != literal_column("'delivered'"), deliveries.c.state == State.PLANNED)
        .where(lanes.c.state != State.DELIVERED, lanes.c.last_error.is_not(None))
        .group_by(deliveries.c.destination)
    )


def backlog_of(coverage: Coverage) -> Backlog:
    """How many windows the gaps are: by the schedule's interval, or one each where there is no schedule."""
    gaps, step = coverage.gaps(), coverage.step
    windows = sum(-(-(gap.end - gap.start) // step) if step else 1 for gap in gaps)
    return Backlog(windows, gaps[0].start if gaps else None)


class Overview:
    """Looks at the ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def deliveries(self, wanted: DeliveryFilter, limit: int = 50) -> list[DeliverySummary]:
        """The newest deliveries first."""
        page = select(deliveries).order_by(deliveries.c.window_start.desc(), deliveries.c.id.desc())
        if wanted.destination:
            page = page.where(deliveries.c.destination == wanted.destination)
        if wanted.state:
            page = page.where(deliveries.c.state == wanted.state)
        if wanted.start:
            page = page.where(deliveries.c.window_start >= wanted.start)
        if wanted.end:
            page = page.where(deliveries.c.window_end <= wanted.end)
        if wanted.before:
            page = page.where(tuple_(deliveries.c.window_start, deliveries.c.id) < wanted.before)
        if wanted.workspace is not None:
            some = page.limit(LOOKED_THROUGH).subquery()
            planned = lanes.c.planned.op("->")(str(wanted.workspace)).is_not(None)
            page = select(some).where(exists().where(lanes.c.delivery_id == some.c.id, planned))
            page = page.order_by(some.c.window_start.desc(), some.c.id.desc())
        chosen = page.limit(limit).subquery()
        query = (
            select(
                chosen,
                *(
                    func.coalesce(func.sum(lanes.c[name]), 0).label(name)
                    for name in ("planned_events", "delivered_events", "rejected_events", "bytes", "requests")
                ),
                func.min(lanes.c.started_at).label("started_at"),
                func.max(lanes.c.finished_at).label("finished_at"),
                func.coalesce(
                    func.max(lanes.c.last_error).filter(lanes.c.state != "delivered"),
                    chosen.c.error,
                    func.max(lanes.c.last_error),
                ).label("reason"),
                select(func.coalesce(func.sum(losses.c.events), 0))
                .where(losses.c.delivery_id == chosen.c.id)
                .scalar_subquery()
                .label("lost"),
            )
            .outerjoin(lanes, lanes.c.delivery_id == chosen.c.id)
            .group_by(*chosen.c)
            .order_by(chosen.c.window_start.desc(), chosen.c.id.desc())
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return [_summary(row) for row in connection.execute(query)]

    def delivery(self, delivery_id: int) -> DeliverySummary | None:
        """One delivery."""
        query = select(deliveries.c.window_start, deliveries.c.destination).where(deliveries.c.id == delivery_id)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        after = row.window_start, delivery_id + 1
        found = self.deliveries(DeliveryFilter(destination=row.destination, before=after), 1)
        return found[0] if found and found[0].id == delivery_id else None

    def statuses(self, names: Collection[str]) -> dict[str, DestinationStatus]:
        """How some destinations stand."""
        coverage = Windows(self._engine).coverage()
        step, lost = coverage.step, self.lost_events()
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            newest = {row.name: row for row in connection.execute(_NEWEST, {"names": list(names)})}
            debts = {row.destination: row for row in connection.execute(_debts())}
            troubles = {row.destination: row for row in connection.execute(_troubles())}
            failed = {row.destination: row for row in connection.execute(_FAILED_CHECKS)}
            health = {
                row.name: Health(row.failures, row.last_window, row.suspended_at, row.error, row.held)
                for row in connection.execute(select(destinations))
            }
        gaps = backlog_of(coverage)
        return {
            name: DestinationStatus(
                name,
                health.get(name, Health()),
                newest[name].until,
                debts[name].owed if name in debts else 0,
                debts[name].since if name in debts else None,
                gaps,
                float(newest[name].rejected_share or 0),
                newest[name].sealed,
                lost.get(name, 0),
                debts[name].error if name in debts else None,
                troubles[name].error if name in troubles else None,
                _blocked(troubles.get(name), debts.get(name)),
                _check_error(failed.get(name), newest[name].arrived),
                coverage.now,
                step,
            )
            for name in names
        }

    def lost_events(self) -> dict[str, int]:
        """How many events each destination has lost that no person has taken note of yet: removed ones, too."""
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return {row.destination: int(row.events) for row in connection.execute(_LOST)}

    def owed_windows(self) -> dict[str, int]:
        """How many windows each destination has not got, of those that have not got some: removed ones, too."""
        query = select(deliveries.c.destination, func.count()).where(is_owed()).group_by(deliveries.c.destination)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def by_day(self, workspace_id: int, destination: str, limit: int) -> list[tuple[date, int, int]]:
        """What a destination got of one workspace in its newest deliveries: (day in UTC, windows, events), newest first."""
        query = text(
            f"""
            with newest as materialized (
                select id, window_start from {SCHEMA}.deliveries where destination = :destination
                order by window_start desc limit :limit
            ), theirs as (
                select l.delivery_id, sum(k.value::bigint) as events
                from newest n join {SCHEMA}.lanes l on l.delivery_id = n.id,
                    json_each_text(l.delivered -> :workspace) k group by 1
            )
            select (n.window_start at time zone 'UTC')::date as day, count(*) as windows, coalesce(sum(t.events), 0) as events
            from newest n left join theirs t on t.delivery_id = n.id group by 1 order by 1 desc
            """  # noqa: S608 - the schema is ours
        )
        given = {"workspace": str(workspace_id), "destination": destination, "limit": limit}
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return [(row.day, row.windows, int(row.events)) for row in connection.execute(query, given)]

    def delivered_within(self, span: Window) -> dict[str, int]:
        """How many windows within a span each destination has got."""
        query = (
            select(deliveries.c.destination, func.count())
            .where(deliveries.c.window_start >= span.start, deliveries.c.window_end <= span.end)
            .where(deliveries.c.state == "delivered")
            .group_by(deliveries.c.destination)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def events_of(self, workspace_id: int, delivery_ids: Iterable[int]) -> dict[int, int]:
        """How many events of one workspace each delivery has delivered."""
        query = text(
            f"select l.delivery_id, sum(k.value::bigint) as events from {SCHEMA}.lanes l,"  # noqa: S608
            " json_each_text(l.delivered -> :workspace) k where l.delivery_id = any(cast(:ids as bigint[])) group by 1"
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            rows = connection.execute(query, {"workspace": str(workspace_id), "ids": list(delivery_ids)})
            return {row.delivery_id: int(row.events) for row in rows}


def _summary(row: Row[Any]) -> DeliverySummary:
    seconds = (row.finished_at - row.started_at).total_seconds() if row.finished_at and row.started_at else None
    return DeliverySummary(
        row.id,
        row.destination,
        Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC)),
        row.state,
        int(row.planned_events),
        int(row.delivered_events),
        int(row.rejected_events),
        int(row.bytes),
        int(row.requests),
        row.generation,
        row.sealed_at,
        max(seconds, 0.0) if seconds is not None else None,
        row.reason if row.state != "delivered" else None,
        int(row.lost),
    )
