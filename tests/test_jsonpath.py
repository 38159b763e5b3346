"""JSONPaths: what is allowed finds what jsonpath-ng finds, and the work is bounded whatever path meets whatever event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonpath_ng.ext import parse

from logstream.events import Event
from logstream.jsonpath.compiled import PathError, compile_path
from logstream.jsonpath.search import FREE_STEPS, TooMuchWork, Work, find
from logstream.jsontext import dumps, loads
from logstream.rendering import Renderer, compile_template
from logstream.rendering.view import EventView
from logstream.settings.resolution import Workspace

KEYS = st.sampled_from(["a", "b", "c", "a b"])
SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.5, "", "a", "b", "10"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)

NAME = st.sampled_from(["a", "b", "c"])
SEGMENTS = st.one_of(
    NAME.map(lambda name: f".{name}"),
    NAME.map(lambda name: f"['{name}']"),
    st.sampled_from(["['a b']", ".*", "[*]", "[0]", "[-1]", "[0,1]", "[1:]", "[::2]", "['a','b']"]),
)


@st.composite
def conditions(draw: st.DrawFn) -> str:
    relative = "@" + "".join(draw(st.lists(NAME.map(lambda name: f".{name}"), max_size=2)))
    kind = draw(st.sampled_from(["exists", "not", "literal", "query", "and", "or"]))
    if kind == "exists":
        return relative
    if kind == "not":
        return f"!{relative}"
    comparison = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
    if kind == "literal":
        return f"{relative} {comparison} {draw(st.sampled_from(['1', '1.5', 'null', 'true', 'false', repr('a')]))}"
    if kind == "query":
        return f"{relative} {comparison} {draw(st.sampled_from(['$', '@']))}.{draw(NAME)}"
    joint = "&&" if kind == "and" else "||"
    return f"({draw(conditions())} {joint} {draw(conditions())})"


@st.composite
def paths(draw: st.DrawFn) -> str:
    segments = draw(st.lists(SEGMENTS | conditions().map(lambda condition: f"[?({condition})]"), max_size=4))
    if draw(st.booleans()):
        segments.insert(draw(st.integers(0, len(segments))), f"..{draw(NAME)}")
    return "$" + "".join(segments)


@given(paths(), VALUES)
def test_paths_find_what_jsonpath_ng_finds(path: str, document: Any) -> None:
    found = [holder[key] for holder, key in find(compile_path(path), document, Work(0))]
    wanted = [match.value for match in parse(path).find(document)]
    assert json.dumps(found) == json.dumps(wanted)


@given(paths(), VALUES)
def test_what_is_walked_in_the_bytes_is_what_is_found(path: str, document: Any) -> None:
    payload = json.dumps(document, indent=1).encode()
    found = [match.value for match in parse(path).find(document)]
    wanted = found[0] if len(found) == 1 else found or None
    assert (
        json.loads(EventView(Event(1, 1, "job", 0, 0, payload), Workspace(1), payload).value(compile_path(path)))
        == wanted
    )


@pytest.mark.parametrize(
    "path",
    [
        "$.a[?(@.b =~ 'x')]", "$[?(@.c[?(@ =~ 'x')])]", "$[?(!@.a || @.b =~ 'x')]", "$..[?(@.b =~ 'x')]",
        "$.a.`sub(/x/, y)`", "$.a.`split(a, 0, -1)`", "$.a.`str()`", "$.a.`len`", "$.a.`keys`", "$.a.`path`",
        "$.a.`sorted`", "$.a[/b]", "$.a[\\b]", "$.a.`parent`", "$.a + $.b", "$.a * 1000000", "$.a where $.b",
        "$.a wherenot b", "$.a | $.b", "$.a & $.b", "$[?(@.a + 1 == 2)]", "a", "@.a", "", "$.a[", "$.a[?(@.b == `len`)]",
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_refused(path: str) -> None:
    with pytest.raises(PathError):
        compile_path(path)


@pytest.mark.parametrize(
    ("path", "escape", "offset"),
    [
        (r"$['\x61']", r"\x", 3),
        (r'$.a.["b\u12"]', r"\u", 7),
        (r"$['\ud800']", r"\ud800", 3),
        (r"$['\udc00\ud800']", r"\udc00", 3),
        (r"$['a', 'b\ ']", r"\ ", 9),
    ],
)
def test_an_escape_that_is_none_is_refused_with_its_place(path: str, escape: str, offset: int) -> None:
    with pytest.raises(PathError) as raised:
        compile_path(path)
    assert str(raised.value).startswith(f"{escape} is no escape")
    assert raised.value.offset == offset


@given(st.text(min_size=1, max_size=8), st.sampled_from("'\""), st.booleans())
def test_a_name_is_found_however_it_is_written(name: str, quote: str, every: bool) -> None:
    """Each character as it is or as JSON's escape of it; what stands in quotes is the same name."""
    units = name.encode("utf-16-be")
    escaped = "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2))
    plain = name.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    path = f"$[{quote}{escaped if every else plain}{quote}]"
    assert compile_path(path).plain_names == (name,)


HOSTILE = {
    "flat": {"a": list(range(200_000))},
    "deep": json.loads('{"a":' * 250 + "[1]" + "}" * 250),
    "texts": {"a": ["x" * 1_000] * 2_000, "t": "x" * 200_000, "u": "x" * 200_000 + "y"},
    "wide": {f"k{n}": {"a": {"b": n}} for n in range(20_000)},
    "lists": {"a": [[list(range(50))] * 50] * 20, "b": [[list(range(50))] * 50] * 20},
}


@pytest.mark.parametrize(
    ("path", "event"),
    [
        ("$..*..*", "deep"),
        ("$..[?(@..a)]", "deep"),
        ("$.a[?($.t < $.u)]", "texts"),
        ("$.a[?($.t != $.u)]", "texts"),
        ("$.a[?($.a == $.b)]", "lists"),
        ("$.a[?(@ == $.a[199999] || @ == $.a[199998])]", "flat"),
        ("$.a[?(@ > 5)]", "flat"),
    ],
)
def test_no_path_does_more_than_its_share_of_work(path: str, event: str) -> None:
    with pytest.raises(TooMuchWork, match="look at more than 50,000 values"):
        find(compile_path(path), HOSTILE[event], Work(0))


def test_the_paths_of_one_event_share_its_work() -> None:
    payload = json.dumps({"a": [0] * 20_000}).encode()
    view = EventView(Event(1, 1, "job", 0, 0, payload), Workspace(1), payload)
    share = (FREE_STEPS + len(payload) // 2) // 20_000
    with pytest.raises(TooMuchWork):
        for _ in range(share + 1):
            view.value(compile_path("$.a[*]"))


@pytest.mark.parametrize(
    "template",
    [
        "[" + ",".join(["{{{log_message}}}"] * 500) + "]",
        "[" + ",".join(["{{{$.a}}}"] * 500) + "]",
        "[" + ",".join(["{{{$..*}}}"] * 500) + "]",
        '["' + "{{{log_message_str}}}" * 500 + '"]',
    ],
)
@pytest.mark.parametrize("event", sorted(HOSTILE))
def test_no_message_grows_out_of_proportion(template: str, event: str) -> None:
    payload = json.dumps(HOSTILE[event]).encode()
    renderer = Renderer(compile_template(template), drop_lines=False, now_ns=0)
    message = renderer.render(Event(1, 1, "job", 0, 0, payload))
    assert len(message) <= 4 * len(payload) + 1_000_000
    # 500 times a small event is in proportion, and so is what finds nothing
    in_proportion = (event == "deep" and "$.." not in template and "_str" not in template) or (
        event == "wide" and "$.a" in template
    )
    assert renderer.fallbacks == (0 if in_proportion else 1)
    assert (message == payload) is (renderer.fallbacks == 1)


def test_the_texts_of_a_template_are_looked_at_once() -> None:
    """Many strings and many placeholders in one template: each string is passed once, not once for each placeholder."""
    texts = ",".join(['"k"'] * 20_000)
    template = f"[{texts},{','.join(['{{{$.a}}}'] * 500)}]"
    assert (
        json.loads(
            Renderer(compile_template(template), drop_lines=False, now_ns=0).render(
                Event(1, 1, "job", 0, 0, b'{"a":1}')
            )
        )[-1]
        == 1
    )


@given(VALUES)
def test_repeated_names_are_told(document: Any) -> None:
    repeated: list[str] = []
    loads(dumps(document), repeated=repeated)
    assert not repeated
    loads(b'{"x": 1, "x": {"y": 2, "y": 3}, "z": 1}', repeated=repeated)
    assert sorted(repeated) == ["x", "y"]
