"""Settings as people make them: the real api-server, the real database, a real run."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from ..stage import Stage
from .person import OURS, OVERRIDDEN, Person, call, fill_destination, picture, picture_of_airflow, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_an_override_from_nothing(admin: Person, stage: Stage, bucket: str) -> None:
    start_from(stage, {})
    page = admin.visit()
    page.get_by_label("Enable setup and streaming of customer audit logs").check()
    for event in ("Job details", "User activity", "API platform logs", "Log events"):
        page.get_by_role("checkbox", name=event).check()
    expect(page.get_by_role("group", name="Log levels")).to_be_visible()
    fill_destination(page, "lake", bucket, "all/")
    page.get_by_label("Packaging").select_option("batch")
    page.get_by_role("button", name="Test destination").click()
    expect(page.locator("#steps")).to_contain_text("It works")
    expect(page.locator("#steps")).to_contain_text("may write all/_logstream_check/")
    page.locator("#steps").scroll_into_view_if_needed()
    picture(admin, "destination-light")
    page.get_by_role("button", name="splunk", exact=True).click()
    expect(page.locator("#preview pre")).to_contain_text('"vendor_product": "Workato"')
    expect(page.locator("#preview pre")).to_contain_text('"master_job_id"')
    page.get_by_label("Preview with").select_option("user_activity")
    expect(page.locator("#preview pre")).to_contain_text('"user_login"')
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("What happens now:")).to_be_visible()
    assert call(stage, "GET", "api/v1/settings/admin")[1]["destination"] == "lake"
    run = "console_override"
    assert stage.run(OURS[0], run) == "success"
    picture_of_airflow(admin, f"dags/logstream_export/runs/{run}", "seal_window", "run")
    page = admin.visit("deliveries?destination=lake")
    row = page.get_by_role("row", name=re.compile(f"{OURS[0].start:%Y-%m-%d %H:%M:%S}")).first
    expect(row).to_contain_text("delivered")
    expect(page.locator(".plot canvas").first).to_be_visible()
    assert row.get_by_role("link", name="run").get_attribute("href") == f"/dags/logstream_export/runs/{run}"
    log = row.get_by_role("link", name="log").get_attribute("href") or ""
    assert re.fullmatch(rf"/dags/logstream_export/runs/{run}/tasks/deliver/mapped/\d+", log), log
    found = stage.airflow.call("GET", f"/api/v2/dags/logstream_export/dagRuns/{run}/taskInstances/seal_window/links")
    # the button of a task: the console in the frame, filtered to the run's window
    admin.page.goto(found["extra_links"]["Deliveries"])
    frame = admin.page.frame_locator("iframe")
    expect(frame.get_by_role("row", name=re.compile(f"{OURS[0].start:%Y-%m-%d %H:%M:%S}")).first).to_contain_text(
        "delivered"
    )
    windows = frame.get_by_role("region", name="Deliveries", exact=True).locator("tbody tr td:first-child")
    assert {text[:19] for text in windows.all_inner_texts()} == {f"{OURS[0].start:%Y-%m-%d %H:%M:%S}"}
    keys = stage.s3.objects(bucket)
    assert any(key.startswith("all/") for key in keys), sorted(keys)
    assert b'"vendor_product":"Workato"' in next(
        body for key, body in keys.items() if ".ndjson" in key and "_manifests" not in key
    )


@pytest.mark.thorough
def test_two_customers_and_their_own_destinations(admin: Person, stage: Stage, bucket: str) -> None:
    start_from(stage, {})
    for workspace, name in ((100, "east"), (101, "west")):
        page = admin.visit("customers")
        page.get_by_label("Search").fill(f"c{workspace - 100}")
        page.get_by_role("link", name=f"Customer {workspace - 100}", exact=True).click()
        page.get_by_label("Stream this workspace's audit logs").check()
        page.get_by_role("checkbox", name="User activity").check()
        fill_destination(page, name, bucket, f"{name}/")
        admin.save(anyway=True)
    assert stage.run(OURS[1], "console_unique") == "success"
    keys = [key for key in stage.s3.objects(bucket) if "_manifests" not in key]
    assert {(key.split("/")[0], key.split("/")[1]) for key in keys} == {("east", "100"), ("west", "101")}
    page = admin.visit("customers?sort=destination&down=true")
    rows = page.locator("tbody tr")
    expect(rows.nth(0)).not_to_contain_text("own setting")
    expect(page.get_by_role("row", name="Customer 1 own setting west up to date")).to_be_visible()
    page = admin.visit("customers/101")
    expect(page.get_by_role("region", name="Deliveries")).to_contain_text(f"{OURS[1].start:%Y-%m-%d %H:%M:%S}")
    # taking one away again
    page.get_by_role("button", name="Remove this setting").click()
    admin.agree("Remove this setting")
    expect(page.get_by_role("status").first).to_contain_text("Saved")
    assert call(stage, "GET", "api/v1/workspaces/101/settings")[1] is None


@pytest.mark.thorough
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
    expect(page.locator("#locked").get_by_role("link")).to_have_attribute("href", "/logstream/settings")
    expect(page.get_by_role("button", name="Save")).to_have_count(0)
    expect(page.get_by_role("checkbox", name="User activity")).to_be_disabled()
    own = {"enabled": True, "events": ["job_status"], "destination": "lake"}
    status, answer, _ = call(stage, "PUT", "api/v1/workspaces/100/settings", own, If_Match="*")
    assert status == 409
    assert "switch the admin setting off" in answer["detail"]
    assert call(stage, "DELETE", "api/v1/workspaces/100/settings", If_Match="*")[0] == 409


@pytest.mark.thorough
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
    expect(page.get_by_role("alert").first).to_contain_text("Message template: Line 2, column 8")
    expect(page.get_by_label("Message template")).to_have_value('{\n  "a": {{{log_massage}}}\n}')
    assert "message" not in call(stage, "GET", "api/v1/settings/admin")[1]
    # a placeholder goes where the cursor is
    page.get_by_label("Message template").fill('{"a": }')
    page.evaluate("document.getElementById('message').setSelectionRange(6, 6)")
    page.get_by_role("button", name="{{{log_message}}}").click()
    expect(page.get_by_label("Message template")).to_have_value('{"a": {{{log_message}}}}')
    expect(preview.locator("pre")).to_contain_text('"a"')
    admin.complaints.clear()  # the browser says so of the answer 422


@pytest.mark.thorough
def test_the_editor_explains_and_warns(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    page = admin.visit()
    editor = page.get_by_label("Message template")
    # a value of the event puts its path where the cursor is, by keyboard too, and that can be undone
    page.get_by_text("The event and its paths").click()
    page.get_by_role("button", name=re.compile("^recipe_id ")).first.focus()
    admin.page.keyboard.press("Enter")
    expect(editor).to_have_value("{{{$.recipe_id}}}")
    page.get_by_role("button", name="Undo").click()
    expect(editor).to_have_value("")
    # each placeholder says what it becomes
    page.get_by_role("button", name="{{{now_utc}}}", exact=True).focus()
    expect(page.locator("#meaning")).to_contain_text("in milliseconds since 1970")
    # a path that matches nothing in a selected kind is warned of; lines are numbered; the message's size is told
    editor.fill('{\n  "a": {{{$.recipe_id}}},\n  "b": {{{log_message}}}\n}')
    expect(page.locator("#preview")).to_contain_text("matches nothing in the sample of user activity")
    expect(page.locator("#message-size")).to_contain_text("bytes")
    assert page.locator(".numbers").first.inner_text().split() == ["1", "2", "3", "4"]


@pytest.mark.thorough
def test_who_is_told(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    for path, key in (("notices", None), ("customers/100/notices", 100)):
        page = admin.visit(path)
        page.get_by_label("Kind").select_option("webhook")
        page.get_by_label("Connection").fill("siem")
        page.get_by_label("Where").fill("a b")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("[id='error-receiver.0.where']")).not_to_be_empty()
        page.get_by_label("Where").fill("/hook")
        page.get_by_text("Only news of some topics").click()
        page.get_by_role("checkbox", name="Lost").check()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status").first).to_contain_text("Saved as version")
        expect(page.get_by_role("group", name="Another receiver")).to_be_visible()
        document = call(stage, "GET", "api/v1/settings")[1]
        notices = document["notices"] if key is None else document["workspaces"][0]["notices"]
        assert notices == {"to": [{"kind": "webhook", "connection": "siem", "path": "/hook", "about": ["lost"]}]}
    expect(page.get_by_text("they hear nothing")).to_have_count(0)
    admin.complaints.clear()  # the browser says so of the answers 422


@pytest.mark.thorough
def test_a_template_for_each_kind(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    page = admin.visit()
    preview = page.locator("#preview")
    page.get_by_label("Message template").fill('{"all": {{{log_message}}}}')
    expect(preview.locator("pre")).to_contain_text('"all"')
    page.get_by_role("tab", name="User activity").click()
    expect(page.get_by_label("Preview with")).to_have_value("user_activity")
    page.get_by_label("Template of user activity").fill('{"who": {{{$.user.name}}}}')
    expect(preview.locator("pre")).to_contain_text('"who": "李小龙"')
    # a placeholder goes into the template in sight
    page.get_by_label("Template of user activity").fill('{"who": }')
    page.evaluate("document.getElementById('message.user_activity').setSelectionRange(8, 8)")
    page.get_by_role("button", name="{{{workspace.name}}}", exact=True).click()
    expect(page.get_by_label("Template of user activity")).to_have_value('{"who": {{{workspace.name}}}}')
    expect(preview).to_contain_text("there is no placeholder for the event")
    # a mistake leads to its tab, from whichever is in sight
    page.get_by_role("tab", name="All kinds").press("ArrowRight")
    expect(page.get_by_role("tab", name="Job")).to_have_attribute("aria-selected", "true")
    page.get_by_label("Preview with").select_option("user_activity")
    preview.get_by_role("button", name="Go there").click()
    expect(page.get_by_label("Template of user activity")).to_be_focused()
    page.get_by_label("Template of user activity").fill('{"who": {{{$.user.name}}}}')
    admin.save()
    saved = call(stage, "GET", "api/v1/settings/admin")[1]["message"]
    assert saved == {"user_activity": '{"who": {{{$.user.name}}}}', "default": '{"all": {{{log_message}}}}'}
    page = admin.visit()
    page.get_by_role("tab", name="User activity").click()
    expect(page.get_by_label("Template of user activity")).to_have_value('{"who": {{{$.user.name}}}}')


@pytest.mark.thorough
def test_a_template_that_does_not_fit_its_destination_is_warned_of(admin: Person, stage: Stage) -> None:
    start_from(stage, {})
    page = admin.visit()
    page.get_by_label("Destination name").fill("siem")
    page.get_by_label("Destination type").select_option("splunk_hec")
    page.get_by_role("button", name="http splunk hec", exact=True).click()
    expect(page.locator("#preview")).to_contain_text("wrapped twice")
    page.get_by_label("Destination type").select_option("http")
    page.get_by_label("Masked fields").fill("$.nothing")
    expect(page.locator("#preview")).not_to_contain_text("wrapped twice")


@pytest.mark.thorough
def test_fields_say_what_is_wrong_as_one_types(admin: Person, stage: Stage) -> None:
    start_from(stage, {})
    page = admin.visit()
    # the fields of the chosen type take the place of those that were there
    with admin.page.expect_response(lambda response: "/parts/" in response.url):
        page.get_by_label("Destination type").select_option("s3")
    admin.page.wait_for_load_state("networkidle")
    page.get_by_label("Bucket").fill("x")
    error = page.locator("[id='error-option.bucket']")
    expect(error).to_contain_text("at least 3")
    expect(page.get_by_label("Bucket")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[id='error-option.connection']")).to_be_empty()
    page.get_by_label("Bucket").fill("xyz")
    expect(error).to_be_empty()
    page.get_by_label("Destination type").select_option("splunk_hec")
    expect(page.get_by_label("Sourcetype")).to_be_attached()
    page.get_by_role("button", name="Test destination").click()
    expect(page.locator("#steps")).to_contain_text("Not tested: correct Connection first")
    expect(page.locator("[id='error-option.connection']")).to_contain_text("Is required")


@pytest.mark.thorough
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


@pytest.mark.thorough
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
