"""Saving: what was not tested, or failed its test, warns first; what changes nothing makes no version; a file shows first what it changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.console.deps import the_console
from logstream.validation import validate_settings

from .asked import Asked, ask

__all__ = ["ask"]  # a fixture


@pytest.fixture
def there(ask: Asked, store: psycopg.Connection, tmp_path: Path) -> Asked:
    """A destination that works, and a customer."""
    store.execute("insert into workspaces (id, external_id, name, role) values (1, 'a', 'Acme', 'customer')")
    (tmp_path / "blocked").write_text("a file where a folder should be")
    lake = {"type": "file", "path": str(tmp_path / "lake")}
    assert ask("PUT", "api/v1/settings", json={"destinations": {"lake": lake}}).status_code == 200
    return ask


FORMS: dict[str, dict[str, str]] = {
    "settings": {"events": "job_status", "destination_name": "pond"},
    "customers/1": {"enabled": "true", "events": "job_status", "destination_name": "puddle"},
    "destinations/lake/options": {"destination_name": "lake"},
}
"""The forms that have a destination."""


def form_of(ask: Asked, page: str, path: Path, **more: Any) -> dict[str, Any]:
    return {**FORMS[page], "version": str(ask.version()), "destination_type": "file", "option.path": str(path),
            "option.manifests": "true", **more}  # fmt: skip


def note_of(ask: Asked, form: dict[str, Any]) -> str:
    """What a test of the destination leaves in the form."""
    answer = ask("POST", "parts/test", data=form).text
    found = re.search(r'<input type="hidden" name="tested" value="([^"]+)">', answer)
    assert found is not None, answer
    return found[1]


def test_what_was_not_tested_as_it_is_warns_first_in_every_form(there: Asked, tmp_path: Path) -> None:
    for page in FORMS:
        own = page.replace("/", "-")
        good, bad = tmp_path / f"{own}-pond", tmp_path / "blocked" / own
        before = there.version()
        form = form_of(there, page, good)
        untested = there("POST", page, data=form)
        assert untested.status_code == 200 and "was not tested as it is now" in untested.text
        assert 'name="anyway"' in untested.text and str(good) in untested.text, "what was filled in is still there"
        # the result of a test is of what was tested alone
        note = note_of(there, form)
        changed = there("POST", page, data={**form, "option.path": f"{good}2", "tested": note})
        assert "was not tested as it is now" in changed.text
        for forged in (note[:-3] + "abc", "x" * 500, note.split(".")[0]):
            assert "was not tested as it is now" in there("POST", page, data={**form, "tested": forged}).text
        failing = form_of(there, page, bad)
        failed = there("POST", page, data={**failing, "tested": note_of(there, failing)})
        assert "has failed its test" in failed.text and "every window is owed to it" in failed.text
        assert there.version() == before, "nothing of it was saved"
        # one that passed is saved at once, and so is one that a person wants anyway
        passed = there("POST", page, data={**form, "tested": note})
        assert (passed.status_code, there.version()) == (303, before + 1)
        anyway = there("POST", page, data={**failing, "version": str(there.version()), "anyway": "1"})
        assert (anyway.status_code, there.version()) == (303, before + 2)


def test_what_changes_nothing_makes_no_version_and_asks_nothing(there: Asked, tmp_path: Path) -> None:
    for page in FORMS:
        form = form_of(there, page, tmp_path / "lake", destination_name="lake")
        there("POST", page, data={**form, "anyway": "1"})
        before = there.version()
        again = there("POST", page, data={**form, "version": str(before)})
        assert again.status_code == 303 and "unchanged=true" in again.headers["location"]
        assert there.version() == before
        shown = there("GET", again.headers["location"].removeprefix("/logstream/")).text
        assert f"this is what version {before} says" in shown
    document = there("GET", "api/v1/settings").json()
    assert there("PUT", "api/v1/settings", json=document).json()["version"] == before
    assert (
        there("PUT", "api/v1/settings.yaml", content=there("GET", "api/v1/settings.yaml").text).json()["version"]
        == before
    )


def test_history_says_in_a_line_what_changed(there: Asked, tmp_path: Path) -> None:
    lake = there("GET", "api/v1/settings").json()["destinations"]["lake"]
    document: dict[str, Any] = {"destinations": {"lake": {**lake, "lanes": 7}}}
    said = []
    for change in (
        {}, {"admin": {"enabled": True, "events": ["job_status"], "destination": "lake"}},
        {"admin": {"enabled": False, "events": ["job_status"], "destination": "lake"}},
        {"destinations": {"lake": {**lake, "lanes": 7}, "<b>": None}},
    ):  # fmt: skip
        document |= {name: value for name, value in change.items() if name != "destinations"}
        version = there("PUT", "api/v1/settings", json=document).json()["version"]
        said.append(there("GET", f"parts/changed/{version}").text)
        assert f'hx-get="/logstream/parts/changed/{version}"' in there("GET", "history").text
    assert said == [
        "destination lake: lanes",
        "all workspaces: new",
        "all workspaces: switched off",
        "all workspaces: switched off",
    ]


def test_a_message_of_several_lines_is_shown_in_its_lines(there: Asked) -> None:
    document = there("GET", "api/v1/settings").json()
    admin = {"enabled": True, "events": ["job_status"], "destination": "lake"}
    message = '{\n\t"event": {{{log_message}}}\n}\n'
    version = there("PUT", "api/v1/settings", json={**document, "admin": {**admin, "message": message}}).json()[
        "version"
    ]
    shown = there("GET", f"history/{version}").text
    assert "\N{REPLACEMENT CHARACTER}" not in shown
    assert "<ins>{\n\t&#34;event&#34;: {{{log_message}}}\n}\n</ins>" in shown


def test_a_file_shows_what_it_changes_before_it_is_put_in_force(there: Asked, tmp_path: Path) -> None:
    before = there.version()
    lake = there("GET", "api/v1/settings").json()["destinations"]["lake"]
    text = f"destinations:\n  lake: {{type: file, path: {lake['path']}, lanes: 9}}\n"

    def choose(content: str, version: int = before) -> Any:
        return there("POST", "history", data={"version": str(version)}, files={"file": ("settings.yaml", content)})

    shown = choose(text)
    assert shown.status_code == 200 and "Nothing has changed yet" in shown.text
    assert "destinations.lake.lanes" in shown.text and "<ins>9</ins>" in shown.text
    assert there.version() == before
    same = choose(there("GET", "api/v1/settings.yaml").text)
    assert "Nothing would change" in same.text and 'name="seen"' not in same.text
    for broken, wrong in (("a: [", "line 1"), ("destinations: {x: {type: nope}}", "no destination type"), ("", "")):
        answer = choose(broken)
        assert wrong in answer.text and there.version() == before
    seen = {"version": (None, str(before)), "seen": (None, text)}
    assert there("POST", "history", files=seen).status_code == 303
    assert there.version() == before + 1
    # who was slower is told what has changed meanwhile, and nothing of theirs is in force
    moved = there("POST", "history", files={**seen, "seen": (None, "version: 1")})
    assert moved.status_code == 409 and "have changed meanwhile" in moved.text
    assert there("GET", "api/v1/settings").json()["destinations"]["lake"]["lanes"] == 9


@pytest.mark.parametrize("page", FORMS)
def test_a_save_that_is_sent_twice_is_no_conflict_with_itself(there: Asked, tmp_path: Path, page: str) -> None:
    form = form_of(there, page, tmp_path / "twice", anyway="true")
    first, second = there("POST", page, data=form), there("POST", page, data=form)
    assert first.status_code == second.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    assert there("GET", first.headers["location"].removeprefix("/logstream/")).text.count("Saved") == 1
    # what differs is one still: the second user is told
    assert there("POST", page, data={**form, "option.path": str(tmp_path / "other")}).status_code == 409


def test_two_requests_at_once_with_the_same_settings_make_one_version(there: Asked) -> None:
    settings, version = the_console().exporter.settings, there.version()
    wanted = validate_settings({"destinations": {"pond": {"type": "file", "path": "/tmp/pond"}}})
    # both have looked at the version in force before either has saved
    found = [settings.apply(wanted, "ann", expected=version) for _ in range(2)]
    assert found[0].id == found[1].id == there.version() == version + 1


def test_those_who_only_look_are_told_so_beside_every_form(there: Asked) -> None:
    for page in ("settings", "customers/1", "destinations/lake", "notices", "customers/1/notices"):
        assert "You may look at this and not change it." in there("GET", page, "viewer").text, page
        assert "You may look at this and not change it." not in there("GET", page).text, page
    page = there("GET", "notices", "viewer").text
    assert "There are none." in page and "<legend>" not in page, "a viewer gets no empty fields for a receiver"
    assert "<legend>A receiver</legend>" in there("GET", "notices").text


def test_a_mistake_in_a_workspaces_own_setting_is_told_by_its_place_in_what_was_sent(
    ask: Asked, tmp_path: Path
) -> None:
    lake = {"type": "file", "path": str(tmp_path)}
    streaming = {"enabled": True, "events": ["job_details"], "destination": "lake"}
    everything = {"destinations": {"lake": lake}, "workspaces": [{"id": 7, "streaming": streaming}]}
    assert ask("PUT", "api/v1/settings", json=everything).status_code == 200
    wrong = ask("PUT", "api/v1/workspaces/8/settings", json={**streaming, "events": ["no_such"]})
    assert wrong.status_code == 422
    assert [problem.partition(":")[0] for problem in wrong.json()["problems"]] == ["events[0]"]
