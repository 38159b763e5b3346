"""Messages: always valid JSON, always the event, whatever the payload holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.errors import BadEvent, TemplateError
from logstream.events import MAX_JOB_BYTES, OVERSIZE_LINES, Event
from logstream.jsontext import MAX_DEPTH, SHALLOW_BYTES, dumps, loads, may_nest_deeply, not_shallow, without_lines
from logstream.rendering import Renderer, compile_template
from tests.reference import expected, parsed

NOW = 1_685_683_801_002_213_900


def stored(kind: str, payload: bytes) -> Event:
    return Event(1, 1, kind, 0, 0, payload)


def render(template: str | None, payload: bytes, *, kind: str = "job", drop_lines: bool = False) -> bytes:
    compiled = compile_template(template) if template is not None else None
    return Renderer(compiled, drop_lines=drop_lines, now_ns=NOW).render(stored(kind, payload))


EVENT = b'{"id": "j-1", "title": "a \\"b\\" \\u2028", "context": {"user_external_id": null, "user_id": 7}, "n": [1, 2]}'


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{{log_message}}}", EVENT.decode()),
        ('{"e": {{{log_message}}}}', '{"e": ' + EVENT.decode() + "}"),
        ('{"e":{{log_message}}}', '{"e":' + EVENT.decode() + "}"),
        ('{"e": {{{ log_message }}} }', '{"e": ' + EVENT.decode() + " }"),
        ('{\n\t"e":\r\n {{{log_message}}}\n}', '{"e": ' + EVENT.decode() + "}"),
        ('[{{{log_message}}},{{{log_message}}}]', f"[{EVENT.decode()},{EVENT.decode()}]"),
        ('{"s":{{{log_message_str}}}}', '{"s":' + json.dumps(EVENT.decode()) + "}"),
        ('{"s":"{{{log_message_str}}}"}', '{"s":' + json.dumps(EVENT.decode()) + "}"),
        ('{"s":"{{{log_message}}}"}', '{"s":' + json.dumps(EVENT.decode()) + "}"),
        ('{"s":"<{{{log_message}}}>"}', '{"s":' + json.dumps(f"<{EVENT.decode()}>") + "}"),
        ('[{{{now}}},{{{$.id}}}]', '["2023-06-02T05:30:01.002+00:00","j-1"]'),
        ('["{{{now}}}",{{{$.id}}}]', '["2023-06-02T05:30:01.002+00:00","j-1"]'),
        ('["at {{now}}!",{{{$.id}}}]', '["at 2023-06-02T05:30:01.002+00:00!","j-1"]'),
        ('[{{{now_utc}}},{{{$.id}}}]', '[1685683801002.2139,"j-1"]'),
        ('["{{{now_utc_micro}}}",{{{now_utc_nano}}},{{{$.id}}}]', '["1685683801002213",1685683801002213900,"j-1"]'),
        ('[{{{$.context.user_external_id}}}]', "[null]"),
        ('[{{{$.context["user_id"]}}}]', "[7]"),
        ("[{{{$.context['user_id']}}}]", "[7]"),
        ('["id={{{$.id}}} of {{{$.context.user_id}}}"]', '["id=j-1 of 7"]'),
        ('[{{{$.nothing.here}}}]', "[null]"),
        ('[{{{$.id.deeper}}}]', "[null]"),
        ('[{{{$.n[*]}}}]', "[[1,2]]"),
        ('[{{{$.n[1]}}}]', "[2]"),
        ('[{{{$..user_id}}}]', "[7]"),
        ('{"text": "braces {{ and {{{ stay", "e": {{{$.id}}}}', '{"text": "braces {{ and {{{ stay", "e": "j-1"}'),
        ('{"text": "tab\\t and \\"{{{$.id}}}\\""}', '{"text": "tab\\t and \\"j-1\\""}'),
    ],
)  # fmt: skip
def test_templates(template: str, message: str) -> None:
    made = render(template, EVENT)
    assert json.loads(made) == json.loads(message)
    # what is spliced is spliced byte for byte
    if "log_message}}" in template and '"{{{log_message' not in template and "<" not in template:
        assert EVENT in made


@pytest.mark.parametrize(
    ("template", "line", "column", "reason"),
    [
        ("", 1, 1, "not JSON"),
        ('{"a": 1}', 1, 8, "there is no placeholder for the event"),
        ('{"a": {{{now}}}}', 1, 16, "there is no placeholder for the event"),
        ('{"a": {{{log_mesage}}}}', 1, 7, 'unknown placeholder \'log_mesage\'; did you mean "log_message"?'),
        ('{"a": "x {{{foo}}}"}', 1, 10, "unknown placeholder 'foo'"),
        ('{"{{{log_message}}}": 1}', 1, 3, "the placeholder log_message stands in a key"),
        ('{"a {{{now}}}" : {{{log_message}}}}', 1, 5, "the placeholder now stands in a key"),
        ('{{{{log_message}}}: 1}', 1, 1, "a placeholder that is not closed"),
        ('{"e": {{{log_message}}}\n "b": 1}', 2, 2, "not JSON: Expecting ',' delimiter"),
        ('{"e": {{{log_message}}', 1, 7, "a placeholder that is not closed"),
        ('{"e": {{{log_message}}}', 1, 24, "not JSON"),
        ('{"e": {{{log_message}}}{{{now}}}}', 1, 24, "not JSON"),
        ('{"e": x{{{log_message}}}}', 1, 7, "not JSON"),
        ('{"e": {{{log_message}}}, "n": NaN}', 1, 1, "not JSON: NaN is not JSON"),
        ('{"e": {{{$.a[}}}}', 1, 7, "JSONPath $.a["),
        ('{"e": "\n{{{log_message}}}"}', 1, 8, "not JSON: Invalid control character"),
        ('{"e":\n "x {{{$.a[?(@.b =~ \'(a+)+b\')]}}}"}', 2, 18, "JSONPath $.a[?(@.b =~ '(a+)+b')]: regular expressions"),
        ('["{{{$.a.`sub(/(a+)+b/, c)`}}}"]', 1, 10, "JSONPath $.a.`sub(/(a+)+b/, c)`: the operator `sub` is not allowed"),
        ("[{{{$.a.`split(a, 1, -1)`}}}]", 1, 9, "JSONPath $.a.`split(a, 1, -1)`: the operator `split`"),
        ("[{{{$.a.`sorted`}}}]", 1, 9, "JSONPath $.a.`sorted`: the operator `sorted`"),
        ("[{{{$.a * 3}}}]", 1, 2, "JSONPath $.a * 3: $.a * 3 is not allowed; use names, indexes"),
        ("[{{{$.a[/b]}}}]", 1, 2, "JSONPath $.a[/b]: "),
        ("[{{{$.a where b}}}]", 1, 2, "JSONPath $.a where b: a where b is not allowed"),
        ("[{{{$.a.$.b}}}]", 1, 2, "JSONPath $.a.$.b: $ may only stand at its beginning"),
        ("[{{{$..a..b..c}}}]", 1, 2, "JSONPath $..a..b..c: it has 3 times `..`; the limit is 2"),
        ("[{{{$" + ".a" * 65 + "}}}]", 1, 2, "JSONPath $" + ".a" * 65 + ": it has 65 steps"),
        ("[{{{$." + "a" * 1_000 + "}}}]", 1, 2, "JSONPath $." + "a" * 1_000 + ": it is longer than"),
        ("[" + "{{{now}}}," * 500 + "{{{log_message}}}]", 1, 5002, "more than 500 placeholders"),
        ('{"w": {{{workspace.id}}}}', 1, 25, "there is no placeholder for the event"),
        ("[" * 200 + "{{{log_message}}}" + "]" * 200, 1, 1, "nested deeper"),
        ("[" * 20_000 + "{{{log_message}}}" + "]" * 20_000, 1, 1, "nested"),
        ("\ud800{{{log_message}}}", 1, 1, "the template holds a lone surrogate"),
    ],
)  # fmt: skip
def test_refused_templates(template: str, line: int, column: int, reason: str) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template(template)
    assert (caught.value.line, caught.value.column) == (line, column), str(caught.value)
    assert caught.value.reason.startswith(reason)


NUMBERS = st.one_of(
    st.integers(),
    st.integers(min_value=2**64, max_value=2**200),
    st.floats(allow_nan=False, allow_infinity=False),
)
TEXTS = st.text(st.characters(codec=None, exclude_categories=[]), max_size=30) | st.sampled_from(
    ["\u2028", '"', "\\", "\x00", "{{{now}}}", "\ud800", "}}}", "\r\n", "lines"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=15,
)
EVENTS = st.fixed_dictionaries(
    {"id": TEXTS, "context": st.fixed_dictionaries({"user_external_id": st.none() | TEXTS})},
    optional={"lines": VALUES, "extra": VALUES, "status": TEXTS},
)


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """An event's JSON as some platform might write it: any escapes, any white space between tokens, odd numbers."""
    event = draw(EVENTS)
    text = json.dumps(event, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 2])))
    text = text.replace('"id"', draw(st.sampled_from(['"id"', '"\\u0069d"'])))
    odd = draw(st.sampled_from(["1e400", "-0", "0.10", "123456789012345678901234567890", "1E-400"]))
    text = text[:-1] + f', "odd": {odd}' + "}"
    # a surrogate that stands alone can only come as an escape
    return "".join(c if not "\ud800" <= c <= "\udfff" else f"\\u{ord(c):04x}" for c in text).encode()


TEMPLATES = st.sampled_from(
    [
        "{{{log_message}}}",
        '{"source": "workato", "event": {{{log_message}}}}',
        '{"a": [{{log_message}}, {{{log_message}}}], "b": null, "c": 0.5}',
        '{"who": {{{$.context.user_external_id}}}, "id": {{{$.id}}}, "none": {{{$.a.b}}}, "e": {{{log_message}}}}',
        '{"all": {{{$.extra[*]}}}, "deep": {{{$..id}}}, "odd": {{{$.odd}}}}',
    ]
)


@given(TEMPLATES, payloads(), st.booleans())
def test_messages_are_json_and_hold_the_event(template: str, payload: bytes, drop_lines: bool) -> None:
    message = render(template, payload, drop_lines=drop_lines)
    assert b"\n" not in message and b"\r" not in message
    wanted = json.dumps(expected(template, payload, drop_lines=drop_lines), sort_keys=True)
    assert json.dumps(parsed(message), sort_keys=True) == wanted


@given(
    payloads(),
    st.sampled_from(['{"t": "{{{log_message}}}"}', '{"t": {{{log_message_str}}}}', '{"t": "{{log_message_str}}"}']),
)
def test_the_event_as_a_string(payload: bytes, template: str) -> None:
    text = json.loads(render(template, payload))["t"]
    assert parsed(text.encode()) == parsed(payload)


@given(payloads())
def test_nothing_is_lost_by_parsing_and_writing(payload: bytes) -> None:
    assert parsed(dumps(loads(payload))) == parsed(payload)


@given(payloads())
def test_lines_are_dropped_and_nothing_else(payload: bytes) -> None:
    event = parsed(payload)
    event.pop("lines", None)
    assert parsed(without_lines(payload)) == event


def test_lines_stay_unless_they_are_the_jobs_own() -> None:
    payload = b'{"lines" : [1], "a": {"lines": 2}, "note": "\\"lines\\"", "n": 1e400}'
    assert render(None, payload, drop_lines=True) == b'{"a":{"lines": 2},"note":"\\"lines\\"","n":1e400}'
    assert render(None, payload) == payload
    assert render(None, payload, kind="log_service", drop_lines=True) == payload


def test_a_job_too_large_is_streamed_without_its_steps() -> None:
    step = json.dumps({"input": "x" * 1_000_000})
    lines = ",".join([step] * 41)
    payload = f'{{"id": "j-1", "lines": [{lines}], "context": {{"user_external_id": null}}}}'.encode()
    assert len(payload) > MAX_JOB_BYTES
    message = json.loads(render('{"e": {{{log_message}}}}', payload))
    assert message == {"e": {"id": "j-1", "lines": OVERSIZE_LINES, "context": {"user_external_id": None}}}
    small = b'{"lines": [1]}'
    assert render(None, small) == small


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 10_000])
@pytest.mark.parametrize("drop_lines", [True, False])
@pytest.mark.parametrize("template", [None, '{"a": {{{$..x}}}}', '{"a": {{{log_message_str}}}}'])
def test_deep_nesting_is_a_bad_event(depth: int, drop_lines: bool, template: str | None) -> None:
    payload = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
    with pytest.raises(BadEvent, match=f"nested {depth + 1:,} levels deep"):
        render(template, payload, drop_lines=drop_lines)


def test_what_looks_deep_but_is_not() -> None:
    payload = json.dumps({"a": [[] for _ in range(5_000)], "text": "[" * 5_000}).encode()
    assert render(None, payload) == payload
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert render(None, deepest) == deepest


def test_a_template_that_asks_too_much_of_an_event_falls_back_to_the_default_message() -> None:
    renderer = Renderer(compile_template('{"a": {{{$..*}}}, "b": {{{$..*}}}}'), drop_lines=False, now_ns=NOW)
    assert json.loads(renderer.render(stored("job", b'{"n": [1]}'))) == {"a": [[1], 1], "b": [[1], 1]}
    assert renderer.fallback_reason is None
    large = json.dumps({"n": [[0] * 100] * 2_000}).encode()
    assert renderer.render(stored("job", large)) == large
    assert renderer.fallbacks == 1
    assert "more than" in (renderer.fallback_reason or "")
    assert json.loads(renderer.render(stored("job", b'{"n": [1]}'))) == {"a": [[1], 1], "b": [[1], 1]}


def test_a_stored_template_that_no_longer_compiles_falls_back_and_says_so() -> None:
    renderer = Renderer.of('{"a": {{{gone}}}}', drop_lines=False, now_ns=NOW)
    assert renderer.render(stored("job", EVENT)) == EVENT
    assert "unknown placeholder 'gone'" in (renderer.fallback_reason or "")


@pytest.mark.parametrize("path", ["$.a[?(@.b =~ 'x')]", "$.a.`sub(/x/, y)`", "$.a.`len`", "$..a..b..c"])
def test_a_stored_template_with_a_path_that_is_no_longer_allowed_falls_back_and_says_so(path: str) -> None:
    renderer = Renderer.of('{"a": {{{' + path + "}}}}", drop_lines=False, now_ns=NOW)
    assert renderer.render(stored("job", EVENT)) == EVENT
    assert f"JSONPath {path}: " in (renderer.fallback_reason or "")


BY_KIND = {"job": '{"j": {{{$.id}}}}', "user_activity": "{{{log_message}}}", "default": '{"d": {{{event.kind}}}}'}


@pytest.mark.parametrize(
    ("kind", "message"),
    [("job", {"j": "j-1"}), ("user_activity", json.loads(EVENT)), ("log_service", {"d": "log_service"})],
)
def test_each_kind_has_its_template(kind: str, message: Any) -> None:
    renderer = Renderer.of(BY_KIND, drop_lines=False, now_ns=NOW)
    assert json.loads(renderer.render(stored(kind, EVENT))) == message
    assert renderer.render_plain([stored(kind, EVENT)]) is None, "no one template is that of all"


def test_a_kind_without_a_template_is_sent_as_it_is() -> None:
    renderer = Renderer.of({"job": '{"j": 1, "e": {{{log_message}}}}'}, drop_lines=False, now_ns=NOW)
    assert renderer.render(stored("genie", EVENT)) == EVENT


def test_one_kinds_template_that_no_longer_compiles_leaves_the_others() -> None:
    renderer = Renderer.of({**BY_KIND, "job": "{{{gone}}}"}, drop_lines=False, now_ns=NOW)
    assert renderer.render(stored("job", EVENT)) == EVENT
    assert json.loads(renderer.render(stored("genie", EVENT))) == {"d": "genie"}
    assert (renderer.fallback_reason or "").startswith("job: line 1, column 1: unknown placeholder 'gone'")


OLD = (
    '{"id": "j-1", "title": "a \\"b\\" \\u2028 é", "context": {"user_id": 7, "user_email": "a@b.c", "user_external_id": null}, '
    '"status": "failed", "n": [1e400, 0.10, -0], "lines": [{"x": 1}]}'
).encode()
OLD_MASKED = (
    '{"id":"j-1","title":"a \\"b\\" \\u2028 é","context":{"user_id":7,"user_email":"masked","user_external_id":null},'
    '"status":"failed","n":[1e400, 0.10, -0]}'
).encode()


@pytest.mark.parametrize(
    ("template", "message", "masked"),
    [
        (None, OLD, OLD_MASKED),
        ('{"source": "workato", "event": {{{log_message}}}}', b'{"source": "workato", "event": ' + OLD + b"}",
         b'{"source": "workato", "event": ' + OLD_MASKED + b"}"),
        ('{"ddtags":"workspace:{{{$.context.user_external_id}}}","id":{{{$.id}}}}',
         b'{"ddtags":"workspace:null","id":"j-1"}', b'{"ddtags":"workspace:null","id":"j-1"}'),
        ('{"t": {{{now}}}, "q": "{{now}}", "m": {{{now_utc}}}, "u": "{{{now_utc_micro}}}", "n": {{{now_utc_nano}}}, '
         '"who": {{{$.context.user_email}}}}',
         b'{"t": "2023-06-02T05:30:01.002+00:00", "q": "2023-06-02T05:30:01.002+00:00", "m": 1685683801002.2139, '
         b'"u": "1685683801002213", "n": 1685683801002213900, "who": "a@b.c"}',
         b'{"t": "2023-06-02T05:30:01.002+00:00", "q": "2023-06-02T05:30:01.002+00:00", "m": 1685683801002.2139, '
         b'"u": "1685683801002213", "n": 1685683801002213900, "who": "masked"}'),
        ('{"all": {{{$..user_id}}}, "many": {{{$.n[*]}}}, "ctx": {{{$.context}}}, "none": {{{$.a.b}}}}',
         b'{"all": 7, "many": [1e400,0.10,-0], "ctx": {"user_id": 7, "user_email": "a@b.c", "user_external_id": null}, '
         b'"none": null}',
         b'{"all": 7, "many": [1e400,0.10,-0], "ctx": {"user_id":7,"user_email":"masked","user_external_id":null}, "none": null}'),
        ("[{{{$.n[?(@ > 0)]}}}, {{{$['context']['user_id']}}}]", b"[[1e400,0.10], 7]", b"[[1e400,0.10], 7]"),
    ],
)  # fmt: skip
def test_old_settings_give_the_bytes_that_they_always_gave(template: str | None, message: bytes, masked: bytes) -> None:
    """The bytes are those of the version before events had an envelope: what is exported again is what was exported."""
    assert Renderer.of(template, drop_lines=False, now_ns=NOW).render(stored("job", OLD)) == message
    renderer = Renderer.of(template, drop_lines=True, now_ns=NOW, mask=["$.context.user_email"])
    assert renderer.render(stored("job", OLD)) == masked


@pytest.mark.parametrize("value", [None, "acme"])
def test_null_external_ids_are_kept(value: Any) -> None:
    payload = json.dumps({"team": {"id": 1, "external_id": value}, "context": {"user_external_id": value}}).encode()
    for template in (
        None,
        '{"e": {{{log_message}}}}',
        '{"e": {"context": {"user_external_id": {{{$.context.user_external_id}}}}}}',
    ):
        message = json.loads(render(template, payload, drop_lines=True))
        assert message.get("e", message)["context"]["user_external_id"] == value


def _nested(levels: tuple[int, int, int]) -> bytes:
    arrays, more, digits = levels
    objects = max(0, MAX_DEPTH - arrays + more)
    return b"[" * arrays + b'{"":' * objects + b"0" * digits + b"}" * objects + b"]" * arrays


@given(st.lists(st.tuples(st.integers(0, 520), st.integers(-2, 4), st.integers(1, 20)).map(_nested), max_size=3))
def test_whatever_may_be_nested_too_deeply_is_looked_at_among_many(payloads: list[bytes]) -> None:
    looked_at = not_shallow(payloads, b"".join(payloads))
    assert not [payload for payload in payloads if may_nest_deeply(payload) and payload not in looked_at]
    assert all(len(payload) > SHALLOW_BYTES for payload in looked_at)
