"""Building plain data from YAML in one pass, where a document has nothing but lists, mappings, scalars and aliases."""

from __future__ import annotations

from typing import Any

import yaml

DEEPEST = 100
"""How many lists and mappings may be in one another."""

MOST_REPEATED = 1_000_000
"""So many values may be repeated by aliases (`*name`): a few lines can name more than there is memory for."""


REPEATED = f"aliases repeat more than {MOST_REPEATED:,} values"


class NotPlainError(Exception):
    """A document has tags or merged mappings."""


class PlainBuilder:
    """Builds lists, mappings and scalars from libyaml's events: PyYAML builds all of it twice, first as nodes.

    What a scalar is, PyYAML says: each plain one once.
    """

    def __init__(self, events: Any) -> None:
        self._events = events
        """The loader whose parser gives the events."""
        self._loader: Any = yaml.SafeLoader("")
        self._known: dict[str, object] = {}
        self._anchors: dict[str, tuple[object, int]] = {}
        """Names to what they stand for, and of how many values that is; 0 until its end has come."""
        self._values = self._repeated = 0

    def build(self, text: str) -> object:
        """The document. Raises `NotPlainError` for what this does not know.

        Raises `RecursionError` for what is nested too deeply, or repeated too often.
        """
        found: list[object] = []
        within: list[_Open] = [_Open(found, None)]
        event: Any
        for event in yaml.parse(text, Loader=self._events):
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._values += 1
                value = self._plain(event.value) if event.implicit[0] else event.value
                within[-1].add(self._named(event, value))
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                if len(within) > DEEPEST:
                    raise RecursionError("nested too deeply")
                self._values += 1
                made = _Open([], None) if kind is yaml.SequenceStartEvent else _Open(None, {})
                made.anchor, made.before = event.anchor, self._values
                within[-1].add(self._named(event, made.items if made.items is not None else made.fields))
                within.append(made)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                ended = within.pop()
                if ended.anchor:
                    self._anchors[ended.anchor] = self._anchors[ended.anchor][0], self._values - ended.before
            elif kind is yaml.AliasEvent:
                if any(event.anchor == other.anchor for other in within):
                    raise RecursionError(f"*{event.anchor} is a part of itself")
                within[-1].add(self._again(event.anchor))
        if len(found) > 1:
            raise yaml.YAMLError("several documents")
        return found[0] if found else None

    def _plain(self, value: str) -> object:
        if value not in self._known:
            tag = self._loader.resolve(yaml.ScalarNode, value, (True, False))
            if not tag.startswith("tag:yaml.org,2002:") or tag.endswith((":merge", ":value")):
                raise NotPlainError
            self._known[value] = self._loader.construct_object(yaml.ScalarNode(tag, value))
        return self._known[value]

    def _named(self, event: Any, value: object) -> object:
        if event.tag:
            raise NotPlainError
        if event.anchor:
            if event.anchor in self._anchors:
                raise yaml.YAMLError("an anchor is given twice")
            self._anchors[event.anchor] = value, 0
        return value

    def _again(self, anchor: str) -> object:
        if anchor not in self._anchors:
            raise yaml.YAMLError("an alias of nothing")
        value, size = self._anchors[anchor]
        self._values += 1 + size
        self._repeated += size
        if self._repeated > MOST_REPEATED:
            raise RecursionError(REPEATED)
        return value


class _Open:
    """A list or a mapping whose end has not come yet."""

    __slots__ = "_key", "anchor", "before", "fields", "items"

    def __init__(self, items: list[object] | None, fields: dict[Any, object] | None) -> None:
        self.items, self.fields = items, fields
        self._key: object = _NO_KEY
        self.anchor: str | None = None
        self.before = 0
        """How many values came before what is in it."""

    def add(self, value: object) -> None:
        """The next item, key or value."""
        if self.fields is None:
            assert self.items is not None  # noqa: S101 - it is one of the two
            self.items.append(value)
        elif self._key is _NO_KEY:
            if not isinstance(value, str | int) or value in self.fields:
                raise yaml.YAMLError("a key that is no text, or is given twice")
            self._key = value
        else:
            self.fields[self._key] = value
            self._key = _NO_KEY


_NO_KEY = object()
