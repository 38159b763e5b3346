"""Patterns of keys: every key that a destination may ever write, in a form in which two of them can be compared.

A pattern is a row of segments, divided by `/`; a segment is a row of pieces: a text, one of some words, or signs of a class. What
stands for a placeholder never holds a `/`, so two patterns have a key in common exactly if they have as many segments and
each pair of segments has a text in common, and what stands twice has one value at all of its places. Where both segments of a
pair hold placeholders of which one is repeated, more is allowed than is ever written, never less.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Signs:
    """A sign of `first`, and then any number of signs of `more` (none if that is empty); before it, perhaps one of `perhaps`."""

    first: str
    more: str = ""
    perhaps: str = ""


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of some words, none of which is empty."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Some pieces that have one value in a key, wherever the name stands."""

    name: str
    pieces: tuple[str | Signs | OneOf, ...]


Piece = str | Signs | OneOf | Placeholder
Segment = tuple[Piece, ...]
Pattern = tuple[Segment, ...]

DIGIT = Signs(string.digits)
DIGITS = Signs(string.digits, string.digits)
INTEGER = Signs(string.digits, string.digits, perhaps="-")
_SAFE = string.ascii_letters + string.digits + "_=-"
SAFE = Signs(_SAFE, _SAFE + ".")
"""What `keys.safe` makes of a customer's text."""


def pattern_of(pieces: Iterable[Piece]) -> Pattern:
    """A pattern from the pieces of whole keys, whose texts may hold `/`."""
    segments: list[list[Piece]] = [[]]
    for piece in pieces:
        if not isinstance(piece, str):
            segments[-1].append(piece)
            continue
        first, *more = piece.split("/")
        for number, text in enumerate([first, *more]):
            if number:
                segments.append([])
            if not text:
                continue
            before = segments[-1][-1] if segments[-1] else None
            if isinstance(before, str):
                segments[-1][-1] = before + text
            else:
                segments[-1].append(text)
    return tuple(map(tuple, segments))


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
            text = _text(segment)
            node = (
                node._patterns.setdefault(segment, PatternIndex())
                if text is None
                else node._texts.setdefault(text, PatternIndex())
            )
        node._owner, node._pattern = node._owner or owner, pattern

    def find(self, pattern: Pattern) -> str | None:
        """The owner of a pattern that has a key in common with this one."""
        for owner, other in self._found(pattern):
            if _one_value_each(pattern, other) and _one_value_each(other, pattern):
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
        text = _text(segment)
        if text is not None:
            if text in self._texts:
                yield from self._texts[text]._found(rest)
            return
        for other_text, node in self._texts.items():
            if have_common(segment, (other_text,) if other_text else ()):
                yield from node._found(rest)


def _text(segment: Segment) -> str | None:
    """The text of a segment that is nothing else."""
    if not segment:
        return ""
    return segment[0] if len(segment) == 1 and isinstance(segment[0], str) else None


Edges = list[list[tuple[frozenset[str], int]]]
"""From each state: by which signs to which state. The first state is where a segment begins."""


@lru_cache(maxsize=50_000)
def have_common(one: Segment, other: Segment) -> bool:
    """Whether there is a text that both segments allow: a search through pairs of states of their automata."""
    left, left_end = _automaton(one)
    right, right_end = _automaton(other)
    seen, todo = {(0, 0)}, [(0, 0)]
    while todo:
        at = todo.pop()
        if at == (left_end, right_end):
            return True
        for signs, after in left[at[0]]:
            for others, other_after in right[at[1]]:
                pair = after, other_after
                if pair not in seen and not signs.isdisjoint(others):
                    seen.add(pair)
                    todo.append(pair)
    return False


@lru_cache(maxsize=50_000)
def _automaton(segment: Segment) -> tuple[Edges, int]:
    """The edges of the automaton of a segment, and the state in which it ends."""
    edges: Edges = [[]]
    state = 0
    for piece in _flat(segment):
        words = piece.words if isinstance(piece, OneOf) else (piece,) if isinstance(piece, str) else ()
        end = len(edges)
        edges.append([])
        if isinstance(piece, Signs):
            edges[state].append((frozenset(piece.first), end))
            if piece.perhaps:
                edges.append([(frozenset(piece.first), end)])
                edges[state].append((frozenset(piece.perhaps), len(edges) - 1))
            if piece.more:
                edges[end].append((frozenset(piece.more), end))
        for word in words:
            place = state
            for sign in word[:-1]:
                edges.append([])
                edges[place].append((frozenset(sign), len(edges) - 1))
                place = len(edges) - 1
            edges[place].append((frozenset(word[-1]), end))
        state = end
    return edges, state


def _flat(segment: Segment) -> Iterator[str | Signs | OneOf]:
    for piece in segment:
        if isinstance(piece, Placeholder):
            yield from piece.pieces
        else:
            yield piece


def _one_value_each(one: Pattern, other: Pattern) -> bool:
    """Whether each placeholder of a pattern has a value that fits at all of its places, whatever the other has there."""
    places: dict[Placeholder, set[tuple[str, str, Segment]]] = {}
    for segment, opposite in zip(one, other, strict=True):
        text = _text(opposite)
        if text is not None and not _repeats_in(segment, text):
            return False
        found = [number for number, piece in enumerate(segment) if isinstance(piece, Placeholder)]
        if len(found) == 1 and all(isinstance(piece, str | Placeholder) for piece in segment):
            (at,) = found
            before, after = ("".join(map(str, part)) for part in (segment[:at], segment[at + 1 :]))
            places.setdefault(segment[at], set()).add((before, after, opposite))  # type: ignore[arg-type]
    return all(_fits(placeholder, frozenset(there)) for placeholder, there in places.items() if len(there) > 1)


def _repeats_in(segment: Segment, text: str) -> bool:
    """Whether a text can be a segment in which a placeholder stands more than once; `True` for every other segment."""
    names = [piece for piece in segment if isinstance(piece, Placeholder)]
    open_pieces = len(segment) - sum(isinstance(piece, str) for piece in segment)
    if len(set(names)) == len(names) or open_pieces > MOST_OPEN:
        return True
    return re.fullmatch(_expression(segment), text) is not None


MOST_OPEN = 4
"""Looking for values that stand twice takes a time that grows with the text to the power of so many, less one."""


def _expression(segment: Segment) -> str:
    """A segment as a regular expression, in which what stands again refers to where it stood first."""
    groups: dict[Placeholder, int] = {}
    parts: list[str] = []
    for piece in segment:
        if not isinstance(piece, Placeholder):
            parts.append(_expression_of(piece))
        elif piece in groups:
            parts.append(f"(?:\\{groups[piece]})")
        else:
            groups[piece] = len(groups) + 1
            parts.append(f"({''.join(map(_expression_of, piece.pieces))})")
    return "".join(parts)


def _expression_of(piece: str | Signs | OneOf) -> str:
    if isinstance(piece, str):
        return re.escape(piece)
    if isinstance(piece, OneOf):
        return f"(?:{'|'.join(map(re.escape, piece.words))})"
    before = f"[{re.escape(piece.perhaps)}]?" if piece.perhaps else ""
    return f"{before}[{re.escape(piece.first)}]" + (f"[{re.escape(piece.more)}]*" if piece.more else "")


@lru_cache(maxsize=10_000)
def _fits(placeholder: Placeholder, places: frozenset[tuple[str, str, Segment]]) -> bool:
    """Whether one value fits between the texts of all places: a search through the states of all their automata at once."""
    own, own_end = _automaton((placeholder,))
    others = [(*_automaton(segment), after) for _, after, segment in places]
    begin = tuple(
        _after(edges, frozenset({0}), text) for (text, _, _), (edges, _, _) in zip(places, others, strict=True)
    )
    seen, todo = {(0, begin)}, [(0, begin)]
    while todo:
        state, sets = todo.pop()
        if state == own_end and all(
            end in _after(edges, states, text) for states, (edges, end, text) in zip(sets, others, strict=True)
        ):
            return True
        for signs, following in own[state]:
            for sign in signs:
                pair = (
                    following,
                    tuple(_after(edges, states, sign) for states, (edges, _, _) in zip(sets, others, strict=True)),
                )
                if pair not in seen and all(pair[1]):
                    seen.add(pair)
                    todo.append(pair)
    return False


def _after(edges: Edges, states: frozenset[int], text: str) -> frozenset[int]:
    """The states that are reached from some by a text."""
    for sign in text:
        states = frozenset(to for state in states for signs, to in edges[state] if sign in signs)
    return states
