"""The first page: it says what needs a person and why, and keeps itself up to date without getting in the way."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

import pytest
from playwright.sync_api import Frame, Locator, expect

from logstream.window import Window

from ..stage import DAYS, Stage
from .person import OVERRIDDEN, Person, call, picture, settle, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.timeout(300)]


def needs(page: Frame, name: str) -> Locator:
    """What the first page says of a destination that needs a person."""
    return page.get_by_role("region", name="What needs a person").get_by_role("listitem").filter(has_text=name)


def refresh(admin: Person, page: Frame) -> int:
    """Let the page look again, as it does every few seconds; the status of the answer."""
    with admin.page.expect_response(re.compile(r"/parts/overview")) as answer:
        page.evaluate("htmx.trigger('#fresh', 'refresh')")
    settle(page)
    return answer.value.status


def test_it_refreshes_itself_and_is_in_no_ones_way(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    page = admin.visit("")
    with admin.page.expect_response(re.compile(r"/parts/overview"), timeout=30_000) as answer:
        expect(page.get_by_label("Refresh by itself")).to_be_checked()
    assert answer.value.status in (200, 304), "by itself"
    mark = "document.getElementById('fresh').dataset.marked"
    # nothing is swapped that looks as it did
    page.evaluate(f"{mark} = 'yes'")
    assert refresh(admin, page) == 304
    assert page.evaluate(mark) == "yes"
    # what was opened stays open, and the focus where it was
    tables = page.get_by_text("As a table")
    opened = tables.count()
    if opened:
        tables.first.click()
    page.locator("dl.facts a").first.focus()
    assert call(stage, "POST", "api/v1/destinations/lake/suspend")[0] == 204
    assert refresh(admin, page) == 200
    expect(needs(page, "lake")).to_contain_text("held")
    assert page.evaluate(mark) is None
    assert page.locator("details[open]").count() == min(opened, 1)
    assert call(stage, "POST", "api/v1/destinations/lake/resume")[0] == 204
    page.get_by_role("link", name="lake", exact=True).focus()
    name = page.evaluate("document.activeElement.id")
    assert name.startswith("problem-")
    # a person who pauses it is left alone
    page.get_by_label("Refresh by itself").uncheck()
    page.evaluate("htmx.trigger('#fresh', 'refresh')")
    expect(needs(page, "lake")).to_contain_text("held")
    page.get_by_label("Refresh by itself").check()
    assert refresh(admin, page) == 200
    expect(needs(page, "lake")).to_have_count(0)


def test_a_broken_credential_is_found_repaired_and_caught_up_with(admin: Person, stage: Stage) -> None:
    """A person who breaks the credential finds why on the first page, repairs it, and sees it catch up."""
    wrong = "canary-90b1-11c3d6b9f2"

    def credential(token: str, method: str = "PATCH", path: str = "connections/story") -> None:
        # as a person does it under Admin > Connections
        held = {"connection_id": "story", "conn_type": "http", "host": "127.0.0.1", "port": stage.sink.port}
        extra = json.dumps({"headers": {"Authorization": f"Bearer {token}"}})
        stage.airflow.call(method, f"/api/v2/{path}", {**held, "extra": extra})

    credential(stage.sink.token, "POST", "connections")
    start_from(
        stage,
        {
            "admin": {"enabled": True, "events": ["user_activity"], "destination": "story"},
            "destinations": {"story": {"type": "http", "connection": "story"}},
        },
    )
    first, second = (Window(DAYS[2].replace(hour=hour), DAYS[2].replace(hour=hour + 1)) for hour in (5, 6))
    assert stage.run(first, "story_first") == "success"
    page = admin.visit("")
    expect(needs(page, "story")).to_have_count(0)
    credential(wrong)
    assert stage.run(second, "story_second") == "failed"
    tasks = "/api/v2/dags/logstream_export/dagRuns/story_second/taskInstances/deliver/listMapped"
    mapped = stage.airflow.call("GET", tasks)["task_instances"]
    assert "failed" in {task["state"] for task in mapped}
    assert all("story" in task["rendered_map_index"] for task in mapped), "those that failed keep their labels"
    # why, on the first page
    page = admin.visit("")
    expect(needs(page, "story")).to_contain_text("failing")
    expect(needs(page, "story")).to_contain_text("401")
    expect(needs(page, "story")).to_contain_text("Test it on its page")
    picture(admin, "overview-failing-light")
    needs(page, "story").get_by_role("link", name="story").click()
    page.get_by_role("button", name="Test destination").click()
    expect(page.locator("#steps")).to_contain_text("no")
    expect(page.locator("#steps")).not_to_contain_text("It works")
    credential(stage.sink.token)
    page.get_by_role("button", name="Test destination").click()
    expect(page.locator("#steps")).to_contain_text("It works")
    page.get_by_role("button", name="Deliver what is owed to story").click()
    run = (page.get_by_role("link", name="Watch it in Airflow").get_attribute("href") or "").rsplit("/", 1)[-1]
    assert stage.airflow.wait_for_run(unquote(run), dag="logstream_redeliver") == "success"
    page = admin.visit("")
    expect(needs(page, "story")).to_have_count(0)
    expect(page.get_by_role("link", name="1 up to date")).to_be_visible()
    assert wrong not in page.content()
