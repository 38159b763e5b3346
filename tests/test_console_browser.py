"""The console as people use it: Debian's Chromium, the real api-server, the real database, a real run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from logstream.testing.airflow import USERS
from logstream.window import Window

from .stage import DAY, PROJECT, WINDOWS, Stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

AXE = PROJECT / ".venv/node/node_modules/axe-core/axe.min.js"
PICTURES = os.environ.get("LOGSTREAM_PICTURES")
"""Where to keep pictures of the pages; they are only looked at where it is set."""

OURS = [Window(DAY + timedelta(hours=hour), DAY + timedelta(hours=hour + 2)) for hour in (2, 8, 14)]
"""Windows that are none of the schedule's, nor of other tests: a run is named by the start of its window."""

PAGES = ["", "customers", "customers/100", "destinations", "destinations/lake", "deliveries", "dead-letters", "history"]
WIDE = {"width": 1360, "height": 960}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = subprocess.run(
        [str(PROJECT / "deploy/chromium.sh")], check=True, capture_output=True, text=True, timeout=240
    ).stdout.strip()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Person:
    """Somebody with a browser, logged in as a user of Airflow (or as nobody)."""

    def __init__(self, browser: Browser, stage: Stage, user: str | None, scheme: Any = "light") -> None:
        self.stage, self.user = stage, user
        self.context: BrowserContext = browser.new_context(viewport=WIDE, color_scheme=scheme)  # type: ignore[arg-type]
        self.context.set_default_timeout(20_000)
        self.base = f"{stage.airflow.url}/logstream/"
        if user:
            answer = stage.airflow.call("POST", "/auth/token", {"username": user, "password": USERS[user]})
            cookie = {"name": "_token", "value": answer["access_token"], "url": stage.airflow.url, "httpOnly": True}
            self.context.add_cookies([cookie])  # type: ignore[list-item]
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: dialog.accept())

    def _hear(self, said: ConsoleMessage) -> None:
        # htmx says so of a request that somebody navigates away from; the browser says so of one that fails
        if said.type == "error" and not said.text.startswith(("htmx:afterRequest", "htmx:sendAbort", "htmx:sendError")):
            self.complaints.append(said.text)

    def visit(self, path: str = "") -> Page:
        self.page.goto(self.base + path)
        return self.page

    def token(self) -> str:
        """The token that this person's pages hold."""
        held = json.loads(self.page.locator("body").get_attribute("hx-headers") or "{}")
        return str(held["X-CSRF-Token"])


@pytest.fixture
def admin(chromium: Browser, stage: Stage) -> Iterator[Person]:
    person = Person(chromium, stage, "admin")
    yield person
    person.context.close()
    assert person.complaints == []


@pytest.fixture
def viewer(chromium: Browser, stage: Stage) -> Iterator[Person]:
    person = Person(chromium, stage, "viewer")
    yield person
    person.context.close()


def call(
    stage: Stage, method: str, path: str, body: object = None, user: str | None = "admin", **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """Call the console's API: status, answer, headers."""
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if user:
        answer = stage.airflow.call("POST", "/auth/token", {"username": user, "password": USERS[user]})
        sent["Authorization"] = f"Bearer {answer['access_token']}"
    url = f"{stage.airflow.url}/logstream/{path}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, sent, method=method)
    try:
        with _opener.open(request, timeout=60) as response:
            text, status, found = response.read(), response.status, response.headers
    except urllib.error.HTTPError as error:
        text, status, found = error.read(), error.code, error.headers
    try:
        answer = json.loads(text)
    except ValueError:
        answer = text.decode()
    return status, answer, {name.lower(): value for name, value in found.items()}


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_Stay)


def start_from(stage: Stage, document: dict[str, Any]) -> None:
    """Put settings in force as `settings apply` would."""
    status, answer, _ = call(stage, "PUT", "api/v1/settings", document, If_Match="*")
    assert status == 200, answer


def fill_destination(page: Page, name: str, bucket: str, prefix: str = "") -> None:
    """Fill in an S3 destination."""
    page.get_by_label("Destination name").fill(name)
    page.get_by_label("Destination type").select_option("s3")
    page.get_by_role("button", name="lake", exact=True).click()  # the connection, of those of type aws
    expect(page.get_by_label("Connection")).to_have_value("lake")
    page.get_by_label("Bucket").fill(bucket)
    if prefix:
        page.get_by_label("Prefix").fill(prefix)


def test_an_override_from_nothing(admin: Person, stage: Stage, bucket: str) -> None:
    start_from(stage, {})
    page = admin.visit()
    page.get_by_label("Enable setup and streaming of customer audit logs").check()
    for event in ("Job details", "User activity", "API platform logs", "Log events"):
        page.get_by_role("checkbox", name=event).check()
    expect(page.get_by_label("Log levels")).to_be_visible()
    fill_destination(page, "lake", bucket, "all/")
    page.get_by_label("Packaging").select_option("batch")
    page.get_by_role("button", name="Test destination").click()
    expect(page.locator("#steps")).to_contain_text("It works")
    page.get_by_label("Destination name").scroll_into_view_if_needed()
    picture(admin, "destination-light")
    page.get_by_role("button", name="splunk").click()
    expect(page.locator("#preview pre")).to_contain_text('"sourcetype": "workato:audit"')
    expect(page.locator("#preview pre")).to_contain_text('"master_job_id"')
    page.get_by_label("Preview with").select_option("user_activity")
    expect(page.locator("#preview pre")).to_contain_text('"event_type"')
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("What happens now:")).to_be_visible()
    assert call(stage, "GET", "api/v1/settings/admin")[1]["destination"] == "lake"
    run = "console_override"
    assert stage.run(OURS[0], run) == "success"
    page = admin.visit("deliveries?destination=lake")
    row = page.get_by_role("row", name=re.compile(f"{OURS[0].start:%Y-%m-%d %H:%M:%S}")).first
    expect(row).to_contain_text("delivered")
    expect(page.locator("svg")).to_be_visible()
    assert row.get_by_role("link", name="run").get_attribute("href") == f"/dags/logstream_export/runs/{run}"
    log = row.get_by_role("link", name="log").get_attribute("href") or ""
    assert re.fullmatch(rf"/dags/logstream_export/runs/{run}/tasks/deliver/mapped/\d+", log), log
    found = stage.airflow.call("GET", f"/api/v2/dags/logstream_export/dagRuns/{run}/taskInstances/seal_window/links")
    assert found["extra_links"] == {"Deliveries": f"{admin.base}deliveries"}
    keys = stage.s3.objects(bucket)
    assert any(key.startswith("all/") for key in keys), sorted(keys)
    assert b'"sourcetype": "workato:audit"' in next(
        body for key, body in keys.items() if ".ndjson" in key and "_manifests" not in key
    )


def test_two_customers_and_their_own_destinations(admin: Person, stage: Stage, bucket: str) -> None:
    start_from(stage, {})
    for workspace, name in ((100, "east"), (101, "west")):
        page = admin.visit("customers")
        page.get_by_label("Search").fill(f"c{workspace - 100}")
        page.get_by_role("link", name=f"Customer {workspace - 100}", exact=True).click()
        page.get_by_label("Stream this workspace's audit logs").check()
        page.get_by_role("checkbox", name="User activity").check()
        fill_destination(page, name, bucket, f"{name}/")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status").first).to_contain_text("Saved")
    assert stage.run(OURS[1], "console_unique") == "success"
    keys = [key for key in stage.s3.objects(bucket) if "_manifests" not in key]
    assert {(key.split("/")[0], key.split("/")[1]) for key in keys} == {("east", "100"), ("west", "101")}
    page = admin.visit("customers?sort=destination&down=true")
    rows = page.locator("tbody tr")
    expect(rows.nth(0)).not_to_contain_text("own setting")
    expect(page.get_by_role("row", name="Customer 1 own setting west healthy")).to_be_visible()
    page = admin.visit("customers/101")
    expect(page.get_by_role("region", name="Deliveries")).to_contain_text(f"{OURS[1].start:%Y-%m-%d %H:%M:%S}")
    # taking one away again
    page.get_by_role("button", name="Remove this setting").click()
    expect(page.get_by_role("status").first).to_contain_text("Saved")
    assert call(stage, "GET", "api/v1/workspaces/101/settings")[1] is None


OVERRIDDEN = {
    "admin": {"enabled": False, "events": ["user_activity"], "destination": "lake"},
    "workspaces": [{"id": 100, "streaming": {"enabled": True, "events": ["user_activity"], "destination": "lake"}}],
    "destinations": {"lake": {"type": "file", "path": "/tmp/logstream-nowhere"}},
}


def test_the_override_warns_first_and_locks_then(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    page = admin.visit()
    warning = page.locator("#override")
    expect(warning).to_be_hidden()
    page.get_by_label("Enable setup and streaming of customer audit logs").check()
    expect(warning).to_contain_text("Switching this on overrides the settings of 1 workspace")
    expect(warning).to_contain_text("Customer 0")
    page.get_by_role("button", name="Save").click()
    expect(warning).to_contain_text("This overrides the settings of 1 workspace.")
    page = admin.visit("customers/100")
    expect(page.locator("#locked")).to_contain_text("stored, not used, and cannot be edited")
    expect(page.locator("#locked").get_by_role("link")).to_have_attribute("href", "/logstream/")
    expect(page.get_by_role("button", name="Save")).to_have_count(0)
    expect(page.get_by_role("checkbox", name="User activity")).to_be_disabled()
    own = {"enabled": True, "events": ["job_status"], "destination": "lake"}
    status, answer, _ = call(stage, "PUT", "api/v1/workspaces/100/settings", own, If_Match="*")
    assert status == 409
    assert "switch the admin setting off" in answer["detail"]
    assert call(stage, "DELETE", "api/v1/workspaces/100/settings", If_Match="*")[0] == 409


def test_a_broken_template_says_where(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    page = admin.visit()
    page.get_by_label("Message template").fill('{\n  "a": {{{log_massage}}}\n}')
    preview = page.locator("#preview")
    expect(preview).to_contain_text("Line 2, column 8")
    expect(preview).to_contain_text("log_message")
    picture(admin, "template-light")
    preview.get_by_role("button", name="Go there").click()
    assert page.evaluate("document.getElementById('message').selectionStart") == len('{\n  "a": ')
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert").first).to_contain_text("admin.message: line 2, column 8")
    expect(page.get_by_label("Message template")).to_have_value('{\n  "a": {{{log_massage}}}\n}')
    assert "message" not in call(stage, "GET", "api/v1/settings/admin")[1]
    # a placeholder goes where the cursor is
    page.get_by_label("Message template").fill('{"a": }')
    page.evaluate("document.getElementById('message').setSelectionRange(6, 6)")
    page.get_by_role("button", name="{{{log_message}}}").click()
    expect(page.get_by_label("Message template")).to_have_value('{"a": {{{log_message}}}}')
    expect(preview.locator("pre")).to_contain_text('"a"')
    admin.complaints.clear()  # the browser says so of the answer 422


def test_fields_say_what_is_wrong_as_one_types(admin: Person, stage: Stage) -> None:
    start_from(stage, {})
    page = admin.visit()
    page.get_by_label("Destination type").select_option("s3")
    page.get_by_label("Bucket").fill("x")
    error = page.locator("#error-bucket")
    expect(error).to_contain_text("at least 3")
    expect(page.get_by_label("Bucket")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#error-connection")).to_be_empty()
    page.get_by_label("Bucket").fill("xyz")
    expect(error).to_be_empty()
    page.get_by_label("Destination type").select_option("splunk_hec")
    expect(page.get_by_label("Sourcetype")).to_be_attached()
    page.get_by_role("button", name="Test destination").click()
    expect(page.locator("#steps")).to_contain_text("connection: is required", ignore_case=True)


def test_two_administrators(admin: Person, chromium: Browser, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    other = Person(chromium, stage, "admin")
    page, second = admin.visit(), other.visit()
    second.get_by_role("checkbox", name="API platform logs").check()
    second.get_by_role("button", name="Save").click()
    expect(second.get_by_role("status").first).to_contain_text("Saved")
    page.get_by_role("checkbox", name="Job status").check()
    page.get_by_role("button", name="Save").click()
    alert = page.get_by_role("alert").first
    expect(alert).to_contain_text("have changed meanwhile by admin")
    expect(alert.get_by_role("row", name="admin.events")).to_contain_text("api_platform")
    expect(page.get_by_role("checkbox", name="Job status")).to_be_checked()
    assert call(stage, "GET", "api/v1/settings/admin")[1]["events"] == ["user_activity", "api_platform"]
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").first).to_contain_text("Saved")
    assert call(stage, "GET", "api/v1/settings/admin")[1]["events"] == ["job_status", "user_activity"]
    other.context.close()
    admin.complaints.clear()  # the browser says so of the answer 409


def test_the_api_lets_nobody_overwrite_unknowingly(stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    _, document, headers = call(stage, "GET", "api/v1/settings")
    assert document == {**OVERRIDDEN}
    assert call(stage, "PUT", "api/v1/settings", document)[0] == 428
    streaming = {"enabled": False, "events": ["job_status"], "destination": "lake"}
    status, answer, after = call(stage, "PUT", "api/v1/settings/admin", streaming, If_Match=headers["etag"])
    assert (status, after["etag"]) == (200, f'"{answer["version"]}"')
    status, conflict, _ = call(stage, "PUT", "api/v1/settings", document, If_Match=headers["etag"])
    assert (status, conflict["version"]) == (409, answer["version"])
    assert conflict["changes"] == [{"path": "admin.events", "before": ["user_activity"], "after": ["job_status"]}]
    status, wrong, _ = call(stage, "PUT", "api/v1/settings/admin", {"enabled": True, "evnts": []}, If_Match="*")
    assert status == 422
    assert any("evnts" in line and "did you mean" in line for line in wrong["problems"]), wrong


def test_history_shows_and_restores(admin: Person, stage: Stage, tmp_path: Path) -> None:
    start_from(stage, OVERRIDDEN)
    before = call(stage, "GET", "api/v1/settings")[1]
    streaming = {"enabled": False, "events": ["job_status"], "destination": "lake"}
    version = call(stage, "PUT", "api/v1/settings/admin", streaming, If_Match="*")[1]["version"]
    page = admin.visit("history")
    page.get_by_role("link", name=f"Version {version}", exact=True).click()
    row = page.get_by_role("row", name="admin.events")
    expect(row.locator("del")).to_have_text('["user_activity"]')
    expect(row.locator("ins")).to_have_text('["job_status"]')
    older = [item["version"] for item in call(stage, "GET", "api/v1/versions")[1]]
    page = admin.visit(f"history/{older[1]}")
    page.get_by_role("button", name="Restore this version").click()
    expect(page.get_by_role("status").first).to_contain_text("The settings were saved")
    assert call(stage, "GET", "api/v1/settings")[1] == before
    with page.expect_download() as download:
        page.get_by_role("link", name="Export settings.yaml").click()
    file = tmp_path / "settings.yaml"
    download.value.save_as(file)
    file.write_text(file.read_text().replace("user_activity", "api_platform"))
    page.get_by_label("A settings.yaml to put in force").set_input_files(file)
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("status").first).to_contain_text("The settings were saved")
    assert call(stage, "GET", "api/v1/settings/admin")[1]["events"] == ["api_platform"]


def test_a_destination_is_suspended_by_hand_and_resumed(admin: Person, stage: Stage, bucket: str) -> None:
    lake = {"type": "s3", "connection": "lake", "bucket": bucket}
    start_from(
        stage,
        {
            "admin": {"enabled": True, "events": ["user_activity"], "destination": "lake"},
            "destinations": {"lake": lake},
        },
    )
    page = admin.visit("destinations")
    page.get_by_role("button", name="Suspend lake").click()
    expect(page.get_by_role("row", name="lake")).to_contain_text("suspended by admin")
    assert stage.run(OURS[2], "console_held") == "success"
    assert stage.s3.objects(bucket) == {}
    page = admin.visit("deliveries?destination=lake&state=owed")
    expect(page.get_by_role("row", name="owed")).to_have_count(1)
    page = admin.visit("destinations")
    page.get_by_role("button", name="Deliver what is owed to lake").click()
    link = page.get_by_role("link", name="Watch it in Airflow").get_attribute("href") or ""
    run = link.rsplit("/", 1)[-1]
    assert (
        stage.airflow.wait_for_run(run.replace("%3A", ":").replace("%2B", "+"), dag="logstream_redeliver") == "success"
    )
    page = admin.visit("destinations")
    expect(page.get_by_role("row", name="lake")).to_contain_text("healthy")
    assert any("_manifests" not in key for key in stage.s3.objects(bucket))


def test_a_backfill_says_how_many_windows(admin: Person, stage: Stage, bucket: str) -> None:
    lake = {"type": "s3", "connection": "lake", "bucket": bucket}
    start_from(
        stage,
        {
            "admin": {"enabled": True, "events": ["user_activity"], "destination": "lake"},
            "destinations": {"lake": lake},
        },
    )
    page = admin.visit("deliveries")
    form = page.locator("#backfill-form")
    form.get_by_label("From (UTC)").fill(f"{WINDOWS[0].start:%Y-%m-%dT%H:%M}")
    form.get_by_label("To (UTC)").fill(f"{WINDOWS[1].end:%Y-%m-%dT%H:%M}")
    expect(page.locator("#backfill")).to_contain_text("This makes 2 windows")
    form.get_by_label("Only to").fill("lake")
    page.get_by_role("button", name="Start the backfill").click()
    expect(page.locator("#backfill")).to_contain_text("has started: 2 windows")
    status, answer, _ = call(
        stage,
        "POST",
        "api/v1/backfills",
        {"start": "2025-03-01T00:00:00Z", "end": "2025-03-01T12:00:00Z", "dry_run": True},
    )
    assert (status, answer["windows"]) == (200, 2)
    started = [run for run in stage.airflow.runs() if run["run_type"] == "backfill" and run["conf"].get("destinations")]
    assert [run["conf"] for run in started] == [{"destinations": ["lake"]}] * 2
    for run in started:
        assert stage.airflow.wait_for_run(run["dag_run_id"]) == "success"


def test_viewers_look_and_do_not_touch(viewer: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    before = call(stage, "GET", "api/v1/settings")
    for path in PAGES:
        page = viewer.visit(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        for word in ("Save", "Suspend", "Import", "Retry", "Test destination", "Start the backfill"):
            expect(page.get_by_role("button", name=word)).to_have_count(0)
    viewer.visit()
    token = viewer.token()
    for path, form in (
        ("", {"version": "1", "events": "job_status"}),
        ("customers/100", {"version": "1", "do": "remove"}),
        ("destinations/lake", {"do": "suspend"}),
        ("destinations/lake/options", {"version": "1", "destination_type": "file"}),
        ("parts/test", {"destination_type": "file", "option.path": "/tmp/x"}),
        ("history", {"version": "1", "file": "version: 1"}),
        ("deliveries", {"destination": "lake"}),
        ("parts/backfill", {"start": "2025-03-01T00:00", "end": "2025-03-02T00:00", "do": "start"}),
    ):
        answer = viewer.context.request.post(viewer.base + path, form={**form, "csrf_token": token})
        assert answer.status == 403, (path, answer.status)
    assert call(stage, "GET", "api/v1/settings", user="viewer")[1] == before[1]
    assert call(stage, "PUT", "api/v1/settings", {}, user="viewer", If_Match="*")[0] == 403
    assert call(stage, "POST", "api/v1/preview", {"newest": True}, user="viewer")[0] == 403
    assert call(stage, "POST", "api/v1/preview", {"message": '{"m": {{{log_message}}}}'}, user="viewer")[0] == 200
    assert call(stage, "GET", "api/v1/settings")[2]["etag"] == before[2]["etag"]


def every_route() -> list[tuple[str, str]]:
    """Every route of the console with parameters filled in."""
    script = (
        "from logstream.console.app import create_app\n"
        "for route in create_app().routes:\n"
        "    for method in getattr(route, 'methods', None) or ():\n"
        "        print(method, route.path)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    filled = [
        re.sub(r"\{(\w+)\}", lambda found: "lake" if found[1] in ("name", "kind") else "100", line)
        for line in done.stdout.splitlines()
        if line.split(" ")[0] in ("GET", "POST", "PUT", "DELETE")
    ]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].lstrip("/")) for line in filled]


def test_nobody_reads_or_writes_anything(stage: Stage, chromium: Browser) -> None:
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
    nobody = Person(chromium, stage, None)
    page = nobody.visit("customers")
    expect(page.get_by_label("Username")).to_be_visible()
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(USERS["admin"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Customers")).to_be_visible()
    nobody.context.close()


def test_another_site_cannot_act_in_somebodys_name(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    admin.visit()
    token, post = admin.token(), admin.context.request.post
    url, form = admin.base + "destinations/lake", {"do": "suspend"}
    assert post(url, form=form).status == 403
    assert post(url, form={**form, "csrf_token": token[:-2] + "xx"}).status == 403
    assert post(url, form={**form, "csrf_token": token}, headers={"Origin": "https://evil.example"}).status == 403
    assert post(url, form={**form, "csrf_token": token}, headers={"Sec-Fetch-Site": "cross-site"}).status == 403
    json_headers = {"Content-Type": "application/json", "If-Match": "*"}
    put = admin.context.request.put
    assert put(admin.base + "api/v1/settings", data="{}", headers=json_headers).status == 403
    held = call(stage, "POST", "api/v1/destinations/lake/suspend", Origin="https://evil.example")
    assert held[0] == 403, "not with a bearer token either"
    assert call(stage, "GET", "api/v1/destinations")[1][0]["health"] == "healthy"
    assert post(url, form={**form, "csrf_token": token}).ok
    assert post(url, form={"do": "resume", "csrf_token": token}).ok


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


def test_pages_shut_nobody_out(admin: Person, stage: Stage) -> None:
    lake = {"type": "s3", "connection": "lake", "bucket": "audit-logs", "prefix": "customers/"}
    streaming = {"events": ["job_details", "user_activity", "log_service"], "log_levels": ["warn", "error"]}
    own = {"enabled": True, "events": ["user_activity"], "destination": "lake"}
    start_from(
        stage,
        {
            "admin": {"enabled": True, "destination": "lake", "message": MESSAGE, **streaming},
            "workspaces": [{"id": 100, "streaming": own}],
            "destinations": {"lake": lake, "siem": {"type": "http", "connection": "siem"}},
        },
    )
    version = call(stage, "GET", "api/v1/versions")[1][0]["version"]
    page = admin.page
    for path in [*PAGES, f"history/{version}", "history/4711"]:
        page.emulate_media(color_scheme="light")
        admin.visit(path)
        settle(page)
        page.evaluate(AXE.read_text())
        for scheme, options in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            expect(page.locator("html")).to_have_attribute("data-theme", scheme)
            found = page.evaluate("options => axe.run(options)", {**options, "resultTypes": ["violations"]})
            told = [(item["id"], item["help"], item["nodes"][0]["html"][:200]) for item in found["violations"]]
            assert told == [], (path, scheme)
            if path in ("customers", "deliveries"):
                picture(admin, f"{path}-{scheme}")
    admin.complaints.clear()  # the browser says so of the answer 404


def settle(page: Page) -> None:
    """Wait until htmx has nothing more to fetch and nothing to put in its place."""
    expect(page.locator(".htmx-request, .htmx-settling, .htmx-swapping, .htmx-added")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_a_part_of_airflow(chromium: Browser, stage: Stage, scheme: str) -> None:
    person = Person(chromium, stage, "admin", scheme)
    page = person.page
    page.goto(stage.airflow.url)
    page.get_by_role("button", name="Admin").click()
    page.get_by_role("menuitem", name="Audit log streaming").click()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Settings for all customer workspaces")).to_be_visible()
    expect(frame.locator("#preview pre")).to_be_visible()
    expect(frame.locator("html")).to_have_attribute("data-theme", scheme)
    picture(person, f"console-{scheme}")
    frame.get_by_role("link", name="Add one in Airflow").click()
    page.wait_for_url(re.compile("/connections"))
    person.context.close()


MESSAGE = """{
  "source": "workato",
  "sent_at": {{{now}}},
  "who": {{{$.context.user_email}}},
  "event": {{{log_message}}}
}
"""


def picture(person: Person, name: str) -> None:
    """Keep a picture, where somebody wants them."""
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        person.page.screenshot(path=Path(PICTURES) / f"{name}.png")


def test_first_views_are_small(admin: Person, stage: Stage) -> None:
    sizes: list[int] = []
    admin.page.on("response", lambda response: sizes.append(len(response.body())) if response.ok else None)
    admin.visit()
    admin.page.wait_for_load_state("networkidle")
    assert len(sizes) >= 5, "the page, its style, its scripts, the preview"
    assert sum(sizes) < 150_000, sizes


def test_no_request_breaks_it(stage: Stage, tmp_path: Path) -> None:
    script = (
        "import json; from logstream.console.app import create_app, openapi_document\n"
        "print(json.dumps(openapi_document(create_app(), pages=True)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    document = tmp_path / "openapi.json"
    document.write_text(done.stdout)
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
