"""Masks: what is masked does not leave, however the event spells and nests it, and the rest stays as it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.errors import BadEvent, SettingsError
from logstream.events import Event
from logstream.rendering import Renderer, check_mask, compile_template
from logstream.settings.models import Settings
from logstream.validation import validate_settings

SECRET = "hunter2"


def masked_event(mask: Sequence[str], payload: bytes, template: str | None = None) -> bytes:
    compiled = compile_template(template) if template else None
    return Renderer(compiled, drop_lines=False, now_ns=0, mask=mask).render(Event(1, 1, "user_activity", 0, 0, payload))


@pytest.mark.parametrize(
    ("mask", "payload", "masked"),
    [
        (["$.id"], b'{"id": 1, "b": 2}', b'{"id":"masked","b":2}'),
        (["$.user.email"], b'{"user": {"email": "a@b", "id": 7}}', b'{"user":{"email":"masked","id":7}}'),
        (["$['user']['email']"], b'{"user": {"email": null}}', b'{"user": {"email": "masked"}}'),
        (["$.user.email"], b'{"user": "email", "a": {"email": 1}}', b'{"user": "email", "a": {"email": 1}}'),
        (["$.user.email"], b'{"user": [{"email": 1}]}', b'{"user": [{"email": 1}]}'),
        (["$.id"], b'{"id": "secret", "id": "masked"}', b'{"id":"masked"}'),
        ([r'$.["\u0061"]'], b'{"a": "x", "u0061": "y"}', b'{"a":"masked","u0061":"y"}'),
        ([r"$['caf\u00e9']"], '{"café": "x"}'.encode(), '{"café":"masked"}'.encode()),
        ([r"$..['\ud83d\ude00']"], '{"b":{"😀": "x"}}'.encode(), rb'{"b":{"\ud83d\ude00":"masked"}}'),
        ([r"$['a\nb']", r"$['a\/b']"], b'{"a\\nb": "x", "a\\/b": "y"}', b'{"a\\nb":"masked","a/b":"masked"}'),
        ([r"$['\u0027\u005c']"], rb"""{"'\\": "x"}""", rb"""{"'\\":"masked"}"""),
        ([r"$.a[?(@.b == '\u0041')].c"], b'{"a":[{"b":"A","c":1}]}', b'{"a":[{"b":"A","c":"masked"}]}'),
        (["$.email"], b'{"e\\u006dail": "x"}', b'{"email":"masked"}'),
        (
            ["$.a[*].b"],
            b'{"a": [{"b": 1}, {"b": 1e400, "c": 0.10}]}',
            b'{"a":[{"b":"masked"},{"b":"masked","c":0.10}]}',
        ),
        (["$..email"], b'{"x": {"email": {"a": 1}}, "email": 2}', b'{"x":{"email":"masked"},"email":"masked"}'),
        (["$.nothing", "$.id"], b'{"id": "\\ud800", "k": "\\ud800"}', b'{"id":"masked","k":"\\ud800"}'),
    ],
)
def test_masks(mask: list[str], payload: bytes, masked: bytes) -> None:
    message = masked_event(mask, payload)
    assert message.replace(b": ", b":").replace(b", ", b",") == masked.replace(b": ", b":").replace(b", ", b",")


# against a reference that knows nothing of ours: parse, walk, replace, compare

NAMES = st.sampled_from(
    ["password", "user", "a/b", 'say "x"', "caf\u00e9", "tab\t", "a b", "x.y", "'", "\\", "\u2028", ""]
)
LEAVES = st.sampled_from([SECRET, 7, 1.5, None, True, "", [], {}, [SECRET], {"deeper": SECRET}])
OBJECTS = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=3),
    lambda inner: st.dictionaries(NAMES, inner | LEAVES | st.lists(inner | LEAVES, max_size=2), max_size=3),
    max_leaves=8,
)


@st.composite
def steps_into(draw: st.DrawFn, event: dict[str, Any]) -> list[str | int]:
    """Steps that mostly lead to something in the event."""
    steps: list[str | int] = []
    value: Any = event
    while len(steps) < 3 and isinstance(value, dict | list) and (not steps or draw(st.booleans())):
        keys = list(value) if isinstance(value, dict) else [0][: len(value)]
        step = draw(st.sampled_from([*keys, *keys, "*"]) | NAMES)
        steps.append(step)
        value = value.get(step) if isinstance(value, dict) else value[0] if value else None
    return steps


def quoted(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


def as_path(steps: Sequence[str | int], descending: bool) -> str:
    shown = [f"[{step}]" if step in (0, "*") else f"[{quoted(str(step))}]" for step in steps]
    # a path of names in brackets is written with a dot after the dollar only where it descends
    first = f"..{quoted(str(steps[0]))}" if descending else f".{shown[0]}" if shown[0] == "*" else shown[0]
    return "$" + first + "".join(shown[1:])


STYLES = st.sampled_from(["plain", "short", "numbered", "any"])


@st.composite
def spelt(draw: st.DrawFn, value: Any, style: str) -> str:
    """JSON text of a value: names in any spelling, decoys before them under the same name, any white space."""
    gap = draw(st.sampled_from(["", " ", "\n", "\t\r\n "]))
    if isinstance(value, dict):
        members = []
        for name, item in value.items():
            if draw(st.integers(0, 3)) == 0:
                decoy = draw(st.sampled_from([f'"{SECRET}"', f'{{"password": "{SECRET}"}}', "null", f'["{SECRET}"]']))
                members.append(f"{draw(spelt_name(name, style))}{gap}:{decoy}")
            members.append(f"{draw(spelt_name(name, style))}{gap}:{gap}{draw(spelt(item, style))}")
        return "{" + gap + f"{gap},".join(members) + gap + "}"
    if isinstance(value, list):
        return "[" + gap + ",".join([draw(spelt(item, style)) for item in value]) + "]"
    return json.dumps(value)


@st.composite
def spelt_name(draw: st.DrawFn, name: str, style: str) -> str:
    """A name as JSON, each character as it is where it may, escaped in short, or by its number."""
    short = {'"': '\\"', "\\": "\\\\", "\t": "\\t", "/": "\\/"}
    text = ""
    for character in name:
        shown = draw(st.sampled_from(["plain", "short", "numbered"])) if style == "any" else style
        if shown == "numbered":
            text += f"\\u{ord(character):04x}"
        elif shown == "short" or character in '"\\\t':
            text += short.get(character, character)
        else:
            text += character
    return f'"{text}"'


class Members(list[list[Any]]):
    """An object as it is written: `[name, value]` for each member, equal names included."""


def members(payload: bytes) -> Any:
    """JSON with its objects as `Members`."""
    return json.loads(payload, object_pairs_hook=lambda pairs: Members(list(pair) for pair in pairs))


def as_parsers_see(value: Any) -> Any:
    """What a parser makes of it: of equal names the last."""
    if isinstance(value, Members):
        return {name: as_parsers_see(item) for name, item in value}
    return [as_parsers_see(item) for item in value] if isinstance(value, list) else value


def replace(value: Any, steps: Sequence[str | int]) -> None:
    """The plain reference: put "masked" where the steps lead, in every member of a name."""
    step, rest = steps[0], steps[1:]
    if isinstance(value, Members):
        places: list[tuple[Any, int]] = [(member, 1) for member in value if step in ("*", member[0])]
    elif isinstance(value, list):
        places = [(value, index) for index in range(len(value)) if step in ("*", index)]
    else:
        return
    for holder, index in places:
        if rest:
            replace(holder[index], rest)
        else:
            holder[index] = "masked"


def replace_everywhere(value: Any, steps: Sequence[str | int]) -> None:
    """The same, from each value below as well; deepest first, as what is masked is not looked into."""
    for item in (
        [member[1] for member in value] if isinstance(value, Members) else value if isinstance(value, list) else []
    ):
        replace_everywhere(item, steps)
    replace(value, steps)


@given(st.data(), OBJECTS)
def test_no_masked_value_leaves(data: st.DataObject, event: dict[str, Any]) -> None:
    drawn = data.draw(st.lists(st.tuples(steps_into(event), st.booleans()), min_size=1, max_size=3))
    masks = [(steps, descending and isinstance(steps[0], str) and steps[0] != "*") for steps, descending in drawn]
    payload = data.draw(spelt(event, data.draw(STYLES))).encode()
    paths = [as_path(steps, descending) for steps, descending in masks]
    masked = members(payload)
    for steps, descending in masks:
        (replace_everywhere if descending else replace)(masked, steps)
    for template, unpacked in (
        (None, lambda message: message),
        ('{"e": {{{log_message}}}}', lambda message: message["e"]),
        ('{"e": {{{log_message_str}}}}', lambda message: json.loads(message["e"])),
        ('{"e": "<{{{log_message}}}"}', lambda message: json.loads(message["e"][1:])),
    ):
        message = masked_event(paths, payload, template)
        assert unpacked(json.loads(message)) == as_parsers_see(masked)
        # nor do the first of equal names, which only a parser other than ours would show
        if SECRET not in json.dumps(masked):
            assert SECRET.encode() not in message


@given(OBJECTS, st.sampled_from(["lines", "nothing"]))
def test_a_mask_leaves_the_rest_as_it_is(event: dict[str, Any], name: str) -> None:
    payload = json.dumps({**event, "lines": [1e300], "odd": 7}).encode()
    wanted = {**json.loads(payload), **({"lines": "masked"} if name == "lines" else {})}
    assert json.loads(masked_event([f"$.{name}"], payload)) == wanted


@pytest.mark.parametrize(
    "payload",
    [
        b'{"user": {"email": "hunter2"}, "user": {}}',
        b'{"user": {"email": "hunter2"}, "user": 7}',
        b'{"email": "hunter2", "email": "x"}',
        b'{"a": [{"email": "hunter2", "email": null}]}',
        b' \n{"email": "hunter2"}',
        b'{"email": "hunter2", "n": 1e999, "m": -0, "k": "\\ud800"}',
    ],
)
@pytest.mark.parametrize("mask", [["$..email"], ["$.user.email", "$.email", "$.a[*].email"]])
def test_a_second_key_of_the_same_name_hides_nothing(payload: bytes, mask: list[str]) -> None:
    message = masked_event(mask, payload)
    assert b"hunter2" not in message
    json.loads(message)


@pytest.mark.parametrize("payload", [b'{"email": NaN}', b'\xef\xbb\xbf{"email": 1}', b'{"email": 1'])
@pytest.mark.parametrize("mask", ["$.email", "$..email"])
def test_what_is_no_json_is_not_sent_where_something_is_masked(payload: bytes, mask: str) -> None:
    with pytest.raises(BadEvent, match="not JSON"):
        masked_event([mask], payload)


def test_an_event_that_takes_too_long_to_mask_is_not_sent() -> None:
    payload = json.dumps({"a": [[0] * 100] * 2_000, "email": SECRET}).encode()
    with pytest.raises(BadEvent, match="its fields cannot be masked: its JSONPaths look at more than"):
        masked_event(["$..*", "$..email"], payload)


def test_what_a_filter_compares_is_what_came_not_what_is_masked() -> None:
    payload = b'{"role": "admin", "users": [{"role": "admin", "email": "hunter2"}, {"role": "x", "email": "y"}]}'
    for mask in (["$.role", "$.users[?(@.role == $.role)].email"], ["$.users[?(@.role == $.role)].email", "$.role"]):
        message = json.loads(masked_event(mask, payload))
        assert message["role"] == "masked"
        assert [user["email"] for user in message["users"]] == ["masked", "y"]


DOCUMENT = {
    "admin": {"enabled": True, "events": ["job_details"], "destination": "d"},
    "destinations": {"d": {"type": "file", "path": "/srv/out"}},
}


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (
            "$.a[?(@.b =~ '(a+)+$')]",
            "admin.mask[0]: no JSONPath for a mask: regular expressions (=~) are not allowed; ",
        ),
        ("$.a.`sub(/a/, b)`", "admin.mask[0]: no JSONPath for a mask: the operator `sub` is not allowed; "),
        ("$.a.", "admin.mask[0]: no JSONPath for a mask: Parse error"),
    ],
)
def test_masks_that_are_not_allowed_are_refused_when_saved(mask: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        validate_settings({**DOCUMENT, "admin": {**DOCUMENT["admin"], "mask": [mask]}})
    assert caught.value.problems[0].startswith(reason)
    with pytest.raises(ValueError, match="no JSONPath for a mask"):
        check_mask(mask)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("$.a[?(@.b =~ 'x')].c", {"a": "masked", "d": 2}),
        ("$.a[0].`sub(/x/, y)`", {"a": ["masked", {"b": "y"}], "d": 2}),
        ("$.a[1]..b.`len`", {"a": [{"b": "x", "c": 1}, "masked"], "d": 2}),
        ("$.a where b", "masked"),
        ("$.a | $.d", "masked"),
    ],
)
def test_a_stored_mask_that_is_no_longer_allowed_loads_and_masks_more(mask: str, message: Any) -> None:
    """The settings of then still load; what such a mask could have found is masked, and it is said."""
    stored = {**DOCUMENT, "admin": {**DOCUMENT["admin"], "mask": [mask]}}
    admin = Settings.model_validate(stored).admin
    assert admin is not None
    renderer = Renderer(None, drop_lines=False, now_ns=0, mask=admin.mask)
    payload = b'{"a": [{"b": "x", "c": 1}, {"b": "y"}], "d": 2}'
    assert json.loads(renderer.render(Event(1, 1, "job", 0, 0, payload))) == message
    assert "so more is masked than it says" in (renderer.mask_problem or "")
