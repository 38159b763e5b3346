"""The template editor, and what stands beside it: the preview, the event with its paths, mistakes and line numbers."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from ..stage import Stage
from .person import OVERRIDDEN, Person, settle, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


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
