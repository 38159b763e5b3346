"""Debian's Chromium, and the people who use it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from ..stage import PROJECT, Stage
from .person import Person


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    program = subprocess.run(
        [str(PROJECT / "deploy/chromium.sh")], check=True, capture_output=True, text=True, timeout=240
    ).stdout.strip()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def admin(chromium: Browser, stage: Stage) -> Iterator[Person]:
    person = Person(chromium, stage, "admin")
    yield person
    person.context.close()
    assert person.complaints == []


@pytest.fixture
def viewer(chromium: Browser, stage: Stage) -> Iterator[Person]:
    person = Person(chromium, stage, "viewer")
    yield person
    person.context.close()
