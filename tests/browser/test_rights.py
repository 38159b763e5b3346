"""Who may look, who may change, and that no other site acts in their name."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Browser, expect

from logstream.console.app import create_app
from logstream.testing.airflow import USERS

from ..stage import Stage
from .person import OVERRIDDEN, PAGES, Person, call, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.timeout(300)]


def test_viewers_look_and_do_not_touch(viewer: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    before = call(stage, "GET", "api/v1/settings")
    for path in PAGES:
        page = viewer.visit(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        for word in ("Save", "Hold", "Import", "Retry", "Test destination", "Start the backfill"):
            expect(page.get_by_role("button", name=word)).to_have_count(0)
    viewer.visit()
    token = viewer.token()
    for path, form in (
        ("settings", {"version": "1", "events": "job_status"}),
        ("customers/100", {"version": "1", "do": "remove"}),
        ("destinations/lake", {"do": "hold"}),
        ("destinations/lake/options", {"version": "1", "destination_type": "file"}),
        ("parts/test", {"destination_type": "file", "option.path": "/tmp/x"}),
        ("history", {"version": "1", "file": "version: 1"}),
        ("notices", {"version": "1", "receiver.0.kind": "webhook", "receiver.0.connection": "siem"}),
        ("customers/100/notices", {"version": "1", "receiver.0.kind": "webhook", "receiver.0.connection": "siem"}),
        ("parts/credentials", {"destination_type": "s3", "credential.id": "x", "credential.new": "true"}),
        ("parts/rights", {"destination_type": "s3"}),
        ("deliveries", {"destination": "lake"}),
        ("dead-letters", {"do": "discard", "letter": "1:1", "note": "mine"}),
        ("parts/backfill", {"start": "2025-03-01T00:00", "end": "2025-03-02T00:00", "do": "start"}),
    ):
        answer = viewer.context.request.post(viewer.base + path, form={**form, "csrf_token": token})
        assert answer.status == 403, (path, answer.status)
    assert call(stage, "GET", "api/v1/settings", user="viewer")[1] == before[1]
    assert call(stage, "PUT", "api/v1/settings", {}, user="viewer", If_Match="*")[0] == 403
    assert call(stage, "POST", "api/v1/preview", {"newest": True}, user="viewer")[0] == 403
    assert call(stage, "GET", "api/v1/rejected/1/1", user="viewer")[0] == 403, "a real event"
    assert viewer.context.request.get(viewer.base + "parts/dead-letter/1/1").status == 403
    assert call(stage, "POST", "api/v1/rejected/discard", {"events": [], "note": "x"}, user="viewer")[0] == 403
    assert call(stage, "POST", "api/v1/preview", {"message": '{"m": {{{log_message}}}}'}, user="viewer")[0] == 200
    assert call(stage, "GET", "api/v1/settings")[2]["etag"] == before[2]["etag"]


def every_route() -> list[tuple[str, str]]:
    """Every route of the console with parameters filled in."""
    lines = [
        f"{method} {route.path}" for route in create_app().routes for method in getattr(route, "methods", None) or ()
    ]
    filled = [
        re.sub(r"\{(\w+)\}", lambda found: "lake" if found[1] in ("name", "kind") else "100", line)
        for line in lines
        if line.split(" ")[0] in ("GET", "POST", "PUT", "DELETE")
    ]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].lstrip("/")) for line in filled]


def test_stranger_reads_or_writes_anything(stage: Stage, chromium: Browser) -> None:
    routes = every_route()
    assert len(routes) > 50
    for method, path in routes:
        status, answer, headers = call(stage, method, path, {} if method != "GET" else None, user=None)
        if path.startswith("api/"):
            assert status == 401, (method, path, status)
        else:
            assert status in (303, 307), (method, path, status)
            assert "/auth/login" in headers["location"]
        assert "lake" not in json.dumps(answer).replace(path, "")
    stranger = Person(chromium, stage, None)
    page = stranger.visit_directly("customers")
    expect(page.get_by_label("Username")).to_be_visible()
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(USERS["admin"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Customers")).to_be_visible()
    stranger.context.close()


def test_another_site_cannot_act_in_somebodys_name(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    admin.visit()
    token, post = admin.token(), admin.context.request.post
    url, form = admin.base + "destinations/lake", {"do": "hold"}
    assert post(url, form=form).status == 403
    assert post(url, form={**form, "csrf_token": token[:-2] + "xx"}).status == 403
    assert post(url, form={**form, "csrf_token": token}, headers={"Origin": "https://evil.example"}).status == 403
    assert post(url, form={**form, "csrf_token": token}, headers={"Sec-Fetch-Site": "cross-site"}).status == 403
    json_headers = {"Content-Type": "application/json", "If-Match": "*"}
    put = admin.context.request.put
    assert put(admin.base + "api/v1/settings", data="{}", headers=json_headers).status == 403
    held = call(stage, "POST", "api/v1/destinations/lake/suspend", Origin="https://evil.example")
    assert held[0] == 403, "not with a bearer token either"
    condition = call(stage, "GET", "api/v1/destinations")[1][0]["condition"]
    assert condition != "held", "whatever other tests have delivered there"
    assert post(url, form={**form, "csrf_token": token}).ok
    assert post(url, form={"do": "resume", "csrf_token": token}).ok


def test_no_secret_reaches_a_browser(admin: Person, stage: Stage) -> None:
    document = {
        **OVERRIDDEN,
        "destinations": {**OVERRIDDEN["destinations"], "siem": {"type": "http", "connection": "siem"}},
    }
    start_from(stage, document)
    for path in [*PAGES, "destinations/siem", "parts/destination?destination_type=http", "api/v1/destinations"]:
        text = admin.context.request.get(admin.base + path).text()
        assert stage.sink.token not in text
        assert "dbname=" not in text, path
        assert "postgres" not in text.lower(), path
    text = json.dumps(call(stage, "POST", "api/v1/check", {"type": "http", "connection": "siem"})[1])
    assert stage.sink.token not in text
