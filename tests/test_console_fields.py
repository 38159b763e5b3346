"""Every field of every form: its hint fits it, and what is wrong in it is said at it, all at once, in the console's own words."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import psycopg
import pytest

from logstream.console.credentials import field_id
from logstream.console.forms import Control, Field, fields_of, options_of
from logstream.console.layout import jinja
from logstream.console.mistakes import destination_mistakes, option_label
from logstream.console.setting_form import access_of
from logstream.destinations import destination_types
from logstream.destinations.access.base import Shape

from .asked import Asked, ask

__all__ = ["ask"]  # a fixture

TYPES = sorted(destination_types())

WRONG = [
    "x" * 5_000, "-1", "many", "a b", "../..", "{nope}", "=", "é", "x", "`x`", "Upper*", "timestamp=1", "_x=1", "a\nb\nc", "\n".join(["long" * 300] * 600),
    "\n".join(f"{number}={'y' * 300}" for number in range(300)),
]  # fmt: skip
"""Values that few fields take."""

TAKES_ANYTHING = {("datadog", name) for name in ("service", "source", "hostname")}
"""Fields whose receivers take every text."""

OTHERS_WORDS = re.compile(
    r"Input should|valid string|Field required|Value error|validation error|does not (?:have the form|match)|is not of type|"
    r"Internal Server Error|broke off|Traceback|pydantic|destinations[.\[]|workspaces\[|admin\.|option\.|credential\.|\^\[|"
    r"\(\?|None\b|[a-z]Error\b"
)
"""Paths of YAML, patterns, and the words of validators and of Python."""


def fields(kind: str) -> list[Field]:
    seen, more = fields_of(destination_types()[kind].options_model, {})
    return [*seen, *more]


def wrong_value(kind: str, field: Field) -> str | None:
    """A value that a field alone does not take."""
    model = destination_types()[kind].options_model
    for value in WRONG:
        if (
            destination_mistakes({"type": kind, **options_of(model, {field.id: [value]})}).get(field.id, "is required")
            != "is required"
        ):
            return value
    return None


class Page(HTMLParser):
    """A page's errors by their field, its placeholders by theirs, and its text that is no code."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.errors: dict[str, str] = {}
        self.hints: dict[str, str] = {}
        self.prose = ""
        self._error: str | None = None
        self._code = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("code", "pre", "textarea", "option", "script", "style"):
            self._code += 1
        if given.get("id", "").startswith("error-"):
            self._error = given["id"].removeprefix("error-")
            self.errors[self._error] = ""
        if "placeholder" in given:
            self.hints[given.get("id", "")] = given["placeholder"]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("code", "pre", "textarea", "option", "script", "style"):
            self._code -= 1
        if tag == "p":
            self._error = None

    def handle_data(self, data: str) -> None:
        if self._error is not None:
            self.errors[self._error] += data
        if not self._code:
            self.prose += data

    @property
    def mistakes(self) -> dict[str, str]:
        return {field: text for field, text in self.errors.items() if text.strip()}


def in_own_words(page: Page) -> None:
    for field, text in page.mistakes.items():
        # what was typed in is quoted, not ours
        ours = re.sub(r"\(got .*", "", re.sub(r'"[^"]*"', '""', text))
        assert not OTHERS_WORDS.search(ours), (field, text)
        assert len(text) < 400 and (text[0] == text[0].upper() or ": " in text) and text.rstrip()[-1] in ".!?", (
            field,
            text,
        )
    assert "`" not in page.prose
    assert "Internal Server Error" not in page.prose and "broke off" not in page.prose


# mistakes


def test_few_fields_take_every_text() -> None:
    assert {
        (kind, field.name)
        for kind in TYPES
        for field in fields(kind)
        if field.control is not Control.SWITCH and wrong_value(kind, field) is None
    } == TAKES_ANYTHING


def test_all_mistakes_of_all_types_stand_at_their_fields_at_once(ask: Asked) -> None:
    for kind in TYPES:
        wrong = {field.id: value for field in fields(kind) if field.control is not Control.SWITCH
                 and (value := wrong_value(kind, field)) is not None}  # fmt: skip
        assert len(wrong) > 4, kind
        form = {
            "version": str(ask.version()), "enabled": "true", "destination_name": "a b", "destination_type": kind, "mask": "email",
            "message": "{", "message.job": "{{{nope}}}", "lag_minutes": "x", "events": "log_service", "log_types": "t" * 101, **wrong,
        }  # fmt: skip
        answer = ask("POST", "settings", data=form)
        assert answer.status_code == 422
        page = Page(answer.text)
        assert set(page.mistakes) == {*wrong, "destination_name", "mask", "message", "message.job", "log_types"}, kind
        in_own_words(page)
        listed = re.findall(r'<li data-field="[^"]+"><a href="#([^"]+)">', answer.text)
        places = [answer.text.index(f'id="error-{name}"') for name in listed]
        assert len(listed) == len(page.mistakes) and places == sorted(places), "as they stand below"
        assert f"{len(page.mistakes)} fields need a correction" in page.prose
        # the same while one types, and where it is tried out
        seen = Page(ask("POST", "parts/validate", data={**form, "touched": " ".join(wrong)}).text)
        assert {name: text for name, text in seen.mistakes.items() if name in wrong} == {
            name: text for name, text in page.mistakes.items() if name in wrong
        }
        tried = Page(ask("POST", "parts/test", data=form).text)
        in_own_words(tried)
        assert set(tried.mistakes) == {*wrong, "destination_name"} and "Not tested: correct" in tried.prose
    assert ask("GET", "api/v1/settings").json() == {}


@pytest.mark.parametrize("kind", TYPES)
def test_each_wrong_value_alone_is_told_in_own_words(kind: str) -> None:
    part = jinja.env.get_template("parts/validated.html")
    for field in fields(kind):
        for value in WRONG:
            typed = options_of(destination_types()[kind].options_model, {field.id: [value]})
            in_own_words(Page(part.render(shown=destination_mistakes({"type": kind, **typed}))))


def test_what_is_missing_is_said_of_every_required_field(ask: Asked) -> None:
    for kind in TYPES:
        page = Page(ask("POST", "settings", data={"version": str(ask.version()), "destination_type": kind}).text)
        needed = {field.id for field in fields(kind) if field.required}
        assert {name for name, text in page.mistakes.items() if text == "Is required."} == needed, kind


def test_mistakes_in_credentials_stand_at_their_fields(ask: Asked) -> None:
    for kind in TYPES:
        access = access_of(destination_types()[kind])
        for way in access.authentications if access else ():
            ids = {field_id(way.name, one.name): one for one in way.fields}
            form = {
                "destination_type": kind,
                "credential.id": "a b",
                "credential.way": way.name,
                "credential.new": "true",
            }
            empty = Page(ask("POST", "parts/credentials", data=form).text)
            assert set(empty.mistakes) == {"credential.id", *(name for name, one in ids.items() if one.required)}
            in_own_words(empty)
            filled = Page(
                ask("POST", "parts/credentials", data={**form, **dict.fromkeys(ids, "{`" + "x" * 60_000)}).text
            )
            assert set(filled.mistakes) == {"credential.id", *ids}, (kind, way.name)
            in_own_words(filled)


def test_what_is_one_line_is_typed_in_one_line_and_a_secret_one_is_not_shown(ask: Asked) -> None:
    seen = set()
    for kind in TYPES:
        access = access_of(destination_types()[kind])
        text = ask("GET", f"parts/credentials?destination_type={kind}").text if access else ""
        for way in access.authentications if access else ():
            for one in way.fields:
                (tag,) = re.findall(
                    rf'<(?:input|textarea)[^>]* id="{re.escape(field_id(way.name, one.name))}"[^>]*>', text
                )
                wanted = (
                    f'<input type="{"password" if one.secret else "text"}"' if one.shape.in_one_line else "<textarea"
                )
                assert tag.startswith(wanted), (kind, one.name, tag)
                seen.add((one.shape, one.secret))
    assert {(Shape.ADDRESS, True), (Shape.ADDRESS, False), (Shape.LINE, True)} <= seen


def test_every_mistake_that_a_test_tells_has_its_place_on_the_page(ask: Asked, tmp_path: Path) -> None:
    lake = {"type": "file", "path": str(tmp_path)}
    assert ask("PUT", "api/v1/settings", json={"destinations": {"lake": lake}}).status_code == 200
    form = {"destination_name": "lake", "destination_type": "file", "option.path": str(tmp_path)}
    told = Page(ask("POST", "parts/test", data=form).text).errors.keys()
    assert "destination_name" in told and "option.path" in told
    for path in ("destinations/lake", "parts/destination?destination_name=lake&destination_type=file"):
        assert told <= Page(ask("GET", path).text).errors.keys(), path


def test_a_fault_of_ours_is_told_as_one_and_without_its_words(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("canary-inside")

    monkeypatch.setattr("logstream.console.service.destinations.DestinationService.page", broken)
    monkeypatch.setattr("logstream.console.service.destinations.DestinationService.statuses", broken)
    monkeypatch.setattr("logstream.console.service.messages.MessageService.preview", broken)
    for method, path in (("GET", "destinations"), ("GET", "api/v1/destinations"), ("POST", "parts/preview")):
        answer = ask(method, path)
        assert answer.status_code == 500
        assert "The api-server's log has the details" in unescape(answer.text), answer.text
        assert "Internal Server Error" not in answer.text and "canary-inside" not in answer.text


def test_no_test_is_made_that_the_audit_cannot_name(ask: Asked, tmp_path: Path) -> None:
    """A name of megabytes went to the receiver, and what was kept of who did was nothing."""
    form = {"destination_type": "file", "option.path": str(tmp_path / "lake")}
    for name in ("n" * 900_000, "n" * 300, "a/../b", "\N{RIGHT-TO-LEFT OVERRIDE}evil"):
        answer = ask("POST", "parts/test", data={**form, "destination_name": name})
        assert "Not tested: correct Destination name first" in answer.text
        assert re.search('id="error-destination_name"[^>]*>[^<]', answer.text), "at its field"
    assert not list(tmp_path.iterdir())
    for name in ("lake", ""):
        answer = ask("POST", "parts/test", data={**form, "destination_name": name})
        assert "It works" in answer.text and re.search('id="error-destination_name"[^>]*></p>', answer.text)
    tests = [event["subject"] for event in ask("GET", "api/v1/audit-events").json()]
    assert tests == ["unsaved", "lake"]


def test_a_backfill_of_more_destinations_than_it_may_name_is_refused_in_words(ask: Asked) -> None:
    lake = {"type": "file", "path": "/tmp/x"}
    names = [f"lake-{number}" for number in range(1001)]
    document = {"destinations": {name: {**lake, "path": f"/tmp/{name}"} for name in names}}
    assert ask("PUT", "api/v1/settings", json=document).status_code == 200
    form = {"start": "2026-03-01T00:00", "end": "2026-03-01T01:00"}
    answer = ask("POST", "parts/backfill", data={**form, "destinations": ",".join(names)})
    assert answer.status_code == 200 and "1,000 destinations at most" in answer.text
    twice = ask("POST", "parts/backfill", data={**form, "destinations": ",".join(["lake-1"] * 1001)})
    assert twice.status_code == 200 and "at most" not in twice.text


def test_what_a_failed_test_says_is_what_to_do(ask: Asked) -> None:
    """Of each type, without its connection; what receivers answer is in the contract suites."""
    for kind in TYPES:
        made = destination_types()[kind]
        if not made.connection_type:
            continue
        options = {field.id: field.example or field.default for field in fields(kind) if field.required}
        form = {"destination_type": kind, **options, "option.connection": "nowhere"}
        text = ask("POST", "parts/test", data=form).text
        assert 'class="bad"' in text and 'class="remedy"' in text, (kind, text)
        in_own_words(Page(text))


def test_a_field_that_a_refused_save_found_fault_with_is_looked_at_again(ask: Asked) -> None:
    form = {"message": '{"a": {{{nothing}}}}', "mask": "email", "log_types": "x" * 300, "events": "log_service"}
    refused = ask("POST", "settings", data={**form, "enabled": "true", "version": str(ask.version())}).text
    faulted = re.search('name="faulted" value="([^"]*)"', refused)
    assert faulted is not None and set(faulted[1].split()) >= {"message", "mask", "destination_name"}
    form = {**form, "preview_kind": "job", "faulted": faulted[1]}
    told = Page(ask("POST", "parts/preview", data=form).text)
    assert told.errors.keys() == set(faulted[1].split()) - {"destination_name", "destination_type"}
    assert {"message", "mask"} <= told.mistakes.keys()
    mended = {**form, "message": '{"a": {{{log_message}}}}', "mask": "$.email", "log_types": "x"}
    told = Page(ask("POST", "parts/preview", data=mended).text)
    assert told.mistakes == {} and {"message", "mask"} <= told.errors.keys()
    # who types for the first time has the preview to say so
    assert Page(ask("POST", "parts/preview", data={**form, "faulted": ""}).text).errors == {}


def test_a_folder_that_is_not_allowed_is_no_matter_of_a_connection(
    ask: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    monkeypatch.setenv("LOGSTREAM_FILE_ROOTS", ":".join(map(str, roots)))
    form = {"destination_type": "file", "option.path": str(tmp_path / "three")}
    text = ask("POST", "parts/test", data=form).text
    assert "onnection" not in text and "<code>LOGSTREAM_FILE_ROOTS</code>" in text
    assert all(str(root) in text for root in [*roots, tmp_path / "three"])
    in_own_words(Page(text))


def test_the_check_of_the_log_store_has_no_raw_marks(ask: Asked, store: psycopg.Connection) -> None:
    for spoil in ("alter table events alter column recorded_at drop default", "alter table events rename to gone"):
        store.execute(spoil)
        text = ask("GET", "parts/log-store").text
        assert 'class="remedy"' in text and "`" not in Page(text).prose and ";." not in text
    assert "<code>log_store</code>" in text


# hints


GOES_WITH = {"columns": {"packaging": "parquet"}, "kms_key_id": {"encryption": "aws:kms"}}
"""What fields are for: without it they are refused."""


def test_every_hint_looks_like_one_and_fits_its_field(ask: Asked) -> None:
    for kind in TYPES:
        page = Page(ask("GET", f"parts/destination?destination_type={kind}&destination_name=new").text)
        model = destination_types()[kind].options_model
        for field in fields(kind):
            if field.control in (Control.SWITCH, Control.CHOICE):
                continue
            hint = page.hints[field.id]
            assert hint.startswith("e.g. ") and len(hint) > len("e.g. "), (kind, field.name, hint)
            if field.control is not Control.CONNECTION:
                typed = options_of(model, {field.id: [hint.removeprefix("e.g. ")]})
                typed |= GOES_WITH.get(field.name, {})
                assert field.id not in destination_mistakes({"type": kind, **typed}), (kind, field.name, hint)
        assert (
            page.hints["option.connection"] == f"e.g. {kind}_audit"
            if "option.connection" in page.hints
            else kind == "file"
        )


SAID = {
    "Left empty, each event is sent as it is.", "Left empty, the template of all kinds is used.", "Name or type",
    "Id, external id or name", "Name, id, external id, destination",
}  # fmt: skip
"""Hints that say what to do, or what is looked for."""


def test_no_hint_of_any_page_looks_filled_in(ask: Asked, store: psycopg.Connection) -> None:
    store.execute("insert into workspaces (id, external_id, name, role) values (1, 'a', 'Acme', 'customer')")
    found: set[str] = set()
    for path in ("settings", "customers", "customers/1", "destinations", "deliveries", "dead-letters", "notices", "customers/1/notices",
                 "activity", "parts/credentials?destination_type=s3", "parts/credentials?destination_type=http"):  # fmt: skip
        page = Page(ask("GET", path).text)
        hints = {hint for hint in page.hints.values() if hint}
        assert {hint for hint in hints if not hint.startswith("e.g. ")} <= SAID, path
        assert "`" not in page.prose, path
        found |= hints
    assert len(found) > 10
    style = ask("GET", "static/console.css").text
    assert re.search(r"::placeholder \{[^}]*font-style: italic", style), "it is told from what was typed in"


def test_no_field_that_is_needed_is_hidden(ask: Asked) -> None:
    """Neither below "More options" nor in any other fold."""
    for kind in TYPES:
        text = ask("GET", f"parts/destination?destination_type={kind}&destination_name=new").text
        folded = "".join(re.findall(r"<details.*?</details>", text, re.DOTALL))
        for field in fields(kind):
            assert f'id="{field.id}"' in text, (kind, field.name)
            if field.required:
                assert f'id="{field.id}"' not in folded, (kind, field.name)
                label = re.escape(option_label(field.name))
                assert re.search(rf'<label for="{re.escape(field.id)}">{label} <span class="star"', text), (
                    kind,
                    field.name,
                )


def test_log_types_and_levels_are_picked_and_others_added(ask: Asked, store: psycopg.Connection) -> None:
    store.execute("insert into workspaces (id, external_id, name, role) values (1, 'a', 'Acme', 'customer')")
    form = {
        "events": "log_service", "log_types": ["recipe", "webhook, trigger"], "log_levels": ["warn", "fatal"], "destination_name": "",
    }  # fmt: skip
    for path, place in (("settings", "settings/admin"), ("customers/1", "workspaces/1/settings")):
        assert ask("POST", path, data={**form, "version": str(ask.version())}).status_code == 303
        saved = ask("GET", f"api/v1/{place}").json()
        assert (saved["log_types"], saved["log_levels"]) == (["recipe", "webhook", "trigger"], ["warn", "fatal"])
        text = ask("GET", path).text
        for name, known, other in (("log_types", "recipe", "webhook, trigger"), ("log_levels", "warn", "fatal")):
            assert re.search(rf'<input type="checkbox" name="{name}" value="{known}" checked', text)
            assert re.search(rf'<input name="{name}" id="{name}" value="{other}"', text)


def test_types_stand_in_the_order_in_which_people_look_for_them(ask: Asked) -> None:
    select = ask("GET", "settings").text.split('id="destination_type"', 1)[1].split("</select>", 1)[0]
    titles = re.findall(r'<option value="(\w+)"[^>]*>([^<]+)</option>', select)
    assert [name for name, _ in titles[:7]] == [
        "s3", "azure_blob", "azure_monitor", "gcs", "splunk_hec", "datadog", "sumo_logic",
    ]  # fmt: skip
    rest = [title for _, title in titles[7:]]
    assert rest == sorted(rest, key=str.casefold) and len(titles) == len(TYPES)
