"""What people do here is kept: who, when, from where."""

from __future__ import annotations

from typing import Any

from logstream.console.service.settings import SettingsService
from logstream.control.audit import Act, Actor, AuditEvent, AuditTrail
from logstream.export.exporter import Exporter


class AuditService:
    """Keeps acts, and shows them. Safe to use from several threads."""

    def __init__(self, exporter: Exporter, settings: SettingsService) -> None:
        self._trail, self._settings = AuditTrail(exporter.engine), settings

    def record(self, act: Act, by: Actor, subject: str = "", **detail: Any) -> None:
        """Keep an act; of changed settings the settings themselves are kept with it, by `SettingsRepository.apply`."""
        stream = self._settings.current().settings.audit.stream
        self._trail.record(AuditEvent(act, by, subject, detail), stream=stream)

    def newest(self, before: int | None = None, subject: str = "", limit: int = 50) -> list[AuditEvent]:
        """The newest acts first."""
        return self._trail.newest(before=before, subject=subject, limit=limit)
