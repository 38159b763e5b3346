"""The console as a part of Airflow's UI: its place, its colours, its weight, and that it shuts out no one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, Response, expect

from ..stage import PROJECT, Stage
from .person import MESSAGE, PAGES, WIDE, Person, call, picture, settle, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.timeout(300)]

AXE = PROJECT / ".venv/node/node_modules/axe-core/axe.min.js"


EVERYTHING: dict[str, Any] = {
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
            if path in ("customers", "deliveries", "activity", "notices"):
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
    admin.page.remove_listener("response", weigh)
    assert len(sizes) >= 5, "the page, its style, its scripts, the preview"
    assert sum(sizes) < 150_000, sizes


LONG = "d" + "-long" * 19

HOSTILE_NAMES = {
    920: ("x" * 200, "a" * 200),
    921: ("\N{RIGHT-TO-LEFT OVERRIDE}\N{HEBREW LETTER SHIN}\N{HEBREW LETTER LAMED}ok", "rtl"),
    922: ("\N{GRINNING FACE}" * 60, "emoji"),
    923: ("<b>not bold</b> {{ 7 * 7 }}", "markup"),
}
"""Names as they are, each a word without a place to break it, or one that would turn the page around."""


@pytest.fixture
def hostile_names(stage: Stage) -> Iterator[None]:
    with psycopg.connect(stage.store, autocommit=True) as store:
        for number, (name, external) in HOSTILE_NAMES.items():
            store.execute(
                "insert into workspaces (id, external_id, name) values (%s, %s, %s)", (number, external, name)
            )
        yield
        store.execute("delete from workspaces where id = any(%s)", (list(HOSTILE_NAMES),))


@pytest.mark.parametrize("width", [390, 680, 768, 2560])
def test_no_width_scrolls_sideways_whatever_the_names(
    admin: Person, stage: Stage, hostile_names: None, width: int
) -> None:
    """680 is a window of 1,360 pixels at a zoom of 200 %."""
    own = {"enabled": True, "events": ["user_activity"], "destination": LONG}
    destinations = {**EVERYTHING["destinations"], LONG: {"type": "file", "path": "/tmp/" + "p" * 150}}
    workspaces = [*EVERYTHING["workspaces"], *({"id": number, "streaming": own} for number in HOSTILE_NAMES)]
    start_from(stage, {**EVERYTHING, "workspaces": workspaces, "destinations": destinations})
    admin.page.set_viewport_size({"width": width, "height": WIDE["height"]})
    paths = [*PAGES, f"destinations/{LONG}", *(f"customers/{number}" for number in HOSTILE_NAMES)]
    # beside Airflow's own navigation a telephone has little room: the page alone, too
    for visit in (admin.visit_directly, admin.visit) if width == 390 else (admin.visit,):
        for path in paths:
            page = visit(path)
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
            if width == 390:
                boxes = """() => [...document.querySelectorAll(".scroll:has(table:not(.changes))")]
                    .filter((found) => found.scrollWidth > found.clientWidth + 1).map((found) => found.ariaLabel)"""
                assert page.evaluate(boxes) == [], f"{path}: tables are lists of their cells"
            if path in ("", "destinations", "deliveries"):
                picture(admin, f"narrow-{width}-{path or 'overview'}")
    page = admin.visit("customers")
    expect(page.get_by_role("link", name="<b>not bold</b> {{ 7 * 7 }}")).to_be_visible()


def test_the_bar_with_save_hides_nothing_that_the_keyboard_comes_to(admin: Person, stage: Stage) -> None:
    """It stays in sight below the form, over whatever stands there."""
    start_from(stage, EVERYTHING)
    hidden = """() => { const found = document.activeElement, box = found.getBoundingClientRect();
        const actions = document.querySelector(".actions"), bar = actions.getBoundingClientRect();
        const behind = !actions.contains(found) && box.top >= bar.top && box.top < bar.bottom;
        return behind ? found.id || found.innerText : null; }"""
    page = admin.visit("settings")
    expect(page.locator("#preview pre")).to_be_visible()
    page.get_by_label("Destination name").focus()
    for _ in range(60):
        admin.page.keyboard.press("Tab")
        assert page.evaluate(hidden) is None
