"""What Airflow's frame forbids: every page works without it, and each question is asked where it can be answered."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import psycopg
import pytest
from playwright.sync_api import Frame, expect

from ..stage import PROJECT, Stage
from .person import FRAME, OURS, OVERRIDDEN, Person, call, picture, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.timeout(300)]

AXE = PROJECT / ".venv/node/node_modules/axe-core/axe.min.js"

ALLOWED = {"allow-scripts", "allow-same-origin", "allow-forms", "allow-downloads"}
"""The tokens of Airflow's `sandbox` for a plug-in's page: no dialogs of the browser's, no windows, no way to leave the frame."""


def test_the_frame_is_the_one_that_the_console_was_made_for(admin: Person) -> None:
    page = admin.visit()
    assert set((admin.page.locator("iframe").get_attribute("sandbox") or "").split()) == ALLOWED
    # what makes these tests worth something: a question of the browser's is never shown here
    assert page.evaluate("confirm('is anyone there?')") is False
    assert any("allow-modals" in complaint for complaint in admin.complaints), admin.complaints
    admin.complaints.clear()


def test_addresses_inside_the_frame_lead_back_to_the_same_page(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    page = admin.visit("customers")
    page.get_by_role("link", name="Customer 3", exact=True).click()
    admin.page.wait_for_url(re.compile(f"{FRAME}/logstream/customers/103"))
    admin.page.reload()
    expect(admin.page.frame_locator("iframe").get_by_role("heading", name="Customer 3")).to_be_visible()
    page = admin.visit_directly("customers/103")
    expect(page.get_by_role("heading", name="Customer 3")).to_be_visible()


def question(page: Frame) -> Any:
    return page.get_by_role("alertdialog")


def test_a_question_says_what_will_happen_and_no_is_the_first_answer(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    page = admin.visit("destinations")
    before = call(stage, "GET", "api/v1/destinations")[1][0]["condition"]
    assert before != "held"
    hold = page.get_by_role("button", name="Hold lake")
    # by keyboard alone: the question is read, refused by Escape, and the focus is where it was
    for refuse in ("Escape", "Enter"):  # Enter presses the answer that has the focus
        hold.focus()
        admin.page.keyboard.press("Enter")
        expect(question(page)).to_be_visible()
        expect(question(page)).to_have_accessible_name("Hold lake?")
        expect(question(page)).to_have_accessible_description(re.compile("until it is resumed.*is owed"))
        expect(question(page).get_by_role("button", name="Cancel")).to_be_focused()
        admin.page.keyboard.press(refuse)
        expect(question(page)).to_be_hidden()
        expect(hold).to_be_focused()
    assert call(stage, "GET", "api/v1/destinations")[1][0]["condition"] == before
    admin.page.keyboard.press("Enter")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    assert [(item["id"], item["help"]) for item in found["violations"]] == []
    admin.page.keyboard.press("Tab")
    expect(question(page).get_by_role("button", name="Hold", exact=True)).to_be_focused()
    admin.page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="lake")).to_contain_text("held by admin")
    assert call(stage, "POST", "api/v1/destinations/lake/resume")[0] == 204


def test_a_destination_is_deleted(admin: Person, stage: Stage) -> None:
    spare = {"type": "file", "path": "/tmp/logstream-spare"}
    start_from(stage, {**OVERRIDDEN, "destinations": {**OVERRIDDEN["destinations"], "spare": spare}})
    page = admin.visit("destinations")
    page.get_by_role("button", name="Delete spare").click()
    picture(admin, "question-light")
    expect(question(page)).to_have_accessible_description(re.compile("What was delivered there stays"))
    admin.agree("Delete")
    expect(page.get_by_role("status")).to_contain_text("spare is deleted")
    assert list(call(stage, "GET", "api/v1/settings")[1]["destinations"]) == ["lake"]


def test_dead_letters_are_sent_again(admin: Person, stage: Stage, bucket: str) -> None:
    start_from(
        stage,
        {
            "admin": {"enabled": True, "events": ["user_activity"], "destination": "lake"},
            "destinations": {"lake": {"type": "s3", "connection": "lake", "bucket": bucket}},
        },
    )
    # no message can be made of an event that is nested so deep
    deep, moment = '{"a":' + "[" * 9_999 + "]" * 9_999 + "}", OURS[3].start
    with psycopg.connect(stage.store, autocommit=True) as store:
        for number in (9_000_777, 9_000_778):
            store.execute(
                "insert into events values (%s, 100, 'user_activity', %s, %s, %s)", (number, moment, moment, deep)
            )
    assert stage.run(OURS[3], "console_refused") == "success"
    with psycopg.connect(stage.store, autocommit=True) as store:
        store.execute("update events set payload = '{}' where id = 9000777")
    page = admin.visit("dead-letters?destination=lake")
    expect(page.get_by_role("navigation", name="Audit log streaming")).to_contain_text(re.compile(r"Dead letters \d"))
    row = page.get_by_role("row", name="user_activity 9000777")
    expect(row).to_contain_text("nested")
    row.get_by_role("button", name="Show event 9000777").click()
    expect(row.locator("pre")).to_have_text("{}")
    picture(admin, "dead-letters-light")
    # one of them is not to be delivered: that takes a note
    page.get_by_role("checkbox", name="Event 9000778 of lake").check()
    for note in ("", "a test event"):
        page.get_by_label("Why they are not to be delivered").fill(note)
        page.get_by_role("checkbox", name="Event 9000778 of lake").check()
        page.get_by_role("button", name="Discard the ticked ones").click()
        admin.agree("Discard")
        if not note:
            expect(page.get_by_role("alert")).to_contain_text("Say in a note why")
            admin.complaints.clear()  # the browser says so of the answer 422
    expect(page.get_by_role("status")).to_contain_text("Discarded")
    expect(page.get_by_role("row", name="user_activity 9000778")).to_have_count(0)
    page.get_by_role("button", name="Send those of lake again").click()
    expect(question(page)).to_have_accessible_name("Send the dead letters of lake again?")
    admin.agree("Send again")
    run = (page.get_by_role("link", name="Watch it in Airflow").get_attribute("href") or "").rsplit("/", 1)[-1]
    assert stage.airflow.wait_for_run(unquote(run), dag="logstream_redeliver") == "success"
    expect(admin.visit("dead-letters?destination=lake").get_by_text("There are none.")).to_be_visible()
    with psycopg.connect(stage.store, autocommit=True) as store:
        store.execute("delete from events where id in (9000777, 9000778)")


def test_a_template_replaces_what_was_written_after_a_question(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    page = admin.visit()
    editor = page.get_by_role("textbox", name="Message template")
    written = '{"mine": {{{log_message}}}}'
    editor.fill(written)
    splunk = page.get_by_role("button", name="splunk", exact=True)
    splunk.click()
    admin.agree("Cancel")
    expect(editor).to_have_value(written)
    expect(splunk).to_be_focused()
    splunk.click()
    admin.agree("Replace")
    expect(editor).to_have_value(re.compile("vendor_product|cim"))
    expect(editor).to_be_focused()
    # it was one edit, which can be undone
    admin.page.keyboard.press("Control+z")
    expect(editor).to_have_value(written)


def test_links_open_in_a_window_of_their_own(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    page = admin.visit("customers")
    with admin.context.expect_page() as opened:
        page.get_by_role("link", name="Customer 3", exact=True).click(modifiers=["Control"])
    expect(opened.value.get_by_role("heading", name="Customer 3")).to_be_visible()
    opened.value.close()
    page = admin.visit()
    page.get_by_label("Destination type").select_option("s3")
    with admin.context.expect_page() as opened:
        page.get_by_role("link", name="Add one in Airflow").click(modifiers=["Control"])
    opened.value.wait_for_url(re.compile("/connections"))
    expect(page.get_by_role("heading", level=1)).to_be_visible()
