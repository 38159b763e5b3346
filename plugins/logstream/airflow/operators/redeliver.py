"""`redeliver`: what destinations are owed, or their dead letters, on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from logstream.airflow.operators.base import DELIVERIES, LogstreamOperator, carrier_of, exporter
from logstream.airflow.operators.lineage import TellsLineage
from logstream.units import counted
from logstream.window import Window, parse_time

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logstream.control.audit import Actor
    from logstream.export.deliver import LaneResult
    from logstream.export.exporter import Exporter
    from logstream.export.lineage import Lineage
    from logstream.export.redeliver import Redelivery


class Redeliver(LogstreamOperator, TellsLineage):
    """Delivers by the run's parameters: `destination`, `window_start` and `window_end`, `rejected`, `events`.

    All may be left out.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._results: list[LaneResult] = []
        self._sent_again: list[Redelivery] = []

    def execute(self, context: Context) -> None:
        """Deliver; fail naming what did not arrive."""
        given = context["params"]
        destination = given.get("destination") or None
        window = None
        if given.get("window_start") and given.get("window_end"):
            window = Window(
                parse_time(given["window_start"], "window_start"), parse_time(given["window_end"], "window_end")
            )
        if given.get("rejected"):
            events = given.get("events")
            keys = [(int(delivery), int(event)) for delivery, event in events] if events else None
            self._rejected(context, destination, keys)
        else:
            self._owed(context, destination, window)

    def _owed(self, context: Context, destination: str | None, window: Window | None) -> None:
        from logstream.export.ended import owed_outcome, redelivery_ended
        from logstream.export.seal import PLANNED_ANEW

        with exporter() as engine, redelivery_ended(engine, _actor(context), destination, rejected=False) as outcome:
            reports = engine.redeliver_owed(destination, window, self._say, carrier_of(context))
            outcome.update(owed_outcome(reports))
        context["ti"].xcom_push(key=DELIVERIES, value=[report.id for report in reports])
        if not reports:
            self.log.info("Nothing is owed.")
        for report in reports:
            self.log.info(
                "%s, window %s: %s, %s.",
                report.destination,
                report.window,
                report.state,
                counted(report.events, "event"),
            )
        for report in reports:
            if report.taken_over:  # no person has to act: that run delivers it
                self.log.warning("%s, window %s: %s.", report.destination, report.window, PLANNED_ANEW)
        told = [report for report in reports if report.error and not report.taken_over]
        failed = [f"{report.destination}, window {report.window}: {report.error}" for report in told]
        if failed:
            raise AirflowFailException(
                f"{len(failed)} of {counted(len(reports), 'delivery', 'deliveries')}: " + "; ".join(failed[:5])
            )

    def _rejected(self, context: Context, destination: str | None, keys: list[tuple[int, int]] | None) -> None:
        from logstream.export.ended import redelivery_ended, rejected_outcome

        with exporter() as engine, redelivery_ended(engine, _actor(context), destination, rejected=True) as outcome:
            results = self._sent_again = engine.redeliver_rejected(destination, keys)
            outcome.update(rejected_outcome(results))
        sealed = {delivery for result in results for delivery in result.deliveries}
        context["ti"].xcom_push(key=DELIVERIES, value=sorted(sealed))
        if not results:
            self.log.info("There are no dead letters.")
        for result in results:
            self.log.info(
                "%s: %s delivered, %s rejected again, %s no longer in the log store.",
                result.destination,
                result.delivered,
                result.rejected_again,
                result.gone,
            )
        failed = [f"{r.destination}: {r.error or 'rejected again'}" for r in results if r.error or r.rejected_again]
        if failed:
            raise AirflowFailException("; ".join(failed[:5]))

    def lineage(self, engine: Exporter) -> Lineage:
        """From the log store's tables to the places of the destinations that got something."""
        from logstream.export.lineage import lineage_of, moves_of_lanes, moves_of_rejected

        return lineage_of(engine, moves_of_lanes(self._results) | moves_of_rejected(self._sent_again))

    def _say(self, result: LaneResult) -> None:
        self._results.append(result)
        if result.error:
            lane = result.lane
            self.log.error("%s, lane %s, window %s: %s", lane.destination, lane.lane, lane.window, result.error)


def _actor(context: Context) -> Actor:
    """Who has started the run."""
    from logstream.control.audit import RUN, Actor

    return Actor(getattr(context.get("dag_run"), "triggering_user_name", None) or "Airflow", RUN)
