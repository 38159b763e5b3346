"""Destinations and deliveries as people act on them."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from ..stage import WINDOWS, Stage
from .person import OURS, Person, call, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.timeout(300)]


def test_a_destination_is_held_and_resumed(admin: Person, stage: Stage, bucket: str) -> None:
    lake = {"type": "s3", "connection": "lake", "bucket": bucket}
    start_from(
        stage,
        {
            "admin": {"enabled": True, "events": ["user_activity"], "destination": "lake"},
            "destinations": {"lake": lake},
        },
    )
    page = admin.visit("destinations")
    page.get_by_role("button", name="Hold lake").click()
    admin.agree("Hold")
    expect(page.get_by_role("row", name="lake")).to_contain_text("held by admin")
    assert stage.run(OURS[2], "console_held") == "success"
    assert stage.s3.objects(bucket) == {}
    # its own page says how it stands, what it was sent, and has the same buttons
    page = admin.visit("destinations/lake")
    expect(page.locator("dl.facts")).to_contain_text("1 window since")
    expect(page.locator(".note.bad")).to_contain_text("held by admin")
    expect(page.get_by_role("region", name="Deliveries").get_by_role("row", name="owed")).to_have_count(1)
    for act in ("Resume lake", "Deliver what is owed to lake"):
        expect(page.get_by_role("button", name=act)).to_be_visible()
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
    expect(page.get_by_role("row", name="lake")).to_contain_text("up to date")
    assert any("_manifests" not in key for key in stage.s3.objects(bucket))


def test_a_backfill_says_what_it_would_do(admin: Person, stage: Stage, bucket: str) -> None:
    lake = {"type": "s3", "connection": "lake", "bucket": bucket}
    start_from(
        stage,
        {
            "admin": {"enabled": True, "events": ["user_activity"], "destination": "lake"},
            "destinations": {"lake": lake},
        },
    )
    page = admin.visit("deliveries")
    page.get_by_text("Backfill: export a historical range").click()
    form = page.locator("#backfill-form")
    form.get_by_label("From (UTC)").fill(f"{WINDOWS[0].start:%Y-%m-%dT%H:%M}")
    form.get_by_label("To (UTC)").fill(f"{WINDOWS[1].end:%Y-%m-%dT%H:%M}")
    expect(page.locator("#backfill")).to_contain_text("This starts 2 runs")
    expect(page.locator("#backfill")).to_contain_text("By the settings in force, events go to lake.")
    # who types and clicks at once is not answered by what was looked up for the typing, a moment later
    form.get_by_label("Only to").fill("lake")
    page.get_by_role("button", name="Start the backfill").click()
    expect(page.locator("#backfill")).to_contain_text("has started: 2 runs")
    admin.page.wait_for_timeout(600)
    expect(page.locator("#backfill")).to_contain_text("has started: 2 runs")
    # how far it has come is followed at the top, and seen by each who opens the page
    progress = page.get_by_role("status", name="Backfill")
    expect(progress).to_contain_text("of 2 runs")
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
    page.evaluate("htmx.trigger('#fresh', 'refresh')")
    expect(progress).to_contain_text("2 of 2 runs")
    # what it would do a second time
    page = admin.visit("deliveries?customer=c1")
    expect(page.get_by_role("columnheader", name="Of the customer")).to_be_visible()
    page.get_by_text("Backfill: export a historical range").click()
    form = page.locator("#backfill-form")
    form.get_by_label("From (UTC)").fill(f"{WINDOWS[0].start:%Y-%m-%dT%H:%M}")
    form.get_by_label("To (UTC)").fill(f"{WINDOWS[1].end:%Y-%m-%dT%H:%M}")
    expect(page.locator("#backfill")).to_contain_text("2 windows of this time exist already: they keep their bounds")
    expect(page.locator("#backfill")).to_contain_text("Written again, under the same keys: lake (2 windows)")
    # what has not ended is no one's to start
    form.get_by_label("From (UTC)").fill("2100-01-01T00:00")
    form.get_by_label("To (UTC)").fill("2100-01-02T00:00")
    expect(page.locator("#backfill")).to_contain_text("has ended yet")
    expect(page.get_by_role("button", name="Start the backfill")).to_have_count(0)
    page = admin.visit("deliveries?customer=no-one")
    expect(page.get_by_role("alert")).to_contain_text("No customer has that id, external id or name")
    rows = page.get_by_role("region", name="Deliveries", exact=True).locator("tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Nothing is shown: the filter cannot be used.")
    admin.complaints.clear()  # the browser says so of the answer 422
