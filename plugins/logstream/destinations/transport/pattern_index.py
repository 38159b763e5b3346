"""Many patterns of keys, of which the one that has a key in common with another is found quickly."""

from __future__ import annotations

from collections.abc import Iterator

from logstream.destinations.transport.patterns import Pattern, Segment, have_common, text_of
from logstream.destinations.transport.repetitions import one_value_each


class PatternIndex:
    """Patterns by their owners, so that a pattern is compared only with those that begin as it does.

    Thousands of destinations with folders of their own are told apart by one look into a dictionary for each.
    """

    def __init__(self) -> None:
        self._texts: dict[str, PatternIndex] = {}
        self._patterns: dict[Segment, PatternIndex] = {}
        self._owner: str | None = None
        self._pattern: Pattern = ()

    def add(self, pattern: Pattern, owner: str) -> None:
        """Keep a pattern; of equal ones the first owner."""
        node = self
        for segment in pattern:
            text = text_of(segment)
            below = node._patterns.get(segment) if text is None else node._texts.get(text)
            if below is None:
                below = PatternIndex()
                if text is None:
                    node._patterns[segment] = below
                else:
                    node._texts[text] = below
            node = below
        node._owner, node._pattern = node._owner or owner, pattern

    def find(self, pattern: Pattern) -> str | None:
        """The owner of a pattern that has a key in common with this one."""
        for owner, other in self._found(pattern):
            if one_value_each(pattern, other) and one_value_each(other, pattern):
                return owner
        return None

    def _found(self, pattern: Pattern) -> Iterator[tuple[str, Pattern]]:
        if not pattern:
            if self._owner is not None:
                yield self._owner, self._pattern
            return
        segment, rest = pattern[0], pattern[1:]
        for other, node in self._patterns.items():
            if have_common(segment, other):
                yield from node._found(rest)
        text = text_of(segment)
        if text is not None:
            if text in self._texts:
                yield from self._texts[text]._found(rest)
            return
        for other_text, node in self._texts.items():
            if have_common(segment, (other_text,) if other_text else ()):
                yield from node._found(rest)
