"""Which destinations there are: those of the entry-point group `logstream.destinations`, ours like anybody's."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from logstream.destinations.base import Destination
from logstream.destinations.credentials import Connections
from logstream.destinations.vendor_rules import refused_options
from logstream.errors import InputError
from logstream.settings.models import DestinationSettings, explain_parts

GROUP = "logstream.destinations"

BUILT_IN = {
    "file": "logstream.destinations.file:FileDestination",
    "s3": "logstream.destinations.s3:S3Destination",
    "azure_blob": "logstream.destinations.azure_blob:AzureBlobDestination",
    "http": "logstream.destinations.http:HttpDestination",
    "gcs": "logstream.destinations.gcs:GcsDestination",
    "azure_monitor": "logstream.destinations.azure_monitor:AzureMonitorDestination",
    "splunk_hec": "logstream.destinations.splunk_hec:SplunkHecDestination",
    "datadog": "logstream.destinations.datadog:DatadogDestination",
    "sumo_logic": "logstream.destinations.sumo_logic:SumoLogicDestination",
    "grafana_loki": "logstream.destinations.grafana_loki:GrafanaLokiDestination",
    "new_relic": "logstream.destinations.new_relic:NewRelicDestination",
    "elasticsearch": "logstream.destinations.elasticsearch:ElasticsearchDestination",
}
"""Ours, for a deployment that copies `plugins/` without installing it; a test holds it equal to `pyproject.toml`."""


@cache
def _references() -> dict[str, str]:
    return {**BUILT_IN, **{point.name: point.value for point in entry_points(group=GROUP)}}


@cache
def destination_type(name: str) -> type[Destination[Any]]:
    """The class registered under a type. Raises `KeyError` with the known types."""
    references = _references()
    if name not in references:
        raise KeyError(sorted(references))
    module, _, attribute = references[name].partition(":")
    found = getattr(import_module(module), attribute)
    if not (isinstance(found, type) and issubclass(found, Destination)):
        raise InputError(f"the entry point {name} of {GROUP} is no Destination class: {references[name]}")
    return found


def registered() -> dict[str, str]:
    """Every type and where its class is, `module:name`, whether or not that can be loaded."""
    return dict(sorted(_references().items()))


def destination_types() -> dict[str, type[Destination[Any]]]:
    """All types by name."""
    return {name: destination_type(name) for name in registered()}


def check_options(type_name: str, options: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong with a destination's options as they are saved, as (path, problem). Raises `KeyError` for an unknown type."""
    model = destination_type(type_name).options_model
    try:
        return refused_options(model.model_validate(options))
    except ValidationError as error:
        return explain_parts(error, model)


def make_destination(name: str, settings: DestinationSettings, connections: Connections) -> Destination[Any]:
    """A destination from its stored settings, not yet opened. Raises `InputError` for settings no longer valid."""
    try:
        kind = destination_type(settings.type)
    except KeyError:
        raise InputError(f"destinations.{name}: the type {settings.type!r} is not installed here") from None
    try:
        options = kind.options_model.model_validate(settings.options)
    except ValidationError as error:
        path, what = explain_parts(error, kind.options_model)[0]
        raise InputError(f"destinations.{name}.{'.'.join(map(str, path))}: {what}") from None
    return kind(name, options, connections)


async def open_destination(name: str, settings: DestinationSettings, connections: Connections) -> Destination[Any]:
    """Make a destination and open it."""
    destination = make_destination(name, settings, connections)
    await destination.start()
    return destination
