"""Messages: previews."""

from __future__ import annotations

from dataclasses import replace

from pydantic import ValidationError

from logstream.console.service.customers import CustomerService
from logstream.console.service.settings import SettingsService
from logstream.errors import SettingsError
from logstream.events import Event
from logstream.export.exporter import Exporter
from logstream.jsontext import dumps
from logstream.rendering import check_mask
from logstream.rendering.preview import SAMPLE_WORKSPACE, Rendered, as_stored, render_event
from logstream.settings.edits import Data
from logstream.settings.explaining import explain
from logstream.settings.models import DEFAULT_KIND, Streaming, by_kind
from logstream.shapes.samples import sample_text

PREVIEW_BYTES = 256 * 1024
"""Events larger than this are not previewed: an answer is to come at once."""


class MessageService:
    """Renders events as an export would. Safe to use from several threads."""

    def __init__(self, exporter: Exporter, settings: SettingsService, customers: CustomerService) -> None:
        self._exporter, self._settings, self._customers = exporter, settings, customers

    def preview(
        self,
        setting: Data,
        kind: str,
        *,
        newest: bool = False,
        workspace_id: int | None = None,
        event: Data | None = None,
    ) -> Rendered:
        """Render one event as a setting would: the one given, the newest real one, or a sample. Mistakes are returned.

        Of the setting `message`, `mask` and `events` matter. Raises `SettingsError` for masks or events that are none.
        """
        given = {name: setting[name] for name in ("message", "mask", "events") if setting.get(name)}
        try:
            streaming = Streaming.model_validate(given)
        except ValidationError as error:
            raise SettingsError(explain(error, Streaming), "preview") from None
        for index, path in enumerate(streaming.mask):
            try:
                check_mask(path)
            except ValueError as error:
                raise SettingsError([f"mask[{index}]: {error}"], "preview") from None
        try:
            payload = dumps(event) if event is not None else sample_text(kind).encode()
        except RecursionError:
            return Rendered(error="the event is nested too deeply")
        if len(payload) > PREVIEW_BYTES:
            return Rendered(error=f"the event has {len(payload):,} bytes; up to {PREVIEW_BYTES:,} are previewed")
        stored: Event | None = as_stored(kind, payload, workspace_id)
        if newest:
            stored = self._exporter.store(self._settings.current()).newest(kind, workspace_id, PREVIEW_BYTES)
        if stored is None:
            return Rendered(error="there was no such event in the last day")
        drop_lines = bool(streaming.events) and streaming.selection.drops_lines
        templates = by_kind(streaming.message)
        own = kind if kind in templates else DEFAULT_KIND
        known = (
            [*self._customers.workspaces(), SAMPLE_WORKSPACE]
            if newest or workspace_id is not None
            else [SAMPLE_WORKSPACE]
        )
        workspace = next((one for one in known if one.id == stored.workspace_id), None)
        rendered = render_event(templates.get(own), stored, workspace, drop_lines=drop_lines, mask=streaming.mask)
        return replace(rendered, template_of=own if own in templates else None)
