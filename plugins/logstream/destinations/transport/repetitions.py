"""Whether what stands twice in a pattern of keys can have one value at all of its places."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from logstream.destinations.transport.patterns import (
    Edges,
    OneOf,
    Pattern,
    Placeholder,
    Segment,
    Signs,
    automaton_of,
    text_of,
)


def one_value_each(one: Pattern, other: Pattern) -> bool:
    """Whether each placeholder of a pattern has a value that fits at all of its places, whatever the other has there."""
    places: dict[Placeholder, set[tuple[str, str, Segment]]] = {}
    for segment, opposite in zip(one, other, strict=True):
        text = text_of(opposite)
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


MOST_SETS = 2_000
"""A search through sets of states can come to more of them than any computer holds: after so many the answer is yes. Templates
that people write come to a few dozen."""


@lru_cache(maxsize=10_000)
def _fits(placeholder: Placeholder, places: frozenset[tuple[str, str, Segment]]) -> bool:
    """Whether one value fits between the texts of all places: a search through the states of all their automata at once.

    Where that search would be too long it is `True`: more is allowed than is ever written, never less.
    """
    own, own_end = automaton_of((placeholder,))
    others = [(*automaton_of(segment), after) for _, after, segment in places]
    begin = tuple(
        _after(edges, frozenset({0}), text) for (text, _, _), (edges, _, _) in zip(places, others, strict=True)
    )
    different = _different_signs([own, *(edges for edges, _, _ in others)])
    seen, todo = {(0, begin)}, [(0, begin)]
    while todo:
        if len(seen) > MOST_SETS:
            return True
        state, sets = todo.pop()
        if state == own_end and all(
            end in _after(edges, states, text) for states, (edges, end, text) in zip(sets, others, strict=True)
        ):
            return True
        for signs, following in own[state]:
            for sign in signs & different:
                pair = (
                    following,
                    tuple(_after(edges, states, sign) for states, (edges, _, _) in zip(sets, others, strict=True)),
                )
                if pair not in seen and all(pair[1]):
                    seen.add(pair)
                    todo.append(pair)
    return False


def _different_signs(automata: Iterable[Edges]) -> frozenset[str]:
    """One sign of those that no edge tells apart."""
    classes = list({signs for edges in automata for leaving in edges for signs, _ in leaving})
    every = frozenset[str]().union(*classes)
    return frozenset({tuple(sign in signs for signs in classes): sign for sign in sorted(every)}.values())


def _after(edges: Edges, states: frozenset[int], text: str) -> frozenset[int]:
    """The states that are reached from some by a text."""
    for sign in text:
        states = frozenset(to for state in states for signs, to in edges[state] if sign in signs)
    return states
