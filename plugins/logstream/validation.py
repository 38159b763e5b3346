"""Settings with all that is known of their parts: destination types, message templates and masks."""

from __future__ import annotations

from logstream.destinations import check_options
from logstream.errors import SettingsError
from logstream.rendering import check_mask, compile_template
from logstream.rendering.fit import misfits
from logstream.settings.characters import control_characters
from logstream.settings.models import Settings, dotted, parse_settings


def validate_settings(document: object, source: str = "settings") -> Settings:
    """Validate a whole settings document as it is saved. Raises `SettingsError` naming every problem with its path."""
    unseen = [f"{dotted(path)}: holds a control character" for path in control_characters(document)]
    if unseen:
        raise SettingsError(unseen, source)
    return parse_settings(
        document,
        check_destination=check_options,
        check_message=compile_template,
        check_mask=check_mask,
        source=source,
    )


def warnings_of(settings: Settings) -> list[str]:
    """What is allowed in settings and yet hardly meant, as `path: what`: templates that do not fit their destinations."""
    found = []
    known: dict[tuple[object, ...], list[str]] = {}
    for path, streaming in settings.streamings():
        destination = settings.destinations.get(streaming.destination or "")
        if not streaming.enabled or destination is None:
            continue
        # many workspaces have the same message and the same kind of destination: samples are rendered once for each
        key = repr(streaming.message), streaming.selection.kinds, destination.type, destination.options.get("format")
        if key not in known:
            kinds = streaming.selection.kinds
            known[key] = misfits(streaming.message, kinds, destination.type, destination.options)
        found += [f"{path}.message: {what}" for what in known[key]]
    return found
