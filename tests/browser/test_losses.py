"""What is lost and which time is not exported, as people see it and take note of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Frame, Locator, Page, expect

from logstream.airflow.connections import AirflowConnections
from logstream.database import connect
from logstream.export.exporter import Exporter
from logstream.window import Window

from ..stage import DAYS, Stage
from .person import Person, call, settle, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.timeout(300)]


def engine(stage: Stage) -> Exporter:
    return Exporter(stage.store, stage.store, AirflowConnections())


def lose(stage: Stage, name: str, hour: int, folder: Path) -> int:
    """Let a destination be planned for, and the log store purge what it was to get; return of how many events."""
    start_from(
        stage,
        {
            "admin": {"enabled": True, "events": ["user_activity"], "destination": name},
            "destinations": {name: {"type": "file", "path": str(folder)}},
        },
    )
    window = Window(DAYS[2] + timedelta(hours=hour), DAYS[2] + timedelta(hours=hour, minutes=30))
    # the engine has event loops of its own, and the browser's runs in this thread
    with ThreadPoolExecutor(1) as pool:
        events = pool.submit(_lose, stage, name, window).result()
    assert events > 1
    return events


def _lose(stage: Stage, name: str, window: Window) -> int:
    with engine(stage) as exporter:
        planned = exporter.plan(window)
        # nothing was sent when the run ended
        exporter.seal(planned.delivery_ids)
        with connect(stage.store) as store:
            store.execute("delete from events where recorded_at >= %s and recorded_at < %s", (window.start, window.end))
        exporter.redeliver_owed(name)
    return planned.events


def losses(page: Frame | Page) -> Locator:
    return page.get_by_role("region", name="Losses")


def test_losses_are_shown_until_a_person_who_may_takes_note_of_them(
    admin: Person, viewer: Person, stage: Stage, tmp_path: Path
) -> None:
    lost = lose(stage, "lost", 11, tmp_path)
    for path in ("deliveries?destination=lost", "destinations/lost"):
        page = viewer.visit(path)
        expect(losses(page)).to_contain_text(f"{lost:,} events are lost.")
        expect(losses(page).get_by_role("button", name="Acknowledge")).to_have_count(0)
    status, listed, _ = call(stage, "GET", "api/v1/losses?destination=lost", user="viewer")
    assert (status, sum(item["events"] for item in listed)) == (200, lost)
    page = admin.visit("destinations/lost")
    losses(page).get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("status").first).to_contain_text("acknowledged")
    for path in ("deliveries?destination=lost", "destinations/lost"):
        expect(losses(admin.visit(path))).to_have_count(0)
    assert call(stage, "GET", "api/v1/losses?destination=lost")[1] == []


def test_a_destination_that_was_removed_is_found_in_what_the_ledger_knows_of_it(
    admin: Person, stage: Stage, tmp_path: Path
) -> None:
    lose(stage, "removed", 12, tmp_path)
    start_from(stage, {})
    page = admin.visit("deliveries")
    page.get_by_role("link", name="removed", exact=True).first.click()
    expect(page.get_by_text("The settings no longer have removed.")).to_be_visible()
    expect(losses(page)).to_be_visible()
    states = page.get_by_role("region", name="Deliveries", exact=True).get_by_role("link", name="lake", exact=True)
    expect(states).to_have_count(0)
    # a bookmark of its page leads there, too
    page = admin.visit_directly("destinations/removed")
    expect(page.get_by_text("The settings no longer have removed.")).to_be_visible()
    losses(page).get_by_role("button", name="Acknowledge").click()
    expect(losses(page)).to_have_count(0)


def test_the_charts_of_deliveries_follow_what_the_table_under_them_says(
    admin: Person, stage: Stage, tmp_path: Path
) -> None:
    window = Window(DAYS[2] + timedelta(hours=17), DAYS[2] + timedelta(hours=17, minutes=30))

    def plan() -> None:
        with engine(stage) as exporter:
            exporter.seal(exporter.plan(window).delivery_ids)

    def deliver() -> None:
        with engine(stage) as exporter:
            exporter.redeliver_owed("moving")

    start_from(
        stage,
        {
            "admin": {"enabled": True, "events": ["user_activity"], "destination": "moving"},
            "destinations": {"moving": {"type": "file", "path": str(tmp_path)}},
        },
    )
    with ThreadPoolExecutor(1) as pool:
        pool.submit(plan).result()
        page = admin.visit("deliveries?destination=moving")
        expect(page.locator(".strip .owed")).to_have_count(1)
        expect(page.locator(".plot[data-drawn] canvas")).to_have_count(1)
        settle(page)
        mark = "document.querySelector('.timeline').dataset.marked"
        page.evaluate(f"{mark} = 'yes'")
        # nothing is drawn anew that looks as it did
        with admin.page.expect_response(re.compile(r"/parts/timeline"), timeout=30_000) as answer:
            pass
        assert (answer.value.status, page.evaluate(mark)) == (304, "yes")
        page.get_by_text("As a table").click()
        pool.submit(deliver).result()
    row = page.get_by_role("region", name="Deliveries", exact=True).get_by_role("row", name="moving")
    expect(row).to_contain_text("delivered", timeout=30_000)
    expect(page.locator(".strip .owed")).to_have_count(0, timeout=30_000)
    expect(page.locator(".strip .delivered")).to_have_count(1)
    expect(page.locator(".plot[data-drawn] canvas")).to_have_count(1)
    # what was opened stays open
    expect(
        page.get_by_role("region", name="Exported on request").get_by_role("row", name="delivered whole")
    ).to_be_visible()


@pytest.fixture
def gap(stage: Stage, tmp_path: Path) -> Iterator[Window]:
    """A second that no run has exported, between two that some have."""
    with engine(stage) as exporter:
        start_from(stage, {"admin": {"enabled": True, "events": ["user_activity"], "destination": "lost"},
                           "destinations": {"lost": {"type": "file", "path": str(tmp_path)}}})  # fmt: skip
        now = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
        span, second = Window(now, now + timedelta(seconds=3)), timedelta(seconds=1)
        for start in (span.start, span.start + 2 * second):
            exporter.plan(Window(start, start + second))
        yield Window(span.start + second, span.start + 2 * second)
        since = exporter.ledger.coverage().since
        assert since is not None
        exporter.plan(Window(min(since, span.start), span.end))
        assert exporter.ledger.coverage().gaps() == []


def test_gaps_are_cells_of_the_strip_and_rows_of_its_table_and_a_list_below_it(
    admin: Person, stage: Stage, gap: Window
) -> None:
    page = admin.visit("deliveries")
    settle(page)
    gaps = call(stage, "GET", "api/v1/gaps")[1]
    assert gap.as_json() in gaps
    expect(page.locator(".strip .gap")).to_have_count(len(gaps))
    text = f"{gap.start:%Y-%m-%d %H:%M:%S} to {gap.end:%Y-%m-%d %H:%M:%S} UTC"
    expect(page.locator(f".strip .gap[title*='{text}']")).to_have_count(1)
    expect(page.get_by_role("region", name="Gaps").or_(page.get_by_role("status", name="Gaps"))).to_contain_text(text)
    expect(page.get_by_role("img", name="not exported yet")).to_be_visible()
    expect(page.locator(".plot[data-drawn] canvas").first).to_be_visible()
    page.get_by_text("As a table").first.click()
    row = page.get_by_role("region", name="Windows of the schedule").get_by_role("row", name="not exported yet")
    expect(row.filter(has_text=f"{gap.start:%Y-%m-%d %H:%M:%S}").first).to_be_visible()
