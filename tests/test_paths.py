"""The values of an event with their paths, and what is said of placeholders and of paths that match nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.events import Kind
from logstream.rendering.paths import MOST_VALUES, matching_nothing, values_of
from logstream.rendering.placeholders import MEANINGS
from logstream.rendering.preview import render_sample
from logstream.rendering.template import NAMES
from logstream.shapes.samples import sample_event, sample_text


def test_every_placeholder_is_explained() -> None:
    assert MEANINGS.keys() == set(NAMES)
    assert all(meaning.endswith(".") for meaning in MEANINGS.values())


@pytest.mark.parametrize("kind", list(Kind))
def test_the_path_of_each_value_gives_that_value(kind: str) -> None:
    found = values_of(sample_event(kind))
    assert len(found) > 10
    for value in found:
        rendered = render_sample(
            f'{{"v": {{{{{{{value.path}}}}}}}}}', kind, sample_text(kind).encode(), drop_lines=False
        )
        assert rendered.message is not None, (value.path, rendered.error)
        if not value.inner:
            assert json.loads(rendered.message)["v"] == json.loads(value.text), value.path


def test_names_that_are_no_words() -> None:
    found = values_of({"a b": 1, "x": [{"ä": 2}, 3], "it's": 4, 'q"': 5, "{{": 6, "": 7, "y": [], "z": {}})
    assert [(value.path, value.depth, value.text) for value in found] == [
        ("$['a b']", 0, "1"), ("$.x", 0, "2 items"), ("$.x[0]", 1, "1 field"), ("$.x[0]['ä']", 2, "2"), ("$['']", 0, "7"),
        ("$.y", 0, "[]"), ("$.z", 0, "{}"),
    ]  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
)


@given(event=st.dictionaries(st.text(max_size=6), JSON, max_size=5))
def test_whatever_an_event_holds_its_paths_go_into_a_template(event: dict[str, Any]) -> None:
    payload = json.dumps(event).encode()
    for value in values_of(event):
        rendered = render_sample(f'{{"v": {{{{{{{value.path}}}}}}}}}', "job", payload, drop_lines=False)
        assert rendered.message is not None, (value.path, rendered.error)


def test_the_largest_event_is_cut() -> None:
    assert len(values_of({str(number): number for number in range(10_000)})) == MOST_VALUES


def test_paths_that_match_nothing_in_a_selected_kind() -> None:
    message = '{"who": {{{$.user.name}}}, "x": {{{$.nothing}}}, "y": "{{{$..id}}}", "z": {{{log_message}}}}'
    found = matching_nothing(message, ["user_activity", "job"])
    assert found == {"$.user.name": ["job"], "$.nothing": ["job", "user_activity"]}
    by_kind = {"user_activity": '{"who": {{{$.user.name}}}}', "default": "{{{$.gone}}}"}
    assert matching_nothing(by_kind, ["user_activity"]) == {}
    assert matching_nothing(by_kind, ["user_activity", "job"]) == {"$.gone": ["job"]}
    assert matching_nothing({"job": "{{{$.gone}}}"}, ["user_activity"]) == {}, "that kind has no template"
    assert matching_nothing('{"a": {{{$[}}}}', ["job"]) == matching_nothing(None, ["job"]) == {}
