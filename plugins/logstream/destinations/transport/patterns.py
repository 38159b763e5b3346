"""Patterns of keys: every key that a destination may ever write, in a form in which two of them can be compared.

A pattern is a row of segments, divided by `/`; a segment is a row of pieces: a text, one of some words, or signs of a class. What
stands for a placeholder never holds a `/`, so two patterns have a key in common exactly if they have as many segments and
each pair of segments has a text in common, and what stands twice has one value at all of its places. Where both segments of a
pair hold placeholders of which one is repeated, more is allowed than is ever written, never less.
"""

from __future__ import annotations

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


Edges = list[list[tuple[frozenset[str], int]]]
"""From each state: by which signs to which state. The first state is where a segment begins."""


@lru_cache(maxsize=50_000)
def have_common(one: Segment, other: Segment) -> bool:
    """Whether there is a text that both segments allow: a search through pairs of states of their automata."""
    left, left_end = automaton_of(one)
    right, right_end = automaton_of(other)
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
def automaton_of(segment: Segment) -> tuple[Edges, int]:
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


def text_of(segment: Segment) -> str | None:
    """The text of a segment that is nothing else."""
    if not segment:
        return ""
    return segment[0] if len(segment) == 1 and isinstance(segment[0], str) else None
