"""Destinations: where messages go. One module for each over two transports; found through an entry-point group."""

from logstream.destinations.base import Destination, Limits, Options, Step
from logstream.destinations.registry import check_options, destination_types, open_destination

__all__ = [
    "Destination",
    "Limits",
    "Options",
    "Step",
    "check_options",
    "destination_types",
    "open_destination",
]
