"""Settings as the console reads and changes them."""

from __future__ import annotations

import threading
from dataclasses import replace

from logstream.console.changed import in_a_line
from logstream.console.service.meaning import meaning_of
from logstream.control.audit import Actor
from logstream.destinations.base import Step
from logstream.destinations.credentials import Connections
from logstream.destinations.overlaps import overlaps
from logstream.errors import NotThere
from logstream.export.exporter import Exporter
from logstream.garbage import collection_waits
from logstream.settings.changes import SettingsChange, changes
from logstream.settings.document import write_yaml
from logstream.settings.edits import Data, Document, with_admin, with_destination, with_workspace
from logstream.settings.models import DestinationSettings, Settings
from logstream.settings.repository import Snapshot, Version
from logstream.store.check import check_store, require_log_store
from logstream.validation import validate_settings


class SettingsService:
    """Reads and changes the settings. Safe to use from several threads."""

    def __init__(self, exporter: Exporter, connections: Connections) -> None:
        self._exporter, self._repository = exporter, exporter.settings
        self._connections = connections
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._lines: dict[int, str] = {}

    def current(self) -> Snapshot:
        """The settings in force. They are read, and validated, only when they have changed."""
        with self._lock:
            if self._snapshot is None or self._snapshot.id != self._repository.newest():
                self._snapshot = self._repository.current()
            return self._snapshot

    def snapshot(self, snapshot_id: int) -> Snapshot:
        """An earlier version of the settings. Raises `NotThere` if there is none."""
        return self._repository.get(snapshot_id)

    def versions(self, before: int | None = None, limit: int = 50) -> list[Version]:
        """Who changed the settings and when, newest first."""
        return self._repository.versions(before=before, limit=limit)

    def changes_of(self, snapshot_id: int) -> list[SettingsChange]:
        """What a version changed. Raises `NotThere` if there is none."""
        after = self.snapshot(snapshot_id).settings
        before = next(iter(self.versions(snapshot_id, 1)), None)
        return changes(self.snapshot(before.id).settings if before else Settings(), after)

    def change_in_a_line(self, snapshot_id: int) -> str:
        """What a version changed, in one line. Raises `NotThere` if there is none."""
        if snapshot_id not in self._lines:
            after = self.snapshot(snapshot_id).settings
            earlier = next(iter(self.versions(snapshot_id, 1)), None)
            before = self.snapshot(earlier.id).settings if earlier else Settings()
            names = {*before.destinations, *after.destinations}
            self._lines[snapshot_id] = in_a_line(changes(before, after), names)
        return self._lines[snapshot_id]

    def validate(self, document: object) -> Settings:
        """Validate settings whole. Raises `SettingsError` naming the paths."""
        return validate_settings(document, connections=self._connections)

    def place_mistake(self, name: str, destination: Data) -> tuple[str, str] | None:
        """The option of a destination by which it could write another one's objects, and what is wrong; `None` if it cannot."""
        made = {**self.current().settings.destinations, name: DestinationSettings.model_validate(destination)}
        return next(((option, what) for (of, option), what in overlaps(made, self._connections) if of == name), None)

    def save(self, document: object, by: Actor, expected: int | None) -> Snapshot:
        """Validate settings whole and put them in force. Those that mean what is in force already change nothing, as when a
        person clicks twice.

        Raises `SettingsError` for settings that do not hold together, `DatabaseError` for a log store that cannot be read for
        sure, `SettingsMoved` if `expected` is no longer in force.
        """
        with collection_waits:
            settings, current = self.validate(document), self.current()
            same = meaning_of(settings) == meaning_of(current.settings)
        if same:
            return current
        if settings.log_store != current.settings.log_store:
            require_log_store(self._exporter.store_dsn, settings.log_store)
        return self._repository.apply(settings, by.name, expected=expected, source=by.source)

    def would_change(self, document: object) -> list[SettingsChange]:
        """What saving settings would change. Raises `SettingsError` as `save` does."""
        with collection_waits:
            settings, current = self.validate(document), self.current().settings
            return changes(current, settings) if meaning_of(settings) != meaning_of(current) else []

    def document(self) -> Document:
        """The settings in force as plain data, the caller's to change."""
        return self.current().settings.as_document()

    def save_admin(
        self, streaming: Data | None, by: Actor, expected: int | None, more: Document | None = None
    ) -> Snapshot:
        """Replace the admin's setting; `more` is the document it is put into, if not the one in force."""
        return self.save(with_admin(more or self.document(), streaming), by, expected)

    def save_workspace(
        self, workspace_id: int, streaming: Data | None, by: Actor, expected: int | None, more: Document | None = None
    ) -> Snapshot:
        """Replace a workspace's own setting. Raises `Locked` while the admin setting is on."""
        return self.save(with_workspace(more or self.document(), workspace_id, streaming), by, expected)

    def save_destination(self, name: str, destination: Data | None, by: Actor, expected: int | None) -> Snapshot:
        """Add, replace or take away a destination."""
        if destination is None and name not in self.current().settings.destinations:
            raise NotThere(f'no destination named "{name}"')
        return self.save(with_destination(self.document(), name, destination), by, expected)

    def restore(self, snapshot_id: int, by: Actor, expected: int | None) -> Snapshot:
        """Put an earlier version in force again. Raises `NotThere` if there is none."""
        document = self.snapshot(snapshot_id).settings.as_document()
        again = replace(by, name=f"{by.name} (version {snapshot_id} again)")
        return self.save(document, again, expected)

    def as_yaml(self) -> str:
        """The settings in force as `settings.yaml`."""
        return write_yaml(self.document())

    def check_log_store(self) -> list[Step]:
        """Whether the log store is what it must be, step by step, as `logstream store check` says it. Reads only."""
        return list(check_store(self._exporter.store_dsn, self.current().settings.log_store))
