"""Versions of the settings: shown, restored, exported, imported."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from ..stage import Stage
from .person import OVERRIDDEN, Person, call, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.timeout(300)]


def test_history_shows_and_restores(admin: Person, stage: Stage, tmp_path: Path) -> None:
    start_from(stage, OVERRIDDEN)
    before = call(stage, "GET", "api/v1/settings")[1]
    streaming = {"enabled": False, "events": ["job_status"], "destination": "lake"}
    version = call(stage, "PUT", "api/v1/settings/admin", streaming, If_Match="*")[1]["version"]
    page = admin.visit("history")
    expect(page.get_by_role("row", name=f"Version {version} in force")).to_contain_text("all workspaces: events")
    page.get_by_role("link", name=f"Version {version}", exact=True).click()
    row = page.get_by_role("row", name="admin.events")
    expect(row.locator("del")).to_have_text('["user_activity"]')
    expect(row.locator("ins")).to_have_text('["job_status"]')
    older = [item["version"] for item in call(stage, "GET", "api/v1/versions")[1]]
    page = admin.visit(f"history/{older[1]}")
    page.get_by_role("button", name="Restore this version").click()
    admin.agree("Restore")
    expect(page.get_by_role("status").first).to_contain_text("The settings were saved")
    assert call(stage, "GET", "api/v1/settings")[1] == before
    with admin.page.expect_download() as download:
        page.get_by_role("link", name="Export settings.yaml").click()
    file = tmp_path / "settings.yaml"
    download.value.save_as(file)
    file.write_text(file.read_text().replace("user_activity", "api_platform"))
    page.get_by_label("A settings.yaml to put in force").set_input_files(file)
    before_it = call(stage, "GET", "api/v1/versions")[1][0]["version"]
    page.get_by_role("button", name="Compare with what is in force").click()
    row = page.get_by_role("row", name="admin.events")
    expect(row.locator("del")).to_have_text('["user_activity"]')
    expect(row.locator("ins")).to_have_text('["api_platform"]')
    assert call(stage, "GET", "api/v1/versions")[1][0]["version"] == before_it, "nothing has changed yet"
    page.get_by_role("button", name="Put the file in force").click()
    expect(page.get_by_role("status").first).to_contain_text(f"The settings were saved as version {before_it + 1}")
    assert call(stage, "GET", "api/v1/settings/admin")[1]["events"] == ["api_platform"]
