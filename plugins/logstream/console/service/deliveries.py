"""What was delivered and what was not."""

from __future__ import annotations

from datetime import datetime

from logstream.console.service.audit import AuditService
from logstream.control.audit import Act, Actor
from logstream.export.exporter import Exporter
from logstream.export.removed import Removed, removed
from logstream.ledger.coverage import AskedBy
from logstream.ledger.losses import Loss
from logstream.ledger.overview import DeliveryFilter, DeliverySummary, Overview
from logstream.ledger.records import RejectedEvent
from logstream.ledger.timeline import Moment, Timeline
from logstream.window import Window

COUNTED = 1000
"""So many dead letters are counted for the navigation; more are as many to a person."""


class DeliveryService:
    """Looks at the ledger. Safe to use from several threads."""

    def __init__(self, exporter: Exporter, overview: Overview, audit: AuditService) -> None:
        self._exporter, self._overview, self._audit = exporter, overview, audit

    def newest(self, wanted: DeliveryFilter, limit: int = 50) -> list[DeliverySummary]:
        """The newest deliveries first."""
        return self._overview.deliveries(wanted, limit)

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

    def count_dead_letters(self) -> int:
        """How many dead letters there are, counted up to `COUNTED`."""
        return self._exporter.ledger.count_rejected(COUNTED)

    def rejected(self, destination: str | None = None, limit: int = 200) -> list[RejectedEvent]:
        """The dead letters, oldest window first."""
        return self._exporter.ledger.rejected(destination=destination or None, limit=limit)
