"""What was delivered and what was not."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from logstream.console.service.audit import AuditService
from logstream.console.service.settings import SettingsService
from logstream.control.audit import Act, Actor
from logstream.control.tables import windows
from logstream.database import database_errors
from logstream.errors import InputError, NotThere
from logstream.export.exporter import Exporter
from logstream.export.removed import Removed, removed
from logstream.ledger.coverage import AskedBy
from logstream.ledger.losses import Loss
from logstream.ledger.overview import DeliveryFilter, DeliverySummary, Overview
from logstream.ledger.records import RejectedEvent
from logstream.ledger.timeline import Moment, Timeline
from logstream.store.rows import NO_ID, is_nameless
from logstream.window import Window

COUNTED = 1000
"""So many dead letters are counted for the navigation; more are as many to a person."""


@dataclass(frozen=True, slots=True)
class LetterContent:
    """A dead letter with what the log store holds of it.

    `payload` is `None` where there is no such row any more, or none that can be asked for. `fault` is why the row is no
    event, `None` where it is one.
    """

    letter: RejectedEvent
    payload: bytes | None = None
    fault: str | None = None


class DeliveryService:
    """Looks at the ledger. Safe to use from several threads."""

    def __init__(self, exporter: Exporter, overview: Overview, settings: SettingsService, audit: AuditService) -> None:
        self._exporter, self._overview = exporter, overview
        self._settings, self._audit = settings, audit

    def newest(self, wanted: DeliveryFilter, limit: int = 50) -> list[DeliverySummary]:
        """The newest deliveries first."""
        return self._overview.deliveries(wanted, limit)

    def lags(self, found: Iterable[DeliverySummary]) -> dict[int, timedelta]:
        """How long after its end a window was complete, by delivery: of those for which that is a lag.

        A window that was exported on request, or exported again, was complete when a person asked for it.
        """
        first = {item.id: item for item in found if item.generation == 1 and item.lag is not None}
        starts = {item.window.start for item in first.values()}
        # no two windows begin at one time
        query = select(windows.c.window_start).where(
            windows.c.window_start.in_(starts), windows.c.asked_by == AskedBy.REQUEST
        )
        with database_errors("reading the ledger"), self._exporter.engine.connect() as connection:
            requested = set(connection.execute(query).scalars()) if starts else set()
        return {number: item.lag for number, item in first.items() if item.lag and item.window.start not in requested}

    def gaps(self) -> list[Window]:
        """Time since streaming began that no run has exported, oldest first."""
        return self._exporter.ledger.coverage().gaps()

    def removed(self) -> list[tuple[Removed, int]]:
        """The destinations that are owed windows and are no longer in the settings, each with how many."""
        owed = self._overview.owed_windows()
        return [(gone, owed[name]) for name, gone in sorted(removed(self._exporter.settings, owed).items())]

    def timeline(self, destination: str | None = None) -> list[Moment]:
        """The newest windows of the schedule, and the newest of those exported on request, oldest first."""
        timeline = Timeline(self._exporter.engine)
        found = [moment for asked_by in AskedBy for moment in timeline.moments(destination, asked_by)]
        return sorted(found, key=lambda moment: moment.window)

    def losses(self, destination: str | None = None) -> list[Loss]:
        """What is lost, to all destinations or to one, and not acknowledged yet, by window."""
        return self._exporter.ledger.losses(destination or None, open_only=True)

    def acknowledge_losses(self, by: Actor, destination: str | None, seen: datetime) -> int:
        """Note that a person knows of what was lost up to the time at which they looked; return of how many events."""
        events = self._exporter.ledger.acknowledge(by.name, destination or None, seen)
        self._audit.record(Act.LOSSES_ACKNOWLEDGED, by, destination or "", events=events)
        return events

    def discard(self, keys: Collection[tuple[int, int]], by: Actor, note: str) -> int:
        """Note that some dead letters are not to be delivered; return how many there were. Raises `InputError` without a note."""
        if not note.strip():
            raise InputError("say in a note why they are not to be delivered")
        events = self._exporter.ledger.discard(keys, by.name, note.strip())
        self._audit.record(Act.DEAD_LETTERS_DISCARDED, by, events=events, note=note.strip())
        return events

    def content(self, key: tuple[int, int]) -> LetterContent:
        """A dead letter with what the log store holds of it. Raises `NotThere` where there is no such dead letter."""
        found = self._exporter.ledger.rejected(keys=[key])
        if not found:
            raise NotThere("there is no such dead letter, or it was delivered or discarded meanwhile")
        letter = found[0]
        if is_nameless(letter.event_id):
            return LetterContent(letter, fault=NO_ID)
        page = self._exporter.store(self._settings.current()).events([letter.event_id])
        # an event's id is unique, that of a row which is none may be that of a row of another customer, too
        rows = [(event, None) for event in page.events] + list(page.bad)
        for event, fault in rows:
            if event.workspace_id == letter.workspace_id:
                return LetterContent(letter, event.payload, fault)
        return LetterContent(letter)

    def count_dead_letters(self) -> int:
        """How many dead letters there are, counted up to `COUNTED`."""
        return self._exporter.ledger.count_rejected(COUNTED)

    def rejected(self, destination: str | None = None, limit: int = 200) -> list[RejectedEvent]:
        """The dead letters, oldest window first."""
        return self._exporter.ledger.rejected(destination=destination or None, limit=limit)
