"""`check_destinations`: every destination tried out once a day, so that an expired credential is found by day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

from logstream.airflow.operators.base import LogstreamOperator, exporter
from logstream.units import counted

if TYPE_CHECKING:
    from airflow.sdk import Context


class CheckDestinations(LogstreamOperator):
    """Runs the steps of `logstream destinations check` for every destination that is not held. Red if one of them failed."""

    def execute(self, context: Context) -> None:
        """Check all, note the results for `tell_news`, and name those that failed."""
        from logstream.export.checking import check_all
        from logstream.ledger.notices import Notices

        with exporter() as engine:
            settings = engine.settings.current().settings
            held = {name for name, health in engine.ledger.suspended().items() if health.held}
            results = check_all(settings.destinations, engine.connections, held)
            Notices(engine.engine).note_checks(results)
        failed = {name: error for name, error in results.items() if error}
        for name, error in sorted(failed.items()):
            self.log.error("%s: %s", name, error)
        self.log.info("%s of %s passed.", f"{len(results) - len(failed):,}", counted(len(results), "destination"))
        if failed:
            names = [f"{name}: {error}" for name, error in sorted(failed.items())]
            raise AirflowFailException(
                f"{len(failed):,} of {counted(len(results), 'destination')} failed: " + "; ".join(names[:5])
            )
