"""`settings.yaml` as a file: reading it with its message files, and writing it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from logstream.errors import InputError, SettingsError
from logstream.garbage import collection_waits
from logstream.settings.message_files import find_message_file
from logstream.settings.plain_yaml import DEEPEST, MOST_REPEATED, REPEATED, NotPlainError, PlainBuilder

if TYPE_CHECKING:
    from yaml import SafeLoader as _Fast
else:
    # libyaml where it is there: four thousand destinations take seconds without
    _Fast = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice: YAML's silent "the last one wins" has cost people their settings."""


class _FastLoader(_Fast):
    """The same, of libyaml. Its words for mistakes name the place less well."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int):
            raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f'"{key}" is given twice', key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


def _scalar(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> object:
    try:
        return yaml.SafeLoader.yaml_constructors[node.tag](loader, node)
    except yaml.YAMLError:
        raise
    except Exception:  # PyYAML's own fall over what only looks like one
        shown = node.value if len(node.value) <= 40 else f"{node.value[:39]}…"
        raise yaml.constructor.ConstructorError(
            None, None, f'"{shown}" is no {_CAN_BREAK[node.tag]}; text like this is given in quotes', node.start_mark
        ) from None


_CAN_BREAK = {
    "tag:yaml.org,2002:bool": "truth value",
    "tag:yaml.org,2002:int": "number",
    "tag:yaml.org,2002:float": "number",
    "tag:yaml.org,2002:timestamp": "date",
}
"""Scalars that are taken apart, in words: a date may have a month 13, a number no digits, or more than Python reads."""


for _one in (_Loader, _FastLoader):
    _one.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
    for _tag in _CAN_BREAK:
        _one.add_constructor(_tag, _scalar)


def read_document(path: Path) -> object:
    """Read a settings file into plain data, every `message_file` replaced by the `message` it holds.

    Raises `InputError` naming the line for a file that is not YAML, or the path of a message file that is not there.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from None
    document = parse_yaml(text, str(path))
    if isinstance(document, dict):
        _inline_messages(document, path)
    return document


def parse_yaml(text: str, source: str = "settings") -> object:
    """Parse YAML into plain data. Raises `InputError` with line and column."""
    try:
        # `ValueError`: what looks like a number or a date and is none, or text that is no Unicode; `_Loader` has the words
        with suppress(yaml.YAMLError, ValueError), collection_waits:
            return _built(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise InputError(f"{source}:{where} {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{source}: not YAML: {str(error).splitlines()[0]}") from None


def _built(text: str) -> object:
    """Plain data from YAML text, by one pass over libyaml's events where that is enough.

    Raises `YAMLError` for what `_Loader` has the words for, `RecursionError` as `_check_size` does.
    """
    try:
        return PlainBuilder(_FastLoader).build(text)
    except NotPlainError:
        _check_size(text)
        return yaml.load(text, Loader=_FastLoader)  # noqa: S506 - a SafeLoader


def _check_size(text: str) -> None:
    """Raise `RecursionError` for what is nested deeper than settings are, or larger than its text by aliases.

    Building what is nested deeply with libyaml would end the process.
    """
    values, repeated = 0, 0
    within: list[tuple[str | None, int]] = []
    sizes: dict[str, int] = {}
    for event in yaml.parse(text, Loader=_FastLoader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = within.pop()
            if anchor:
                sizes[anchor] = values - before
            continue
        values += 1
        if isinstance(event, yaml.CollectionStartEvent):
            within.append((event.anchor, values))
            if len(within) > DEEPEST:
                raise RecursionError("nested too deeply")
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in within):
                raise RecursionError(f"*{event.anchor} is a part of itself")
            again = sizes.get(str(event.anchor), 0)
            values += again
            repeated += again
            if repeated > MOST_REPEATED:
                raise RecursionError(REPEATED)


def write_yaml(document: dict[str, Any]) -> str:
    """Plain data as YAML text, in the order given."""
    # libyaml where it is there: ten thousand workspaces take seconds without
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    with collection_waits:
        return str(yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100))


def _inline_messages(document: dict[Any, Any], path: Path) -> None:
    workspaces = document.get("workspaces")
    places: list[tuple[str, Any]] = [("admin", document.get("admin"))]
    if isinstance(workspaces, list):
        places += [
            (f"workspaces[{index}].streaming", item.get("streaming"))
            for index, item in enumerate(workspaces)
            if isinstance(item, dict)
        ]
    for place, streaming in places:
        if not isinstance(streaming, dict) or "message_file" not in streaming:
            continue
        name = streaming.pop("message_file")
        if "message" in streaming:
            raise SettingsError([f"{place}.message_file: give message or message_file, not both"], str(path))
        if isinstance(name, dict):
            streaming["message"] = {
                kind: _read_message(own, path, f"{place}.message_file.{kind}") for kind, own in name.items()
            }
        else:
            streaming["message"] = _read_message(name, path, f"{place}.message_file")


def _read_message(name: object, path: Path, place: str) -> str:
    if not isinstance(name, str):
        raise SettingsError([f"{place}: expected the path of a file"], str(path))
    found = find_message_file(name, path.parent)
    if found is None:
        problem = f"{place}: no file {name!r} beside the settings or in the working folder"
        raise SettingsError([problem], str(path))
    return found.read_text(encoding="utf-8")
