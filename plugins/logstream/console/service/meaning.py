"""What settings mean, however they are written."""

from __future__ import annotations

from pydantic import ValidationError

from logstream.destinations import destination_types
from logstream.settings.models import DestinationSettings, Settings, Streaming

_BY_PARTS = ("version", "admin", "workspaces", "destinations")


def meaning_of(settings: Settings) -> tuple[object, ...]:
    """What settings say, however they are written: with every default, in no order."""
    destinations = {name: options_meaning(found) for name, found in settings.destinations.items()}
    own = {number: _streaming_meaning(streaming) for number, streaming in settings.own.items()}
    admin = _streaming_meaning(settings.admin) if settings.admin else None
    told = {item.id: item.notices for item in settings.workspaces if item.notices.to}
    rest = {name: getattr(settings, name) for name in Settings.model_fields if name not in _BY_PARTS}
    return admin, own, destinations, rest, told


def _streaming_meaning(streaming: Streaming) -> Streaming:
    sets = {
        name: tuple(sorted(set(getattr(streaming, name)))) for name in ("events", "log_types", "log_levels", "mask")
    }
    return streaming.model_copy(update=sets)


def options_meaning(found: DestinationSettings) -> object:
    """What a destination's options say: with every default."""
    kind = destination_types().get(found.type)
    try:
        return found.type, kind.options_model.model_validate(found.options) if kind else found.options
    except ValidationError:  # stored by a release that allowed it
        return found.type, found.options
