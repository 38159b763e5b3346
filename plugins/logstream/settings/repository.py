"""Settings in SQL: an append-only list of snapshots; the newest is in force."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, insert, select, text

from logstream.database import database_errors
from logstream.settings.models import Settings
from logstream.settings.tables import SCHEMA, snapshots


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Settings as they were at one time. `id` is what the ledger refers to."""

    id: int
    settings: Settings
    created_at: datetime


class SettingsRepository:
    """Reads and replaces the stored settings."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def apply(self, settings: Settings, author: str | None = None) -> Snapshot:
        """Put settings in force. Settings equal to those in force make no new snapshot."""
        document = settings.as_document()
        digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
        with database_errors("saving the settings"), self._engine.begin() as connection:
            connection.execute(text(f"lock table {SCHEMA}.settings_snapshots in share row exclusive mode"))
            newest = connection.execute(select(snapshots).order_by(snapshots.c.id.desc()).limit(1)).first()
            if newest is None or newest.digest != digest:
                newest = connection.execute(
                    insert(snapshots).values(digest=digest, document=document, author=author).returning(snapshots)
                ).one()
            return Snapshot(newest.id, settings, newest.created_at)

    def current(self) -> Snapshot:
        """The settings in force: in a new database, the empty ones with which nobody streams anything."""
        with database_errors("reading the settings"), self._engine.connect() as connection:
            row = connection.execute(select(snapshots).order_by(snapshots.c.id.desc()).limit(1)).one()
        return Snapshot(row.id, Settings.model_validate(row.document), row.created_at)

    def get(self, snapshot_id: int) -> Snapshot:
        """The snapshot with this id. Raises `LookupError` if there is none."""
        with database_errors("reading the settings"), self._engine.connect() as connection:
            row = connection.execute(select(snapshots).where(snapshots.c.id == snapshot_id)).first()
        if row is None:
            raise LookupError(f"no settings snapshot {snapshot_id}")
        return Snapshot(row.id, Settings.model_validate(row.document), row.created_at)
