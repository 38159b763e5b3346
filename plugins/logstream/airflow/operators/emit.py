"""`emit_asset_events`: other DAGs can be scheduled on what was delivered, destination by destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

from logstream.airflow.operators.base import DELIVERIES, LogstreamOperator, exporter
from logstream.units import counted

if TYPE_CHECKING:
    from airflow.sdk import Context

ASSETS = AssetAlias("logstream_deliveries")
"""What a DAG is scheduled on that wants every destination's events."""


def asset_of(destination: str) -> Asset:
    """The asset of a destination. Airflow tells assets apart by name and URI together: a DAG that names it gives both."""
    return Asset(f"logstream_{destination}", uri=f"logstream://destination/{destination}")


class EmitAssetEvents(LogstreamOperator):
    """Emits an asset event for each window that a destination has got whole, whatever became of the other destinations.

    It is a task of its own because Airflow takes a task's events only where the task ends well, and `seal_window` is red
    when one destination failed. As a teardown it leaves the run's outcome to `seal_window`.
    """

    def __init__(self, *, source: str = "plan_deliveries", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.outlets = [ASSETS]

    def execute(self, context: Context) -> None:
        """One event for each delivery of the run that is sealed as delivered; `extra` has its window, events and bytes."""
        from logstream.ledger.records import State

        ids = context["ti"].xcom_pull(task_ids=self.source, key=DELIVERIES) or ()
        with exporter() as engine:
            found = engine.ledger.deliveries(int(delivery) for delivery in ids)
        sealed = [delivery for delivery in found if delivery.state is State.DELIVERED]
        for delivery in sealed:
            extra = {**delivery.window.as_json(), "events": delivery.events, "bytes": delivery.bytes}
            context["outlet_events"][ASSETS].add(asset_of(delivery.destination), extra=extra)
        self.log.info("%s.", counted(len(sealed), "asset event"))
