"""Debian's Chromium, and the people who use it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from ..stage import PROJECT, Stage
from .person import WIDE, Person


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    program = subprocess.run(
        [str(PROJECT / "deploy/chromium.sh")], check=True, capture_output=True, text=True, timeout=240
    ).stdout.strip()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def profile(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser that keeps files of Airflow's UI: to load them anew takes seconds of a processor. No cookie stays in it."""
    context = chromium.new_context(viewport={"width": WIDE["width"], "height": WIDE["height"]}, color_scheme="light")
    yield context
    context.close()


@pytest.fixture
def admin(chromium: Browser, stage: Stage, profile: BrowserContext) -> Iterator[Person]:
    profile.clear_cookies()
    person = Person(chromium, stage, "admin", context=profile)
    yield person
    for page in profile.pages:
        page.close()
    assert person.complaints == []


@pytest.fixture
def viewer(chromium: Browser, stage: Stage) -> Iterator[Person]:
    person = Person(chromium, stage, "viewer")
    yield person
    person.context.close()
