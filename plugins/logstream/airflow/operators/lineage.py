"""What the tasks tell OpenLineage, where Airflow's provider for it is installed: without it, nothing here is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from logstream.airflow.operators.base import exporter

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from logstream.export.exporter import Exporter
    from logstream.export.lineage import Lineage


class TellsLineage:
    """Of a task that moves events. `lineage` says what it has moved; it is asked once the task has ended, well or not."""

    def lineage(self, engine: Exporter) -> Lineage | None:
        """The data sets that it has read and written; `None` for none."""
        raise NotImplementedError

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage | None:
        """As OpenLineage's extractor wants it. It asks in a process of its own, which has the operator as it has run.

        https://airflow.apache.org/docs/apache-airflow-providers-openlineage/stable/guides/developer.html
        """
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.event_v2 import InputDataset, OutputDataset
        from openlineage.client.facet_v2 import output_statistics_output_dataset

        with exporter() as engine:
            found = self.lineage(engine)
        if found is None:
            return None
        counts = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
        return OperatorLineage(
            inputs=[InputDataset(place.namespace, place.name) for place in found.inputs],
            outputs=[
                OutputDataset(
                    place.namespace, place.name,
                    outputFacets={"outputStatistics": counts(rowCount=moved.events, size=moved.bytes)},
                )
                for place, moved in found.outputs.items()
            ],
        )  # fmt: skip
