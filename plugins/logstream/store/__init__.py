"""The log store: the PostgreSQL database that holds the workspaces' events. We read it; the platform writes it."""

from logstream.store.base import Cursor, Event, EventStore, Filter, KindCount, LogFilter, Page
from logstream.store.postgres import PostgresStore

__all__ = ["Cursor", "Event", "EventStore", "Filter", "KindCount", "LogFilter", "Page", "PostgresStore"]
