"""Settings with all that is known of their parts: destination types, message templates and masks."""

from __future__ import annotations

from collections.abc import Iterator

from logstream.destinations import check_options
from logstream.destinations.credentials import Connections
from logstream.destinations.overlaps import overlaps
from logstream.errors import SettingsError
from logstream.rendering import check_mask, compile_template
from logstream.rendering.fit import misfits
from logstream.settings.characters import control_characters
from logstream.settings.explaining import did_you_mean, dotted
from logstream.settings.models import Settings
from logstream.settings.notices import absent
from logstream.settings.parsing import parse_settings
from logstream.shapes import LOG_LEVELS, LOG_TYPES


def validate_settings(
    document: object, source: str = "settings", *, connections: Connections | None = None
) -> Settings:
    """Validate a whole settings document as it is saved. Raises `SettingsError` naming every problem with its path.

    `connections` tell whether two destinations with buckets of one name are in one place (`overlaps`). Settings that were
    stored by an earlier version are not validated again: they load and run as they are until the next time that they are
    saved.
    """
    unseen = [f"{dotted(path)}: holds a control character" for path in control_characters(document)]
    if unseen:
        raise SettingsError(unseen, source)
    settings = parse_settings(
        document,
        check_destination=check_options,
        check_message=compile_template,
        check_mask=check_mask,
        source=source,
    )
    missing = list(absent(settings.receivers()))
    if missing:
        raise SettingsError(missing, source)
    shared = [
        f"{dotted(('destinations', *place))}: {what}" for place, what in overlaps(settings.destinations, connections)
    ]
    if shared:
        raise SettingsError(shared, source)
    return settings


def warnings_of(settings: Settings) -> list[str]:
    """What is allowed in settings and yet hardly meant, as `path: what`.

    That is: templates that do not fit their destinations, and log types and levels that no known platform sends.
    """
    found = list(_unknown_words(settings))
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


def _unknown_words(settings: Settings) -> Iterator[str]:
    # not refused: what the platform sends is assumed, not documented (`logstream.shapes`), and may be a number
    for path, streaming in settings.streamings():
        for field, known in (("log_types", LOG_TYPES), ("log_levels", LOG_LEVELS)):
            for index, word in enumerate(getattr(streaming, field)):
                if word.lower() not in known and not word.isdecimal():
                    hint = did_you_mean(word.lower(), known) or f"; known are {', '.join(known)}"
                    yield f'{path}.{field}[{index}]: "{word}" is none that is known{hint} (events must say it just so)'
