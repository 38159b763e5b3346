"""One strict fake for each vendor without a server of its own: documented limits, authentication and answers.

Each takes what its vendor takes and refuses what its vendor refuses. `fail` makes trouble (see `LogSink`); `bad` says which
events the vendor finds invalid. `taken` are the events as they were before the vendor's wrapping.
"""

from __future__ import annotations

from logstream.testing.vendors.azure_monitor import AzureMonitor
from logstream.testing.vendors.base import Answer, Refused, Vendor
from logstream.testing.vendors.datadog import Datadog
from logstream.testing.vendors.elasticsearch import Elasticsearch
from logstream.testing.vendors.grafana_loki import GrafanaLoki
from logstream.testing.vendors.new_relic import NewRelic
from logstream.testing.vendors.splunk_hec import SplunkHec
from logstream.testing.vendors.sumo_logic import SumoLogic

__all__ = [
    "VENDORS",
    "Answer",
    "AzureMonitor",
    "Datadog",
    "Elasticsearch",
    "GrafanaLoki",
    "NewRelic",
    "Refused",
    "SplunkHec",
    "SumoLogic",
    "Vendor",
]

VENDORS: dict[str, type[Vendor]] = {
    "splunk_hec": SplunkHec,
    "datadog": Datadog,
    "sumo_logic": SumoLogic,
    "azure_monitor": AzureMonitor,
    "grafana_loki": GrafanaLoki,
    "new_relic": NewRelic,
    "elasticsearch": Elasticsearch,
}
"""Type of destination to its fake."""
