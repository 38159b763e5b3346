"""Settings in SQL: an append-only list of snapshots; the newest is in force."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

from pydantic import ValidationError
from sqlalchemy import BigInteger, Column, Connection, Engine, Row, func, insert, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from logstream.control.audit import COMMAND, Act, Actor, AuditEvent, record
from logstream.control.tables import SCHEMA, snapshots
from logstream.database import database_errors
from logstream.errors import InputError, NotThere
from logstream.settings.changes import SettingsChange, changes
from logstream.settings.models import Settings


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Settings as they were at one time. `id` is what the ledger refers to."""

    id: int
    settings: Settings
    created_at: datetime
    author: str | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """A snapshot without its settings, for lists."""

    id: int
    created_at: datetime
    author: str | None


class SettingsMoved(InputError):
    """Another user has changed the settings since they were read. `current` is what is in force, `changes` what is new."""

    def __init__(self, current: Snapshot, changes: list[SettingsChange]) -> None:
        self.current, self.changes = current, changes
        by = f" by {current.author}" if current.author else ""
        super().__init__(
            f"the settings have changed meanwhile{by}, at {current.created_at:%Y-%m-%d %H:%M:%S} UTC (version {current.id})"
        )


KNOWN = 8
"""Snapshots whose settings are kept: those of thousands of destinations take half a second to read and validate."""

_HEAD: tuple[Column[Any], ...] = (snapshots.c.id, snapshots.c.created_at, snapshots.c.author, snapshots.c.digest)
"""A snapshot without its document."""

_NEWEST = select(*_HEAD).where(~snapshots.c.derived).order_by(snapshots.c.id.desc()).limit(1)


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


class SettingsRepository:
    """Reads and replaces the stored settings."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._known: OrderedDict[int, Settings] = OrderedDict()
        self._lock = Lock()

    def apply(
        self, settings: Settings, author: str | None = None, *, expected: int | None = None, source: str = COMMAND
    ) -> Snapshot:
        """Put settings in force, and keep who did, and from where. Settings equal to those in force make no new snapshot.

        With `expected`, only if the snapshot in force is still that one; raises `SettingsMoved` otherwise. What was sent twice
        is no conflict with itself.
        """
        document = settings.as_document()
        digest = _digest(document)
        with database_errors("saving the settings"), self.engine.begin() as connection:
            connection.execute(text(f"lock table {SCHEMA}.settings_snapshots in share row exclusive mode"))
            # there always is one: the first migration puts the empty settings in force
            newest = connection.execute(_NEWEST).one()
            same = newest.digest == digest
            moved = not same and expected is not None and newest.id != expected
            if not moved and not same:
                before = self._snapshot(connection, newest).settings
                values = {"digest": digest, "document": document, "author": author}
                newest = connection.execute(insert(snapshots).values(values).returning(*_HEAD)).one()
                actor = Actor(author or "", source)
                act = AuditEvent(Act.SETTINGS_CHANGED, actor, detail={"version": newest.id})
                # that it was switched off is what an auditor must not miss
                record(connection, act, stream=settings.audit.stream or before.audit.stream)
        if expected is not None and moved:
            current = self.get(newest.id)
            raise SettingsMoved(current, self.changes_since(expected, current))
        return Snapshot(newest.id, settings, newest.created_at, newest.author)

    def newest(self, at: datetime | None = None) -> int:
        """The id of the settings in force, now or at a time; before any were, that of the first."""
        query = _NEWEST.with_only_columns(snapshots.c.id)
        first = select(func.min(snapshots.c.id)).where(~snapshots.c.derived)
        with database_errors("reading the settings"), self.engine.connect() as connection:
            found = connection.execute(query if at is None else query.where(snapshots.c.created_at <= at)).scalar()
            return int(connection.execute(first).scalar_one() if found is None else found)

    def versions(self, *, before: int | None = None, limit: int = 50) -> list[Version]:
        """The newest settings that were in force, those before a snapshot if asked, newest first."""
        query = select(snapshots.c.id, snapshots.c.created_at, snapshots.c.author).where(~snapshots.c.derived)
        if before is not None:
            query = query.where(snapshots.c.id < before)
        with database_errors("reading the settings"), self.engine.connect() as connection:
            rows = connection.execute(query.order_by(snapshots.c.id.desc()).limit(limit))
            return [Version(row.id, row.created_at, row.author) for row in rows]

    def changes_since(self, snapshot_id: int, current: Snapshot) -> list[SettingsChange]:
        """What is otherwise in a snapshot than in an earlier one; nothing where there is no such one."""
        try:
            return changes(self.get(snapshot_id).settings, current.settings)
        except NotThere:
            return []

    def current(self) -> Snapshot:
        """The settings in force: in a new database, the empty ones with which no workspace streams anything."""
        with database_errors("reading the settings"), self.engine.connect() as connection:
            return self._snapshot(connection, connection.execute(_NEWEST).one())

    def removals(self, names: Collection[str]) -> dict[str, datetime]:
        """Which of some destinations the settings once had and have no more, and since when."""
        query = text(
            "select created_at, array(select json_object_keys(case json_typeof(document -> 'destinations')"  # noqa: S608
            " when 'object' then document -> 'destinations' end)) as names"
            f" from {SCHEMA}.settings_snapshots where not derived order by id desc"
        )
        left, found = set(names), dict[str, datetime]()
        newer: datetime | None = None
        with database_errors("reading the settings"), self.engine.connect() as connection:
            for row in connection.execute(query, execution_options={"yield_per": 50}):
                there = left.intersection(row.names)
                if newer is not None:  # the settings in force have it otherwise
                    found.update(dict.fromkeys(there, newer))
                left -= there
                newer = row.created_at
                if not left:
                    break
        return found

    def derive(self, base: Snapshot, names: Collection[str], now: Settings) -> Snapshot:
        """The settings of then with some destinations as they are now: what is owed goes where it was to go, as that is today.

        Equal ones are made once.
        """
        changed = {
            name: now.destinations[name]
            for name in names
            if base.settings.destinations.get(name) != now.destinations[name]
        }
        if not changed:
            return base
        settings = base.settings.model_copy(update={"destinations": {**base.settings.destinations, **changed}})
        document = settings.as_document()
        digest = _digest(document)
        with database_errors("saving the settings"), self.engine.begin() as connection:
            same = select(*_HEAD).where(snapshots.c.digest == digest, snapshots.c.derived).limit(1)
            row = connection.execute(same).first()
            if row is None:
                values = {"digest": digest, "document": document, "derived": True, "author": f"derived from {base.id}"}
                row = connection.execute(insert(snapshots).values(values).returning(*_HEAD)).one()
        return Snapshot(row.id, settings, row.created_at)

    def get_all(self, snapshot_ids: Collection[int]) -> dict[int, Snapshot | InputError]:
        """Snapshots by id, read at once. In the place of one that is not there, or not readable any more, is the reason."""
        query = select(*_HEAD).where(snapshots.c.id == func.any(literal(sorted(snapshot_ids), ARRAY(BigInteger))))
        found: dict[int, Snapshot | InputError] = {
            number: NotThere(f"no settings snapshot {number}") for number in snapshot_ids
        }
        with database_errors("reading the settings"), self.engine.connect() as connection:
            for row in connection.execute(query).all():
                try:
                    found[row.id] = self._snapshot(connection, row)
                except ValidationError as error:
                    found[row.id] = InputError(
                        f"settings snapshot {row.id} cannot be read by this version: {error.error_count()} mistakes"
                    )
        return found

    def get(self, snapshot_id: int) -> Snapshot:
        """The snapshot with this id. Raises `NotThere` if there is none."""
        with database_errors("reading the settings"), self.engine.connect() as connection:
            row = connection.execute(select(*_HEAD).where(snapshots.c.id == snapshot_id)).first()
            if row is None:
                raise NotThere(f"no settings snapshot {snapshot_id}")
            return self._snapshot(connection, row)

    def _snapshot(self, connection: Connection, row: Row[Any]) -> Snapshot:
        """A snapshot from its row. Its document never changes, so it is read once."""
        with self._lock:
            settings = self._known.pop(row.id, None)
        if settings is None:
            document = select(snapshots.c.document).where(snapshots.c.id == row.id)
            settings = Settings.model_validate(connection.execute(document).scalar_one())
        with self._lock:
            self._known[row.id] = settings
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)
        return Snapshot(row.id, settings, row.created_at, row.author)
