"""The log store: the PostgreSQL database that holds the workspaces' events. We read it; the platform writes it."""

from logstream.events import Cursor, Event
from logstream.store.base import BadRow, EventStore, Filter, KindCount, LogFilter, Page
from logstream.store.postgres import PostgresStore

__all__ = ["BadRow", "Cursor", "Event", "EventStore", "Filter", "KindCount", "LogFilter", "Page", "PostgresStore"]
