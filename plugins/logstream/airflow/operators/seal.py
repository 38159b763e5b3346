"""`seal_window`: the run is green only if what was planned was delivered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk.observability import stats

from logstream.airflow.links import DeliveriesLink
from logstream.airflow.operators.base import DELIVERIES, LEFT, LogstreamOperator, carrier_of, exporter, window_of
from logstream.ledger.health import Turn
from logstream.units import counted, size
from logstream.window import Window

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logstream.ledger.records import Delivery


class SealWindow(LogstreamOperator):
    """Compares planned with delivered for every workspace and kind, and writes the outcome to the ledger.

    That a destination is suspended, or back, is in the log; `tell_news` tells who is to hear of it.
    """

    operator_extra_links = (DeliveriesLink(),)

    def __init__(self, *, wait: str = "wait_for_closed_window", plan: str = "plan_deliveries", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wait, self.plan = wait, plan

    def execute(self, context: Context) -> None:
        """Seal every delivery of the run; fail naming what is missing.

        A window that was left to a later run, or that another run has planned again meanwhile, is skipped.
        """
        from logstream.export.seal import PLANNED_ANEW
        from logstream.ledger.records import State

        window = window_of(context)
        deliveries = context["ti"].xcom_pull(task_ids=self.plan, key=DELIVERIES)
        if deliveries is None and (left := context["ti"].xcom_pull(task_ids=self.wait, key=LEFT)):
            self.log.warning("Nothing is exported: the window %s is left to a later run, because %s.", window, left)
            raise AirflowSkipException(f"the window {window} is left to a later run: {left}")
        if deliveries is None:
            raise AirflowFailException(f"the window was not planned; see the logs of {self.wait} and {self.plan}")
        with exporter() as engine:
            reports = engine.seal((int(delivery) for delivery in deliveries), carrier=carrier_of(context))
        for change in reports.changes:
            (self.log.error if change.turn is Turn.SUSPENDED else self.log.info)("%s.", change)
        untold: list[str] = []
        others = [report for report in reports if report.taken_over]
        for report in reports:
            if report.taken_over:  # another run counts what becomes of it
                self.log.warning("%s, window %s: %s.", report.destination, report.window, PLANNED_ANEW)
                continue
            try:
                self._tell(report, window)
            except Exception as error:  # of one destination's metrics: the others are told all the same
                self.log.exception("What became of %s cannot be told.", report.destination)
                untold.append(f"{report.destination}: its metrics failed ({type(error).__name__})")
        if len(reports) != len(set(deliveries)):
            raise AirflowFailException("the ledger no longer has all that this run has planned; it proves nothing")
        for report in reports:
            if report.state is State.OWED:
                self.log.warning("%s, window %s: %s", report.destination, report.window, report.error)
        # what is lost makes the run red that finds it, though its destination is suspended; later ones are not red for it
        theirs = {report.id for report in others}
        failed = [
            report for report in reports if report.id not in theirs and (report.state is State.FAILED or report.lost)
        ]
        if failed:
            raise AirflowFailException(
                f"not complete: {len(failed)} of {counted(len(reports), 'delivery', 'deliveries')} of window {window}: "
                + "; ".join([f"{report.destination}: {report.error}" for report in failed[:10]] + untold[:10])
            )
        if untold:
            raise AirflowFailException("all is delivered, and not all is told: " + "; ".join(untold[:10]))
        own = [report for report in reports if report.window.end > window.start]
        if others and own and all(report.taken_over for report in own):
            # no person has to act: the window is exported, by a run that was asked to later. This one does not vouch for it
            raise AirflowSkipException(
                f"another run has planned the window {window} again meanwhile, and is to deliver it"
            )
        self.log.info(
            "Window %s is complete%s: %s delivered to %s.",
            window,
            ", but for what another run has planned again" if any(report.taken_over for report in own) else "",
            counted(sum(report.events for report in own), "event"),
            counted(len({report.destination for report in own if report.state is State.DELIVERED}), "destination"),
        )

    def _tell(self, report: Delivery, window: Window) -> None:
        """Say in the log and in Airflow's metrics what became of one delivery."""
        _count(report)
        self.log.info(
            "%s%s: %s, %s, %s in %s.",
            report.destination,
            "" if report.window == window else f", window {report.window}",
            report.state,
            counted(report.events, "event"),
            size(report.bytes),
            counted(report.requests, "request"),
        )
        for events, what in (
            (
                report.rejected,
                "rejected and kept as dead letters; `logstream rejected` and the console have the reasons",
            ),
            (report.lost, "lost: the log store no longer held them; `logstream owed` says which"),
        ):
            if events:
                self.log.warning(
                    "%s, window %s: %s %s.", report.destination, report.window, counted(events, "event was", "events were"), what
                )  # fmt: skip


def _count(report: Delivery) -> None:
    """Tell Airflow's metrics what was delivered to a destination, and how late it was."""
    from logstream.ledger.records import State

    tags = {"destination": report.destination}
    stats.incr(f"logstream.deliveries.{report.state}", 1, tags=tags)
    if report.lost:
        stats.incr("logstream.lost", report.lost, tags=tags)
    if report.state is State.DELIVERED:
        stats.incr("logstream.events", report.events, tags=tags)
        stats.incr("logstream.rejected", report.rejected, tags=tags)
        stats.incr("logstream.bytes", report.bytes, tags=tags)
        lag = datetime.now(UTC) - report.window.end
        stats.gauge("logstream.lag_seconds", lag.total_seconds(), tags=tags)
