"""Settings with all that is known of their parts: destination types, message templates and masks."""

from __future__ import annotations

from logstream.destinations import check_options
from logstream.rendering import check_mask, compile_template
from logstream.settings.models import Settings, parse_settings


def validate_settings(document: object, source: str = "settings") -> Settings:
    """Validate a whole settings document as it is saved. Raises `SettingsError` naming every problem with its path."""
    return parse_settings(
        document,
        check_destination=check_options,
        check_message=compile_template,
        check_mask=check_mask,
        source=source,
    )
