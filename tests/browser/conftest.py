"""Debian's Chromium, and the people who use it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from logstream.testing.servers.node import node_program

from ..stage import PROJECT, Stage
from .person import WIDE, Person, frame_of


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    program = subprocess.run(
        [str(PROJECT / "deploy/chromium.sh")], check=True, capture_output=True, text=True, timeout=240
    ).stdout.strip()
    # Playwright's own needs a library that an empty machine has not
    if node := node_program():
        os.environ.setdefault("PLAYWRIGHT_NODEJS_PATH", node)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Window:
    """A browser window that stays open from test to test, in a browser that keeps files: what is around Airflow's frame is
    loaded once. To load Airflow's UI takes two seconds of the processor, much more than any of our pages in it does.

    Each test finds the frame empty, and neither a cookie nor a size, colours or tabs of the test before it.
    """

    def __init__(self, chromium: Browser, user: str) -> None:
        self._chromium, self._user = chromium, user
        self._context = chromium.new_context(viewport=WIDE, color_scheme="light")
        self._page: Page | None = None

    def close(self) -> None:
        """Close the browser of this user."""
        self._context.close()

    @contextmanager
    def of(self, stage: Stage) -> Iterator[Person]:
        """The person in front of it."""
        self._context.clear_cookies()
        person = Person(self._chromium, stage, self._user, context=self._context, window=self._page)
        self._page = None
        yield person
        complaints = list(person.complaints)
        person.leave()
        frame = frame_of(person.page)
        if frame is not None:
            frame.goto("about:blank")  # its page asks for what is new, by and by
            person.page.emulate_media(color_scheme="light")
            person.page.set_viewport_size(WIDE)
            self._page = person.page
        for page in self._context.pages:
            if page is not self._page:
                page.close()
        assert complaints == []


@pytest.fixture(scope="package")
def window_of_admin(chromium: Browser) -> Iterator[Window]:
    window = Window(chromium, "admin")
    yield window
    window.close()


@pytest.fixture(scope="package")
def window_of_viewer(chromium: Browser) -> Iterator[Window]:
    window = Window(chromium, "viewer")
    yield window
    window.close()


@pytest.fixture
def admin(window_of_admin: Window, stage: Stage) -> Iterator[Person]:
    with window_of_admin.of(stage) as person:
        yield person


@pytest.fixture
def viewer(window_of_viewer: Window, stage: Stage) -> Iterator[Person]:
    with window_of_viewer.of(stage) as person:
        yield person
