"""`name_gaps`: tells the metrics which time is not exported, whether or not the export DAG runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.observability import stats

from logstream.airflow.operators.base import LogstreamOperator, exporter
from logstream.airflow.operators.metrics import send
from logstream.airflow.operators.schedule import note_schedule
from logstream.ledger.coverage import Coverage
from logstream.units import counted

if TYPE_CHECKING:
    from airflow.sdk import Context


class NameGaps(LogstreamOperator):
    """Notes what the schedule demands, and names every gap: in the log, and as metrics."""

    def execute(self, context: Context) -> None:
        """Never red: a gap is filled by the next run of the export DAG, and named until then."""
        from logstream.ledger.status import look

        with exporter() as engine:
            note_schedule(engine.ledger)
            coverage = engine.ledger.coverage()
            found = look(engine.engine, engine.settings.current().settings.destinations)
        count_gaps(coverage)
        send(found)
        gaps = coverage.gaps()
        for gap in gaps[:100]:
            self.log.warning("Not exported yet: %s.", gap)
        self.log.info("%s since %s.", counted(len(gaps), "gap"), coverage.since or "streaming has not begun")


def count_gaps(coverage: Coverage) -> None:
    """Tell Airflow's metrics how many gaps there are, and how long they are together."""
    gaps = coverage.gaps()
    stats.gauge("logstream.gaps", len(gaps))
    stats.gauge("logstream.gap_seconds", sum((gap.end - gap.start).total_seconds() for gap in gaps))
