"""`deliver`: carries one share of a window's lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from logstream.airflow.links import DeliveriesLink
from logstream.airflow.operators.base import LogstreamOperator, exporter, window_of
from logstream.airflow.operators.lineage import TellsLineage
from logstream.airflow.operators.retries import NotDelivered
from logstream.units import counted, size

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logstream.export.deliver import LaneResult
    from logstream.export.exporter import Exporter
    from logstream.export.lineage import Lineage


class Deliver(LogstreamOperator, TellsLineage):
    """Delivers the lanes of a share. A retry goes on where the lanes' checkpoints are; what is delivered stays so."""

    template_fields: Sequence[str] = ("share",)
    operator_extra_links = (DeliveriesLink(),)

    def __init__(self, *, share: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.share = share
        self._results: list[LaneResult] = []

    def execute(self, context: Context) -> None:
        """Deliver. Fails for good where trying again cannot help for any lane that failed."""
        lanes = [(int(delivery), int(lane)) for delivery, lane in self.share["lanes"]]
        self.log.info("Window %s, %s: %s.", window_of(context), self.share["label"], counted(len(lanes), "lane"))
        with exporter() as engine:
            results = self._results = engine.deliver(lanes, self._say)
            suspended = engine.ledger.suspended()
        # a suspended destination fails no run: what it is owed is in the ledger, and the notifiers have told of it
        failed = [result for result in results if result.error and result.lane.destination not in suspended]
        if not failed:
            return
        names = sorted({f"{result.lane.destination}: {result.error}" for result in failed})
        message = f"not delivered: {len(failed)} of {counted(len(results), 'lane')}: " + "; ".join(names[:5])
        if all(result.permanent for result in failed):
            raise AirflowFailException(message)
        raise NotDelivered(message, max((result.after or 0.0 for result in failed), default=0.0))

    def lineage(self, engine: Exporter) -> Lineage:
        """From the log store's tables to the places of the share's destinations."""
        from logstream.export.lineage import lineage_of, moves_of_lanes

        return lineage_of(engine, moves_of_lanes(self._results))

    def _say(self, result: LaneResult) -> None:
        lane = result.lane
        if result.error:
            self.log.error("%s, lane %s: stopped. %s", lane.destination, lane.lane, result.error)
            return
        self.log.info(
            "%s, lane %s: %s of %s, %s, in %s, %.1f s.",
            lane.destination,
            lane.lane,
            counted(lane.delivered.total(), "event"),
            counted(len(lane.sizes), "workspace"),
            size(lane.bytes),
            counted(lane.requests, "request"),
            result.seconds,
        )
        if lane.rejected:
            self.log.warning(
                "%s, lane %s: %s rejected and kept as dead letters; `logstream rejected` and the console have the reasons.",
                lane.destination, lane.lane, counted(lane.rejected.total(), "event was", "events were"),
            )  # fmt: skip
        if result.remarks:
            self.log.warning("%s, lane %s: %s", lane.destination, lane.lane, result.remarks)
