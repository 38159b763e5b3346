"""Patterns of keys beside all keys of a small language: what is written by both is found, and nothing else."""

from __future__ import annotations

import itertools
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from logstream.destinations.transport.pattern_index import PatternIndex
from logstream.destinations.transport.patterns import Pattern, Placeholder, Signs, pattern_of

WORDS = ["".join(signs) for length in (1, 2, 3, 4) for signs in itertools.product("ab", repeat=length)]
VALUE = (Signs("ab", "ab"),)
SEGMENT = st.tuples(
    st.sampled_from(["", "", "a", "b"]), st.sampled_from(["x", "y", ""]), st.sampled_from(["", "", "a", "ab"])
)
TEMPLATE = st.lists(SEGMENT.filter(any), min_size=2, max_size=3)
Template = list[tuple[str, str, str]]


def pattern(template: Template) -> Pattern:
    pieces: list[str | Placeholder] = []
    for before, name, after in template:
        pieces += ["/", before, *([Placeholder(name, VALUE)] if name else []), after]
    return pattern_of(pieces)


def keys(template: Template) -> set[str]:
    """All that it writes with values of at most four signs."""
    names = sorted({name for _, name, _ in template if name})
    return {
        "".join(f"/{before}{values.get(name, '')}{after}" for before, name, after in template)
        for words in itertools.product(WORDS, repeat=len(names))
        for values in [dict(zip(names, words, strict=True))]
    }


def found(one: Template, other: Template) -> bool:
    index = PatternIndex()
    index.add(pattern(one), "one")
    return index.find(pattern(other)) is not None


@settings(max_examples=200, deadline=None)
@given(TEMPLATE, TEMPLATE)
def test_a_key_of_both_is_always_found(one: Template, other: Template) -> None:
    if keys(one) & keys(other):
        assert found(one, other) and found(other, one)


@settings(max_examples=200, deadline=None)
@given(TEMPLATE, TEMPLATE)
def test_what_is_found_is_a_key_of_both_where_one_of_them_repeats_nothing(one: Template, other: Template) -> None:
    once = [(before, f"{name}{number}" if name else "", after) for number, (before, name, after) in enumerate(other)]
    if found(one, once):
        written = re.compile("".join(f"/{before}{'[ab]+' if name else ''}{after}" for before, name, after in once))
        assert any(written.fullmatch(key) for key in keys(one))
