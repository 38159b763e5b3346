"""What a task has moved, from where to where: by the names under which lineage tools know the places."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import psycopg

from logstream.control.tables import SCHEMA, audit_events
from logstream.database import database_errors
from logstream.datasets import DataSet, of_table
from logstream.destinations.registry import make_destination
from logstream.export.deliver import LaneResult
from logstream.export.deployment import Deployment
from logstream.export.redeliver import Redelivery

log = logging.getLogger("logstream")


@dataclass(slots=True)
class Moved:
    """How much there is of it. `bytes` are as they were sent; `None` where they were not counted."""

    events: int = 0
    bytes: int | None = 0

    def add(self, events: int, size: int | None) -> None:
        """Count more of it."""
        self.events += events
        self.bytes = None if self.bytes is None or size is None else self.bytes + size


Moves = defaultdict[tuple[str, int | None], Moved]
"""What went to each destination, by its name and the id of the settings that say what it is (`None`: those in force)."""


def moves_of_lanes(results: Iterable[LaneResult]) -> Moves:
    """What the receivers of some lanes have taken by now, those that failed on the way included."""
    moves = Moves(Moved)
    for result in results:
        lane = result.lane
        if lane.delivered.total():
            moves[lane.destination, lane.snapshot_id].add(lane.delivered.total(), lane.bytes)
    return moves


def moves_of_rejected(results: Iterable[Redelivery]) -> Moves:
    """What went to each destination of dead letters that were sent again."""
    moves = Moves(Moved)
    for result in results:
        if result.delivered:
            moves[result.destination, None].add(result.delivered, None)
    return moves


@dataclass(slots=True)
class Lineage:
    """The data sets that were read, and those that were written to, with how much went there."""

    inputs: list[DataSet] = field(default_factory=list)
    outputs: dict[DataSet, Moved] = field(default_factory=dict)


def lineage_of_audit_events(deployment: Deployment, written: int) -> Lineage:
    """From the control database's audit events to the log store's tables. Raises `DatabaseError` where a database is away."""
    with database_errors("reading the control database"), deployment.engine.connect() as connection:
        at: psycopg.ConnectionInfo = connection.connection.dbapi_connection.info  # type: ignore[union-attr]
        source = of_table(at.host or at.hostaddr, at.port, at.dbname, SCHEMA, audit_events.name)
    tables = deployment.store(deployment.settings.current()).data_sets()
    return Lineage([source], {table: Moved(written, None) for table in tables})


def lineage_of(deployment: Deployment, moves: Moves) -> Lineage:
    """From the log store's tables to the destinations' data sets; empty where nothing went anywhere.

    A destination whose place cannot be told (its connection is gone, its plug-in breaks) is left out, and named in the log.
    Destinations that share a place are one data set. Raises `DatabaseError` where a database is away.
    """
    found = Lineage()
    connections = deployment.new_connections()
    snapshots = {
        number: deployment.settings.current() if number is None else deployment.settings.get(number)
        for number in {number for _, number in moves}
    }
    for (name, number), moved in sorted(moves.items(), key=lambda item: item[0][0]):
        try:
            settings = snapshots[number].settings.destinations[name]
            place = make_destination(name, settings, connections).data_set()
        except Exception as error:  # of a hook or a plug-in: its text may quote a secret
            log.warning("The data set of destination %s cannot be told (%s).", name, type(error).__name__)
            continue
        found.outputs.setdefault(place, Moved()).add(moved.events, moved.bytes)
    tables = {place: None for snapshot in snapshots.values() for place in deployment.store(snapshot).data_sets()}
    found.inputs = list(tables)
    return found
