"""Hostile names and hostile requests."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import expect

from logstream.console.app import create_app, openapi_document
from logstream.testing.airflow import USERS

from ..stage import Stage
from .person import OVERRIDDEN, Person, call, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.timeout(300)]

HOSTILE = {
    700: "<script>window.broken=1</script><img src=x onerror=window.broken=1>",
    701: "\u202eevil\u202c\u2066name",
    702: "x" * 10_000,
    703: "{{ 7 * 7 }}\"'`</title>",
}


def test_hostile_names_stay_names(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    with psycopg.connect(stage.store, autocommit=True) as store:
        for number, name in HOSTILE.items():
            store.execute("insert into workspaces (id, external_id, name) values (%s, %s, %s)", (number, name, name))
    try:
        admin.page.wait_for_timeout(2_200)  # for as long the list of workspaces is kept
        for path in ("customers", *(f"customers/{number}" for number in HOSTILE), "customers?query=%3Cscript%3E"):
            page = admin.visit(path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            assert page.evaluate("window.broken") is None
            assert len(page.content()) < 150_000
            assert "\u202e" not in page.inner_text("main")
        expect(page.get_by_role("row", name="<script>window.broken=1").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    finally:
        with psycopg.connect(stage.store, autocommit=True) as store:
            store.execute("delete from workspaces where id >= 700")
    status, _, _ = call(
        stage, "PUT", "api/v1/destinations/%3Cscript%3E", {"type": "file", "path": "/tmp/x"}, If_Match="*"
    )
    assert status == 422


def test_no_request_breaks_it(stage: Stage, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(openapi_document(create_app(), pages=True)))
    token = stage.airflow.call("POST", "/auth/token", {"username": "admin", "password": USERS["admin"]})["access_token"]
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "run", str(document), "--url", f"{stage.airflow.url}/logstream",
        "-H", f"Authorization: Bearer {token}", "--checks", "not_a_server_error", "--phases", "coverage,fuzzing",
        "--max-examples", "3", "--seed", "1", "--exclude-name-regex",
        "^POST .*/(backfills?|redeliveries|deliveries|dead-letters)$",  # they start runs
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout


def send(stage: Stage, method: str, path: str, body: bytes, **headers: str) -> int:
    """Send raw bytes to the console; the status."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"{stage.airflow.url}/logstream/{path}", body, sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def token_of(stage: Stage, user: str) -> str:
    answer = stage.airflow.call("POST", "/auth/token", {"username": user, "password": USERS[user]})
    return f"Bearer {answer['access_token']}"


def test_a_stranger_is_sent_away_before_the_body_is_read(stage: Stage) -> None:
    for path in ("api/v1/preview", "api/v1/backfills", "api/v1/check"):
        assert send(stage, "POST", path, b"{" * 1_000, Content_Type="application/json") == 401, path


def test_a_body_has_a_limit(stage: Stage) -> None:
    # refused by what it says of its length, before it has arrived
    connection = http.client.HTTPConnection("127.0.0.1", stage.airflow.port, timeout=30)
    connection.putrequest("PUT", "/logstream/api/v1/settings")
    for name, value in {
        "Authorization": token_of(stage, "admin"),
        "Content-Type": "application/json",
        "Content-Length": "21000000",
        "If-Match": "*",
    }.items():
        connection.putheader(name, value)
    connection.endheaders(b"{")
    assert connection.getresponse().status == 413
    connection.close()


def test_control_characters_are_refused(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    for path in (
        "deliveries?destination=a%00b",
        "customers?query=%1b%5b2J",
        "api/v1/workspaces?query=%00",
        "customers%00",
    ):
        assert call(stage, "GET", path)[0] == 422, path
    changed = {**OVERRIDDEN, "destinations": {"lake": {"type": "file", "path": "/tmp/a\x00b"}}}
    status, answer, _ = call(stage, "PUT", "api/v1/settings", changed, If_Match="*")
    assert (status, answer["problems"]) == (422, ["destinations.lake.path: holds a control character"])
    admin.visit()
    form = {"csrf_token": admin.token(), "version": "1", "destination_name": "a\x00b"}
    assert admin.context.request.post(admin.base + "settings", form=form).status == 422


def test_pages_say_only_what_was_done(admin: Person, stage: Stage) -> None:
    """A link cannot put words into the page's mouth."""
    start_from(stage, OVERRIDDEN)
    for path in ("destinations", "deliveries", "dead-letters"):
        for lie in ("done=Your+session+has+ended%3A+call+555-1234", "done=held&name=a+b", "done=__class__"):
            expect(admin.visit(f"{path}?{lie}").locator(".note.good")).to_have_count(0)
    expect(admin.visit("settings?saved=4711").locator(".note.good")).to_have_count(0)
    page = admin.visit("destinations?done=held&name=lake&run=https://evil.example")
    expect(page.get_by_role("status")).to_contain_text("lake is held")
    expect(page.get_by_role("link", name="Watch it in Airflow")).to_have_count(0)


def test_viewers_do_not_see_what_receivers_answer(viewer: Person, admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    with psycopg.connect(stage.store, autocommit=True) as store:
        store.execute(
            "insert into logstream.destinations (name, failures, error) values ('lake', 1, 'their very words')"
            " on conflict (name) do update set failures = 1, error = 'their very words'"
        )
    try:
        expect(admin.visit("destinations").get_by_text("their very words")).to_be_visible()
        expect(viewer.visit("destinations").get_by_role("row", name="lake")).to_contain_text(
            "shown to those who may change"
        )
        assert call(stage, "GET", "api/v1/destinations")[1][0]["error"] == "their very words"
        assert "very words" not in json.dumps(call(stage, "GET", "api/v1/destinations", user="viewer")[1])
    finally:
        with psycopg.connect(stage.store, autocommit=True) as store:
            store.execute("update logstream.destinations set failures = 0, error = null")
