"""The console as a part of Airflow's UI: its place, its colours, its weight, and that it shuts out no one."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Response, expect

from ..stage import PROJECT, Stage
from .person import MESSAGE, PAGES, Person, call, picture, settle, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

AXE = PROJECT / ".venv/node/node_modules/axe-core/axe.min.js"


EVERYTHING = {
    "admin": {
        "enabled": True,
        "events": ["job_details", "user_activity", "log_service"],
        "log_levels": ["warn", "error"],
        "message": MESSAGE,
        "destination": "lake",
    },
    "workspaces": [{"id": 100, "streaming": {"enabled": True, "events": ["user_activity"], "destination": "lake"}}],
    "destinations": {
        "lake": {"type": "s3", "connection": "lake", "bucket": "audit-logs", "prefix": "customers/"},
        "siem": {"type": "http", "connection": "siem"},
    },
}
"""Settings in which every field has a value to show."""


def test_pages_shut_nobody_out(admin: Person, stage: Stage) -> None:
    start_from(stage, EVERYTHING)
    version = call(stage, "GET", "api/v1/versions")[1][0]["version"]
    for path in [*PAGES, f"history/{version}", "history/4711"]:
        admin.page.emulate_media(color_scheme="light")
        page = admin.visit(path)
        settle(page)
        page.evaluate(AXE.read_text())
        for scheme, options in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
            admin.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            expect(page.locator("html")).to_have_attribute("data-theme", scheme)
            found = page.evaluate("options => axe.run(options)", {**options, "resultTypes": ["violations"]})
            told = [(item["id"], item["help"], item["nodes"][0]["html"][:200]) for item in found["violations"]]
            assert told == [], (path, scheme)
            if path in ("customers", "deliveries"):
                picture(admin, f"{path}-{scheme}")
    admin.complaints.clear()  # the browser says so of the answer 404


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_a_part_of_airflow(chromium: Browser, stage: Stage, scheme: str) -> None:
    start_from(stage, EVERYTHING)
    person = Person(chromium, stage, "admin", scheme)
    page = person.page
    page.goto(stage.airflow.url)
    page.get_by_role("button", name="Admin").click()
    page.get_by_role("menuitem", name="Audit log streaming").click()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Overview")).to_be_visible()
    picture(person, f"overview-{scheme}")
    frame.get_by_role("link", name="Settings", exact=True).click()
    expect(frame.get_by_role("heading", name="Settings for all customer workspaces")).to_be_visible()
    expect(frame.locator("#preview pre")).to_be_visible()
    expect(frame.locator("html")).to_have_attribute("data-theme", scheme)
    picture(person, f"console-{scheme}")
    frame.get_by_role("link", name="Add one in Airflow").click()
    page.wait_for_url(re.compile("/connections"))
    person.context.close()


def test_first_views_are_small(admin: Person, stage: Stage) -> None:
    sizes: list[int] = []

    def weigh(response: Response) -> None:
        if response.ok and response.url.startswith(admin.base):
            sizes.append(len(response.body()))

    admin.page.on("response", weigh)
    expect(admin.visit().locator("#preview pre")).to_be_visible()
    assert len(sizes) >= 5, "the page, its style, its scripts, the preview"
    assert sum(sizes) < 150_000, sizes


@pytest.mark.parametrize("width", [390, 768])
def test_narrow_screens_do_not_scroll_sideways(chromium: Browser, stage: Stage, width: int) -> None:
    start_from(stage, EVERYTHING)
    person = Person(chromium, stage, "admin", width=width)
    for path in PAGES:
        for page in (person.visit_directly(path), person.visit(path)):
            settle(page)
            wide = page.evaluate(
                """() => [...document.querySelectorAll("body *")]
                    .filter((found) => !found.closest(".scroll, pre, [hidden]") || found.matches(".scroll, pre"))
                    .filter((found) => found.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
                    .map((found) => found.outerHTML.slice(0, 120))"""
            )
            assert wide == [], (path, width)
            size = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            assert size[0] <= size[1], (path, width)
            if path in ("", "destinations", "deliveries"):
                picture(person, f"narrow-{width}-{path or 'settings'}")
    person.context.close()
