"""The template editor, and what stands beside it: the preview, the event with its paths, mistakes and line numbers."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from ..stage import Stage
from .person import OVERRIDDEN, Person, call, settle, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.timeout(300)]


def test_the_preview_follows_while_the_event_is_open_beside_it(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    page = admin.visit()
    message = page.locator("#preview pre")
    expect(message).to_contain_text('"master_job_id"')
    page.get_by_text("The event and its paths").click()
    values = page.get_by_role("list", name="Values of the event")
    expect(values).to_contain_text("master_job_id")
    settle(page)
    page.evaluate("document.addEventListener('htmx:sendAbort', () => { document.body.dataset.aborted = 'yes' })")
    page.get_by_label("Preview with").select_option("user_activity")
    expect(message).to_contain_text('"user_login"')
    expect(values).to_contain_text("user_login")
    page.get_by_label("Event", exact=True).select_option("newest")
    expect(page.locator("#preview")).to_contain_text("There was no such event in the last day")
    expect(page.locator(".event")).to_contain_text("There was no such event in the last day")
    page.get_by_label("Event", exact=True).select_option("sample")
    settle(page)
    assert page.evaluate("document.body.dataset.aborted") is None
    # a tab chooses the event as well, for both
    page.get_by_role("tab", name="Job", exact=True).click()
    expect(message).to_contain_text('"master_job_id"')
    expect(values).to_contain_text("master_job_id")


def test_a_mistake_that_was_mended_is_called_one_no_longer(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    page = admin.visit()
    editor, masks = page.get_by_label("Message template"), page.get_by_label("Masked fields")
    error, problem = page.locator("#error-message"), page.locator("#problem")
    editor.fill('{\n  "a": {{{log_massage}}}\n}')
    masks.fill("email")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(problem).to_contain_text("2 fields need a correction")
    expect(error).to_contain_text("Line 2, column 8")
    # another mistake takes the place of the first
    editor.fill('{"a": {{{nothing}}}}')
    expect(error).to_contain_text("Line 1, column 7")
    expect(editor).to_have_attribute("aria-invalid", "true")
    editor.fill('{"a": {{{log_message}}}}')
    expect(error).to_be_empty()
    expect(editor).to_have_attribute("aria-invalid", "false")
    # the box speaks of what is left, and goes with the last of it
    expect(problem).to_contain_text("1 field needs a correction")
    expect(problem).not_to_contain_text("Message template")
    masks.fill("$.email")
    expect(page.locator("#error-mask")).to_be_empty()
    expect(masks).to_have_attribute("aria-invalid", "false")
    expect(problem).to_have_count(0)
    admin.save()
    assert call(stage, "GET", "api/v1/settings/admin")[1]["mask"] == ["$.email"]
    admin.complaints.clear()  # the browser says so of the answer 422


def test_the_numbers_stay_within_the_editors_frame(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    page = admin.visit()
    page.get_by_label("Message template").fill("\n".join("x" for _ in range(60)))
    ends = """() => {
        const box = document.querySelector('.template').getBoundingClientRect();
        const numbers = document.querySelector('.numbers').getBoundingClientRect();
        return [numbers.top - box.top, box.bottom - numbers.bottom];
    }"""
    above, below = page.evaluate(ends)
    assert 0 <= above <= 4, above
    assert 0 <= below <= 4, below
