"""Vendors' schemas: the event in the words that a receiver's searches, dashboards and rules are made for.

Each module makes one JSON object of what `logstream.shapes` says of an event and what the log store says beside it. Every
object names the customer by the workspace's id, whatever the event holds, and keeps the whole event in a field of its own.
"""

from logstream.rendering.schemas.base import Described
from logstream.rendering.schemas.cim import as_cim
from logstream.rendering.schemas.datadog import as_datadog
from logstream.rendering.schemas.ecs import as_ecs
from logstream.rendering.schemas.ocsf import as_ocsf

SCHEMAS = {"ocsf": as_ocsf, "ecs": as_ecs, "cim": as_cim, "datadog": as_datadog}
"""Placeholder to what makes its object."""

__all__ = ["SCHEMAS", "Described"]
