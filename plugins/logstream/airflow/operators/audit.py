"""`stream_audit_events`: what people did to the streaming itself becomes events of the admin workspace, where that is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from logstream.airflow.operators.base import LogstreamOperator, exporter
from logstream.airflow.operators.lineage import TellsLineage
from logstream.units import counted

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logstream.export.exporter import Exporter
    from logstream.export.lineage import Lineage


class StreamAuditEvents(LogstreamOperator, TellsLineage):
    """Keeps how backfills ended, and writes what people did (changed settings, tests, holds, ...) into the log store, each once.

    Only where `audit.stream` of the settings is on. Red if the log store does not take them: they wait, and nothing is lost.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._written = 0

    def execute(self, context: Context) -> None:
        """Write what is not written yet, the oldest first."""
        from logstream.export.audit import stream_audit_events
        from logstream.export.ended import note_ended_backfills

        with exporter() as engine:
            ended = note_ended_backfills(engine)
            written = self._written = stream_audit_events(engine)
        if ended:
            self.log.info("%s ended.", counted(ended, "backfill has", "backfills have"))
        self.log.info("%s written into the log store.", counted(written, "audit event", "audit events"))

    def lineage(self, engine: Exporter) -> Lineage | None:
        """From the control database to the log store's tables."""
        from logstream.export.lineage import lineage_of_audit_events

        return lineage_of_audit_events(engine, self._written) if self._written else None
