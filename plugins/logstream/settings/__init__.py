"""Streaming settings: what an administrator writes, how it is stored, and who gets what."""

from logstream.settings.models import (
    DestinationSettings,
    LogStoreSettings,
    Settings,
    Streaming,
    WorkspaceSettings,
)
from logstream.settings.resolution import Reason, Route, Workspace, resolve, route_of

__all__ = [
    "DestinationSettings",
    "LogStoreSettings",
    "Reason",
    "Route",
    "Settings",
    "Streaming",
    "Workspace",
    "WorkspaceSettings",
    "resolve",
    "route_of",
]
