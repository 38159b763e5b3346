"""The one console of this process, made when the first request needs it: after the api-server's workers have forked."""

from __future__ import annotations

from functools import cache

from logstream.console.service import Console
from logstream.hooks import AirflowConnections
from logstream.hooks.connections import use_metadata_database
from logstream.hooks.databases import databases


@cache
def the_console() -> Console:
    """The console over this deployment's databases."""
    use_metadata_database()
    return Console(*databases(), AirflowConnections())
