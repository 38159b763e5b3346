"""The first page: is all well, what needs a person, and what the newest windows carried."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from logstream.console.chart import Chart, chart_of
from logstream.console.service.deliveries import DeliveryService
from logstream.console.service.settings import SettingsService
from logstream.export.exporter import Exporter
from logstream.ledger.status import Status, look


@dataclass(frozen=True, slots=True)
class Charts:
    """Windows over time: those of the schedule, with the gaps; and apart those exported on request, which have no lag to show."""

    scheduled: Chart
    requested: Chart

    @property
    def under_way_since(self) -> datetime | None:
        """The start of the oldest time shown that a run is still at work on; `None` if there is none."""
        slots = [slot for chart in (self.scheduled, self.requested) for slot in chart.slots if slot.open > slot.owed]
        return min((slot.span.start for slot in slots), default=None)


class OverviewService:
    """Looks at the whole deployment. Safe to use from several threads."""

    def __init__(self, exporter: Exporter, settings: SettingsService, deliveries: DeliveryService) -> None:
        self._exporter, self._settings, self._deliveries = exporter, settings, deliveries

    def status(self) -> Status:
        """How all stands: as `logstream status` says it."""
        return look(self._exporter.engine, self._settings.current().settings.destinations)

    def charts(self, destination: str | None = None) -> Charts:
        """The newest windows over time, of all destinations or of one."""
        moments = self._deliveries.timeline(destination)
        scheduled = [moment for moment in moments if not moment.requested]
        requested = [moment for moment in moments if moment.requested]
        return Charts(chart_of(scheduled, self._deliveries.gaps()), chart_of(requested))
