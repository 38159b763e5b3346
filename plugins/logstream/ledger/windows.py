"""Windows: the time that is exported, in the control database. The rules are in `ledger/coverage.py`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from logstream.control.tables import SCHEMA, schedule, windows
from logstream.database import database_errors
from logstream.errors import WindowTaken
from logstream.ledger.book import Book, any_of
from logstream.ledger.carriers import spellings
from logstream.ledger.coverage import AskedBy, Coverage, KnownWindow, Purpose, Schedule
from logstream.window import Window

COVERAGE_LOCK = 0x10957EA5
"""Key of the advisory lock of the transaction that adds a window: one at a time, so that two runs find no time free at once."""

# Streaming began with the first settings that enable anything. They are looked through in order, and the first few decide.
_SINCE = text(
    f"""
    select created_at from {SCHEMA}.settings_snapshots
    where not derived and (
        document -> 'admin' ->> 'enabled' = 'true' or exists (
            select from json_array_elements(
                case json_typeof(document -> 'workspaces') when 'array' then document -> 'workspaces' else '[]' end) w
            where w -> 'streaming' ->> 'enabled' = 'true'))
    order by id limit 1
    """  # noqa: S608 - the schema is ours
)

# adjacent windows come as one span: years of windows are a few rows
_COVERED = text(
    f"""
    select lower(span), upper(span) from (
        select unnest(range_agg(tstzrange(window_start, window_end))) as span
        from {SCHEMA}.windows where whole and window_end > :since) spans
    order by 1
    """  # noqa: S608 - the schema is ours
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What the ledger is told of a window beside its plan: why it is exported, for all destinations or some, and by whom."""

    purpose: Purpose
    whole: bool
    asked_by: AskedBy
    carrier: str | None = None


class Windows(Book):
    """Reads and notes which time is covered."""

    def coverage(self) -> Coverage:
        """What is known of the log store's time, by the clock of the control database."""
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            now = connection.execute(select(func.clock_timestamp())).scalar_one().astimezone(UTC)
            wanted = connection.execute(select(schedule)).first()
            since = connection.execute(_SINCE).scalar()
            if since is None:
                return Coverage(now, schedule=_schedule(wanted))
            # first those for some destinations: one that becomes whole meanwhile is then in both, not in neither
            partial = select(windows.c.window_start, windows.c.window_end).where(
                ~windows.c.whole, windows.c.window_end > since
            )
            some = [_window(*row) for row in connection.execute(partial.order_by(windows.c.window_start))]
            covered = [_window(*row) for row in connection.execute(_COVERED, {"since": since})]
        return Coverage(now, since.astimezone(UTC), tuple(covered), tuple(some), _schedule(wanted))

    def known_windows(self, span: Window, carrier: str | None = None) -> list[KnownWindow]:
        """The windows that overlap a span, and those that a run has made, oldest first."""
        overlap = func.tstzrange(windows.c.window_start, windows.c.window_end, "[)").op("&&")
        wanted = or_(overlap(func.tstzrange(span.start, span.end, "[)")), any_of(windows.c.carrier, spellings(carrier)))
        query = select(windows).where(wanted)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return [
                KnownWindow(_window(row.window_start, row.window_end), row.whole, AskedBy(row.asked_by), row.carrier)
                for row in connection.execute(query.order_by(windows.c.window_start))
            ]

    def whole_windows(self, span: Window) -> Window:
        """A span, made so long that it cuts no window."""
        overlap = func.tstzrange(windows.c.window_start, windows.c.window_end, "[)").op("&&")
        query = select(func.min(windows.c.window_start), func.max(windows.c.window_end)).where(
            overlap(func.tstzrange(span.start, span.end, "[)"))
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            start, end = connection.execute(query).one()
        return span if start is None else _window(min(span.start, start), max(span.end, end))

    def planned_within(self, span: Window) -> dict[Window, int]:
        """The windows that lie in a span, and the settings snapshot by which each was planned last."""
        query = select(windows).where(windows.c.window_start >= span.start, windows.c.window_end <= span.end)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return {
                _window(row.window_start, row.window_end): row.snapshot_id
                for row in connection.execute(query.order_by(windows.c.window_start))
            }

    def note_schedule(self, wanted: Schedule | None) -> None:
        """Note what the schedule demands; `None` where windows are only exported on request."""
        with self._writing("writing the ledger") as connection:
            if wanted is None:
                connection.execute(delete(schedule))
                return
            row = {
                "interval_start": wanted.interval.start, "interval_end": wanted.interval.end, "next_end": wanted.next_end,
                "seen_at": func.clock_timestamp(),
            }  # fmt: skip
            statement = insert(schedule).values(row)
            connection.execute(statement.on_conflict_do_update(index_elements=["one"], set_=row))


def claim_window(connection: Connection, window: Window, snapshot_id: int, claim: Claim) -> None:
    """Note, in the transaction of a plan, that a window is exported.

    Raises `WindowTaken` where another run has meanwhile made a window of some of its time.
    """
    if claim.purpose is Purpose.NEW:
        # of the transaction, not of the session: PgBouncer may give the session to another client
        connection.execute(select(func.pg_advisory_xact_lock(COVERAGE_LOCK)))
        row = {
            "window_start": window.start, "window_end": window.end, "whole": claim.whole, "snapshot_id": snapshot_id,
            "asked_by": claim.asked_by, "carrier": claim.carrier,
        }  # fmt: skip
        made = connection.execute(
            insert(windows).values(row).on_conflict_do_nothing().returning(windows.c.window_start)
        )
        if made.first() is None:
            raise WindowTaken(f"another run has planned time of the window {window} meanwhile")
        return
    connection.execute(
        update(windows)
        .where(windows.c.window_start == window.start, windows.c.window_end == window.end)
        .values(whole=windows.c.whole | claim.whole, snapshot_id=snapshot_id)
    )


def _window(start: datetime, end: datetime) -> Window:
    return Window(start.astimezone(UTC), end.astimezone(UTC))


def _schedule(row: Any) -> Schedule | None:
    if row is None:
        return None
    return Schedule(_window(row.interval_start, row.interval_end), row.next_end.astimezone(UTC))
