"""A settings document, validated whole, with errors that name the path.

What a destination's own options may be is known by its type; the caller passes `check_destination`, so that settings need to
know no destination.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any

from pydantic import ValidationError

from logstream.errors import InputError, SettingsError
from logstream.settings.explaining import did_you_mean, dotted, explain
from logstream.settings.models import DestinationSettings, Settings, by_kind

OptionsCheck = Callable[[str, dict[str, Any]], list[tuple[tuple[str | int, ...], str]]]
"""`(type, options) -> [(path below the destination, what is wrong)]`; raises `KeyError` with the known types, `InputError` for a
type that cannot be used."""


def parse_settings(
    document: object,
    *,
    check_destination: OptionsCheck,
    check_message: Callable[[str], object],
    check_mask: Callable[[str], object],
    source: str = "settings",
) -> Settings:
    """Validate a whole settings document.

    `check_message` raises `InputError` for a template that cannot be used, `check_mask` `ValueError` for a mask. Raises
    `SettingsError` listing every problem as `path: what is wrong`. (`logstream.validation` knows what to give.)
    """
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise SettingsError([f"expected a mapping with admin, workspaces, destinations, not {_type(document)}"], source)
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        # a mistake of the shape must not hide those of the destinations
        others = _destination_problems(_shaped(document.get("destinations")), check_destination)
        raise SettingsError([*explain(error, Settings), *others], source) from None
    problems = [
        *_duplicates(settings),
        *_streaming_problems(settings, check_message, check_mask),
        *_destination_problems(settings.destinations, check_destination),
    ]
    if problems:
        raise SettingsError(problems, source)
    return settings


def _shaped(destinations: object) -> dict[str, DestinationSettings]:
    """Those of a document's destinations that have a name and a type."""
    given = destinations.items() if isinstance(destinations, dict) else ()
    return {
        str(name): DestinationSettings.model_validate(one)
        for name, one in given
        if isinstance(one, dict) and isinstance(one.get("type"), str) and all(isinstance(key, str) for key in one)
    }


def _destination_problems(
    destinations: Mapping[str, DestinationSettings], check_destination: OptionsCheck
) -> Iterable[str]:
    for name, destination in destinations.items():
        try:
            wrong = check_destination(destination.type, destination.options)
        except KeyError as error:
            known = list(error.args[0])
            hint = did_you_mean(destination.type, known) or f"; known: {', '.join(sorted(known))}"
            yield f'destinations.{name}.type: no destination type "{destination.type}"{hint}'
            continue
        except InputError as error:
            yield f"destinations.{name}.type: {error}"
            continue
        yield from [f"{dotted(('destinations', name, *path))}: {what}" for path, what in wrong]


def _streaming_problems(
    settings: Settings, check_message: Callable[[str], object], check_mask: Callable[[str], object]
) -> Iterable[str]:
    # thousands of workspaces have the same few templates
    wrong = cache(partial(_why_not, check_message))
    for path, streaming in settings.streamings():
        if streaming.destination is not None and streaming.destination not in settings.destinations:
            hint = did_you_mean(streaming.destination, settings.destinations)
            yield f'{path}.destination: no destination named "{streaming.destination}"{hint}'
        for kind, template in by_kind(streaming.message).items():
            if (problem := wrong(template)) is not None:
                yield f"{path}.message{'' if isinstance(streaming.message, str) else f'.{kind}'}: {problem}"
        for index, mask in enumerate(streaming.mask):
            try:
                check_mask(mask)
            except ValueError as error:
                yield f"{path}.mask[{index}]: {error}"


def _why_not(check: Callable[[str], object], text: str) -> str | None:
    try:
        check(text)
    except Exception as error:
        return str(error)
    return None


def _duplicates(settings: Settings) -> Iterable[str]:
    first: dict[int, int] = {}
    for index, workspace in enumerate(settings.workspaces):
        if workspace.id in first:
            yield f"workspaces[{index}].id: {workspace.id} is already set in workspaces[{first[workspace.id]}]"
        first.setdefault(workspace.id, index)


def _type(value: object) -> str:
    return {list: "a list", str: "a text", int: "a number"}.get(type(value), type(value).__name__)
