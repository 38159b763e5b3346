"""Forms that cannot be saved as they are: every mistake at its field, and warnings before what cannot be undone by looking."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from ..stage import Stage
from .person import OVERRIDDEN, Person, call, fill_destination, picture, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.timeout(300)]


def wrong(person: Person, field: str) -> Locator:
    return person.view.locator(f"[id='error-{field}']")


def test_every_mistake_stands_at_its_field(admin: Person, stage: Stage) -> None:
    start_from(stage, {})
    page = admin.visit()
    page.get_by_label("Enable setup and streaming of customer audit logs").check()
    page.get_by_label("Destination type").select_option("s3")
    page.get_by_label("Bucket").fill("x")
    page.get_by_text("More options").click()
    page.get_by_label("Lanes").fill("many")
    page.get_by_label("Message template").fill('{"a": {{{log_massage}}}}')
    page.get_by_label("Masked fields").fill("$.user.email\nemail")
    page.get_by_role("button", name="Save", exact=True).click()
    problem = page.locator("#problem")
    expect(problem).to_be_focused()
    expect(problem).to_contain_text("Nothing was saved: 7 fields need a correction.")
    for field, words in {
        "events": "Choose at least one.",
        "destination_name": "Name a destination",
        "option.connection": "Is required.",
        "option.bucket": "Must have at least 3 characters",
        "option.lanes": "Must be a whole number",
        "message": "Line 1, column 7",
        "mask": "Line 2: a JSONPath begins with $.",
    }.items():
        expect(wrong(admin, field)).to_contain_text(words)
    text = problem.inner_text()
    assert not any(word in text for word in ("admin", "destinations.", "should", "option.")), text
    picture(admin, "mistakes-light")
    # the summary leads to the field, by keyboard too
    problem.get_by_role("link", name="Bucket").focus()
    admin.page.keyboard.press("Enter")
    bucket = page.get_by_label("Bucket")
    expect(bucket).to_be_focused()
    expect(bucket).to_have_attribute("aria-invalid", "true")
    expect(bucket).to_have_accessible_description(r"The bucket. Must have at least 3 characters (got 'x').")
    bucket.fill("xyz")
    expect(wrong(admin, "option.bucket")).to_be_empty()
    assert call(stage, "GET", "api/v1/settings/admin")[1] is None
    admin.complaints.clear()  # the browser says so of the answer 422


def test_what_was_not_tested_is_not_saved_without_a_word(admin: Person, stage: Stage, bucket: str) -> None:
    start_from(stage, OVERRIDDEN)
    page = admin.visit("customers/101")
    page.get_by_role("checkbox", name="User activity").check()
    fill_destination(page, "east", bucket)
    test, save = (
        page.get_by_role("button", name="Test destination"),
        page.get_by_role("button", name="Save", exact=True),
    )
    warning = page.get_by_role("alert")
    save.click()
    expect(warning).to_contain_text("Not saved yet: east was not tested as it is now.")
    expect(page.get_by_label("Bucket")).to_have_value(bucket)
    # one that fails its test
    page.get_by_label("Bucket").fill("no-such-bucket")
    test.click()
    expect(page.locator("#steps")).to_contain_text("does not exist; create it, or correct")
    assert "`" not in page.locator("#steps").inner_text()
    save.click()
    expect(warning).to_contain_text("Not saved yet: east has failed its test.")
    # one whose result is of other fields than those that are there now
    page.get_by_label("Bucket").fill(bucket)
    test.click()
    expect(page.locator("#steps")).to_contain_text("It works")
    page.get_by_label("Prefix").fill("else/")
    expect(page.locator("#steps")).to_be_empty()
    save.click()
    expect(warning).to_contain_text("was not tested as it is now")
    assert "east" not in call(stage, "GET", "api/v1/settings")[1]["destinations"]
    # one that works is saved at once, and saving it again neither asks nor makes a version
    test.click()
    expect(page.locator("#steps")).to_contain_text("It works")
    admin.save()
    version = call(stage, "GET", "api/v1/versions")[1][0]["version"]
    save.click()
    expect(page.get_by_role("status").first).to_contain_text("Nothing has changed")
    assert call(stage, "GET", "api/v1/versions")[1][0]["version"] == version
    page.get_by_label("Prefix").fill("again/")
    admin.save(anyway=True)


def test_log_levels_are_picked_and_others_typed_in(admin: Person, stage: Stage) -> None:
    streaming = {"events": ["log_service"], "log_levels": ["fatal", "error"], "destination": "lake"}
    start_from(stage, {**OVERRIDDEN, "admin": streaming})
    page = admin.visit()
    levels = page.get_by_role("group", name="Log levels")
    expect(levels.get_by_role("checkbox", name="error")).to_be_checked()
    expect(levels.get_by_label("Others")).to_have_value("fatal")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("status").first).to_contain_text("Nothing has changed")
    levels.get_by_role("checkbox", name="warn").check()
    page.get_by_role("group", name="Log types").get_by_label("Others").fill("trigger, webhook")
    page.get_by_role("group", name="Log types").scroll_into_view_if_needed()
    picture(admin, "picks-light")
    admin.save()
    found = call(stage, "GET", "api/v1/settings/admin")[1]
    assert (set(found["log_levels"]), found["log_types"]) == ({"warn", "error", "fatal"}, ["trigger", "webhook"])
