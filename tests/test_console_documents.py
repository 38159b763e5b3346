"""What comes in at the door of the console as a document: what is refused, and in which words."""

from __future__ import annotations

import json

import yaml

from logstream.settings.document import parse_yaml
from tests.asked import ask
from tests.test_console_door import JSON, LAKE

from .asked import Asked

__all__ = ["ask"]  # fixtures


def bomb(levels: int) -> str:
    """A few lines of YAML that are 9 to the power of their number when they are written out."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, levels)]
    return "\n".join(lines)


LARGER = {
    bomb(12): "repeat more than", "a: &a [*a]": "a part of itself", "a: &a {b: {c: *a}}": "a part of itself",
    "[" * 5_000: "nested too deeply", "a: *b": "undefined alias",
}  # fmt: skip


def test_a_document_that_is_larger_than_its_text_is_refused(ask: Asked) -> None:
    for text, wrong in LARGER.items():
        for answer in (
            ask("PUT", "api/v1/settings.yaml", content=text),
            ask("POST", "history", data={"version": "1"}, files={"file": ("settings.yaml", text)}),
        ):
            assert answer.status_code == 422 and wrong in answer.text, answer.text


def test_aliases_that_repeat_a_little_are_welcome() -> None:
    text = "a: &mine [job_status]\nb: *mine\nc: [*mine, *mine]\n"
    assert parse_yaml(text) == {"a": ["job_status"], "b": ["job_status"], "c": [["job_status"], ["job_status"]]}
    assert "&" not in yaml.dump(parse_yaml(bomb(3)), Dumper=yaml.SafeDumper).split("a0")[0]


NO_DOCUMENT = ["[" * 100_000, '{"a":' * 3_000 + "1" + "}" * 3_000, "[]", "7", "{", "\x00", ""]


def test_a_body_that_is_no_document_is_refused(ask: Asked) -> None:
    for path in ("settings", "settings/admin", "destinations/lake", "workspaces/1/settings"):
        for body in NO_DOCUMENT:
            answer = ask("PUT", f"api/v1/{path}", content=body, headers=JSON)
            assert answer.status_code == 422 and "broke off" not in answer.text, answer.text


HOSTILE = ["\x00", "a\x1b[2Jb", "a\x08", "\x7f"]


NOTES = {
    "rejected/discard": {"events": [{"delivery_id": 1, "event_id": 1}], "note": "?"},
    "redeliveries": {"destination": None, "start": "?", "end": "?"},
    "backfills": {"start": "?", "end": "?", "dry_run": True},
    "losses/acknowledge": {"seen": "?"},
}


def test_control_characters_come_in_by_no_way(ask: Asked) -> None:
    for sign in HOSTILE:
        refuses(ask, sign)


def test_surrogates_come_in_by_no_document(ask: Asked) -> None:
    """They can only come as escapes, in JSON."""
    for path, body in NOTES.items():
        answer = ask("POST", f"api/v1/{path}", content=json.dumps(body).replace("?", "a\\ud800"), headers=JSON)
        assert answer.status_code == 422 and "control character" in answer.text, (path, answer.text)
    for path in ("settings", "settings/admin", "destinations/lake", "workspaces/1/settings"):
        for body in ({"type": "a\ud800"}, {"a\ud800": 1}, {"a\ud800": "b\ud800"}):
            answer = ask("PUT", f"api/v1/{path}", content=json.dumps(body), headers=JSON)
            assert answer.status_code == 422 and "control character" in answer.text, (path, answer.text)


def refuses(ask: Asked, sign: str) -> None:
    for path, body in NOTES.items():
        text = json.dumps(body).replace('"?"', json.dumps(sign))
        answer = ask("POST", f"api/v1/{path}", content=text, headers=JSON)
        assert answer.status_code == 422 and "control character" in answer.text, (path, answer.text)
    for path in (
        "settings",
        "destinations/lake/options",
        "customers/1",
        "dead-letters",
        "parts/test",
        "parts/validate",
    ):
        for form in ({"destination_name": sign}, {f"option.path{sign}": "x"}):
            answer = ask("POST", path, data=form)
            assert answer.status_code == 422 and "control character" in answer.text, (path, answer.text)
    for path in ("customers", "deliveries", "activity", "api/v1/workspaces", "api/v1/deliveries"):
        assert ask("GET", path, params={"query": sign}).status_code == 422
    wrong = ask("PUT", "api/v1/settings", json={"destinations": {"lake": {**LAKE, "path": f"/tmp/{sign}"}}})
    assert wrong.json()["problems"] == ["destinations.lake.path: holds a control character"]


def test_what_the_api_refuses_it_refuses_in_its_own_words(ask: Asked) -> None:
    for path, words in {
        "api/v1/versions?limit=0": "query.limit: must be 1 or more (got '0')",
        "api/v1/versions?limit=x": "query.limit: must be a whole number (got 'x')",
        "api/v1/deliveries?state=lost": 'query.state: no such choice "lost"',
        "api/v1/deliveries?destination=a%20b": "query.destination: letters, digits and the signs _ . - only",
    }.items():
        answer = ask("GET", path)
        assert (answer.status_code, len(answer.json()["problems"])) == (422, 1)
        assert answer.json()["problems"][0].startswith(words)
    answer = ask("POST", "api/v1/backfills", json={"start": 7, "until": "x"})
    assert answer.json()["problems"] == [
        "body.start: must be text (got 7)", "body.end: is required", "body.until: unknown field",
    ]  # fmt: skip
