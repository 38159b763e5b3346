"""Which destinations there are: those of the entry-point group `logstream.destinations`, ours like those of others."""

from __future__ import annotations

from configparser import ConfigParser
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from inspect import isabstract
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from logstream.destinations.base import Destination, Options
from logstream.destinations.credentials import Connections
from logstream.destinations.vendor_rules import refused_options
from logstream.errors import InputError, LogstreamError
from logstream.settings.explaining import explain_parts
from logstream.settings.models import DestinationSettings
from logstream.tracebacks import words_of

GROUP = "logstream.destinations"

TABLE = Path(__file__).parent.parent / "entry_points.txt"
"""The entry points by which the package is installed; where `plugins/` is copied and nothing installed, there are no others."""


def built_in() -> dict[str, str]:
    """Our own types, as `module:class`: what the package's table of entry points says."""
    table = ConfigParser(delimiters=("=",))
    table.read(TABLE, encoding="utf-8")
    return dict(table[GROUP])


@cache
def _references() -> dict[str, str]:
    return {**built_in(), **{point.name: point.value for point in entry_points(group=GROUP)}}


@cache
def destination_type(name: str) -> type[Destination[Any]]:
    """The class registered under a type.

    Raises `KeyError` with the known types; `InputError` for a plug-in that cannot be used, whatever it does when it is imported.
    """
    references = _references()
    if name not in references:
        raise KeyError(sorted(references))
    module, _, attribute = references[name].partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:
        raise _unusable(name, f"{type(error).__name__}: {words_of(error)}") from error
    if not (isinstance(found, type) and issubclass(found, Destination)):
        raise _unusable(name, "it is no subclass of Destination")
    if isabstract(found):
        raise _unusable(name, f"its class lacks {', '.join(sorted(found.__abstractmethods__))}")
    return found


def _unusable(name: str, why: str) -> InputError:
    package = f"the package that registers {_references()[name]}"
    return InputError(f'the destination type "{name}" cannot be used: {why}; correct or uninstall {package}')


def registered() -> dict[str, str]:
    """Every type and where its class is, `module:name`, whether or not that can be loaded."""
    return dict(sorted(_references().items()))


def destination_types() -> dict[str, type[Destination[Any]]]:
    """All types by name, but those of plug-ins that cannot be used: `logstream doctor` names them."""
    found = {}
    for name in registered():
        with suppress(InputError):
            found[name] = destination_type(name)
    return found


def check_options(type_name: str, options: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong with a destination's options as they are saved, as (path, problem). Raises `KeyError` for an unknown type."""
    kind = destination_type(type_name)
    try:
        found = kind.options_model.model_validate(options)
    except ValidationError as error:
        wrong = explain_parts(error, kind.options_model)
        return wrong + _wrong_beside(kind.options_model, options, {path[0] for path, _ in wrong if path})
    return refused_options(found) or _too_large(kind, found)


def _wrong_beside(
    model: type[Options], options: dict[str, Any], wrong: set[str | int]
) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong with other options than those that are wrong by themselves: a person is to hear of all at once.

    Vendors' rules, and what must hold between options, are asked of whole options: in the place of those that are wrong stand
    their examples.
    """
    whole = {name: value for name, value in options.items() if name in model.model_fields and name not in wrong}
    for name, field in model.model_fields.items():
        if name in wrong and field.is_required():
            whole[name] = field.examples[0] if field.examples else "example"
    try:
        found = refused_options(model.model_validate(whole))
    except ValidationError as error:
        found = explain_parts(error, model)
    return [(path, what) for path, what in found if path and path[0] not in wrong]


def _too_large(kind: type[Destination[Any]], options: Options) -> list[tuple[tuple[str | int, ...], str]]:
    """Options that leave no room for an event, at the longest of them."""
    try:
        problem = kind("d", options, cast("Connections", None)).options_problem()
    except Exception:  # a plug-in that cannot make an entry before it is opened: its events tell, when they are sent
        return []
    if not problem:
        return []
    given = options.model_dump(mode="json", exclude_unset=True)
    return [((max(given, key=lambda name: len(str(given[name]))),), problem)]


def types_as_json() -> list[dict[str, Any]]:
    """The types that are installed and can be used, each with the JSON schema of its options, as plain data."""
    return [
        {"type": name, "title": kind.title, "connection_type": kind.connection_type,
         "options": kind.options_model.model_json_schema()}
        for name, kind in destination_types().items()
    ]  # fmt: skip


def make_destination(name: str, settings: DestinationSettings, connections: Connections) -> Destination[Any]:
    """A destination from its stored settings, not yet opened. Raises `InputError` for settings no longer valid."""
    try:
        kind = destination_type(settings.type)
    except KeyError:
        raise InputError(f"destinations.{name}: the type {settings.type!r} is not installed here") from None
    try:
        options = kind.options_model.model_validate(settings.options)
    except ValidationError as error:
        path, what = explain_parts(error, kind.options_model)[0]
        raise InputError(f"destinations.{name}.{'.'.join(map(str, path))}: {what}") from None
    try:
        return kind(name, options, connections)
    except LogstreamError:
        raise
    except Exception as error:
        raise _unusable(settings.type, f"{type(error).__name__}: {words_of(error)}") from error


async def open_destination(name: str, settings: DestinationSettings, connections: Connections) -> Destination[Any]:
    """Make a destination and open it."""
    destination = make_destination(name, settings, connections)
    await destination.start()
    return destination
