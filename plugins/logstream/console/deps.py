"""The one console of this process, made when the first request needs it: after the api-server's workers have forked."""

from __future__ import annotations

from functools import cache

from logstream.airflow.connections import AirflowConnections, use_metadata_database
from logstream.airflow.databases import databases
from logstream.console.service import Console


@cache
def the_console() -> Console:
    """The console over this deployment's databases."""
    use_metadata_database()
    return Console(*databases(), AirflowConnections())
