"""The form of a setting, the admin's or a customer's, and the destination in it: what it shows, and what it sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logstream.console import runs
from logstream.console.access import test_notes
from logstream.console.forms import EVENT_LINES, Form, fields_of, options_of, streaming_of
from logstream.console.layout import one
from logstream.console.mistakes import FormMistakes, Mistakes, message_field, mistakes_of, option_label
from logstream.console.service import Console
from logstream.console.service.meaning import options_meaning
from logstream.console.tested import Tested
from logstream.destinations import destination_types
from logstream.destinations.access import Access
from logstream.destinations.base import Destination
from logstream.events import Kind
from logstream.rendering.placeholders import MEANINGS
from logstream.rendering.template import NAMES
from logstream.settings.edits import Data, Document, with_destination
from logstream.settings.message_files import shipped_templates
from logstream.settings.models import DEFAULT_KIND, DestinationSettings, by_kind
from logstream.shapes import LOG_LEVELS, LOG_TYPES


def setting_form(console: Console, streaming: Data, edited: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the form of a setting shows. `edited` is the destination as the administrator is filling it in."""
    known = console.settings.current().settings.destinations
    name = streaming.get("destination") or ""
    stored = known.get(name)
    given = edited if edited is not None else ({"type": stored.type, **stored.options} if stored else {})
    return {
        "streaming": streaming,
        "lines": EVENT_LINES,
        "names": sorted(known),
        "templates": shipped_templates(),
        "placeholders": [(f"{{{{{{{name}}}}}}}", MEANINGS[name]) for name in NAMES],
        "kinds": {kind: option_label(kind) for kind in Kind},
        "messages": [
            (kind, message_field(kind), by_kind(streaming.get("message")).get(kind, ""))
            for kind in (DEFAULT_KIND, *Kind)
        ],
        "log_levels": LOG_LEVELS,
        "log_types": LOG_TYPES,
        **destination_fields(known, name, given),
    }


SOUGHT = ("s3", "azure_blob", "azure_monitor", "gcs", "splunk_hec", "datadog", "sumo_logic")
"""The types that most people look for; the rest follows by title."""


def types_in_order() -> dict[str, str]:
    """The types of destinations with their titles, in the order of a form."""
    titles = {name: kind.title for name, kind in destination_types().items()}
    rest = sorted(titles.keys() - set(SOUGHT), key=lambda name: titles[name].casefold())
    return {name: titles[name] for name in (*SOUGHT, *rest) if name in titles}


def access_of(made: type[Destination[Any]] | None) -> Access | None:
    """How a type of destination is let in: the fields of the connection that it takes, and not of another type's."""
    access = made.access if made else None
    return access if access and made and access.connection_type == made.connection_type else None


def destination_fields(known: Mapping[str, Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the part of a form shows that is about a destination."""
    kind = str(given.get("type") or "")
    made = destination_types().get(kind)
    seen, more = fields_of(made.options_model, given) if made else ([], [])
    return {
        "destination_name": name,
        "destination_known": name in known,
        "destination_type": kind,
        "types": types_in_order(),
        "fields": seen,
        "access": access_of(made),
        "more_fields": more,
        "more_open": any(field.value != field.default for field in more),
        "connection_example": f"{kind}_audit",
        "connection_type": made.connection_type if made else None,
        "connections": runs.connection_ids(made.connection_type) if made and made.connection_type else [],
    }


def sent_destination(form: Form) -> tuple[str, Data | None]:
    """The destination that a form names, and its type and options; `None` where the form has no fields for it."""
    name, kind = one(form, "destination_name"), one(form, "destination_type")
    made = destination_types().get(kind)
    if made is None:
        return name, ({"type": kind} if kind else None)
    return name, {"type": kind, **options_of(made.options_model, form)}


def refuse_mistakes(console: Console, streaming: Data, name: str, destination: Data | None) -> None:
    """Raise `FormMistakes` for a setting, or a destination, that cannot be used as it is filled in."""
    known = console.settings.current().settings.destinations
    mistakes = mistakes_of(streaming, name, destination, known)
    if destination and not mistakes and (wrong := console.settings.place_mistake(name, destination)):
        mistakes = {f"option.{wrong[0]}": wrong[1]}
    if mistakes:
        raise FormMistakes(_as_they_stand(mistakes, destination))


def _as_they_stand(mistakes: Mistakes, destination: Data | None) -> Mistakes:
    """Mistakes in the order in which a form has a destination's fields."""
    made = destination_types().get(str((destination or {}).get("type", "")))
    seen, more = fields_of(made.options_model, {}) if made else ([], [])
    place = {field.id: number for number, field in enumerate([*seen, *more])}
    return dict(sorted(mistakes.items(), key=lambda item: place.get(item[0], 0)))


def unproven(console: Console, form: Form, name: str, destination: Data | None) -> Tested | None:
    """What to warn of before a destination is saved; `None` if it passed its test, is unchanged, or is to be saved anyway."""
    if destination is None or one(form, "anyway"):
        return None
    stored = console.settings.current().settings.destinations.get(name)
    if stored and options_meaning(stored) == options_meaning(DestinationSettings.model_validate(destination)):
        return None
    found = test_notes().read(one(form, "tested"), destination)
    return None if found is Tested.PASSED else found


def sent_setting(console: Console, form: Form) -> tuple[Data, Document]:
    """A form as (setting, the document that holds its destination)."""
    name, destination = sent_destination(form)
    document = console.settings.document()
    if name and destination is not None:
        document = with_destination(document, name, destination)
    return streaming_of(form), document
