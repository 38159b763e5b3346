"""A person with a browser in front of the console, and what they do again and again."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from logstream.testing.airflow import USERS
from logstream.window import Window

from ..stage import DAY, Stage

PICTURES = os.environ.get("LOGSTREAM_PICTURES")
"""Where to keep pictures of the pages; they are only looked at where it is set."""


OURS = [Window(DAY + timedelta(hours=hour), DAY + timedelta(hours=hour + 2)) for hour in (2, 8, 14)]
"""Windows that are none of the schedule's, nor of other tests: a run is named by the start of its window."""


PAGES = ["", "customers", "customers/100", "destinations", "destinations/lake", "deliveries", "dead-letters", "history"]


WIDE = {"width": 1360, "height": 960}


class Person:
    """Somebody with a browser, logged in as a user of Airflow (or as nobody)."""

    def __init__(self, browser: Browser, stage: Stage, user: str | None, scheme: Any = "light") -> None:
        self.stage, self.user = stage, user
        self.context: BrowserContext = browser.new_context(viewport=WIDE, color_scheme=scheme)  # type: ignore[arg-type]
        self.context.set_default_timeout(20_000)
        self.base = f"{stage.airflow.url}/logstream/"
        if user:
            answer = stage.airflow.call("POST", "/auth/token", {"username": user, "password": USERS[user]})
            cookie = {"name": "_token", "value": answer["access_token"], "url": stage.airflow.url, "httpOnly": True}
            self.context.add_cookies([cookie])  # type: ignore[list-item]
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: dialog.accept())

    def _hear(self, said: ConsoleMessage) -> None:
        # htmx says so of a request that somebody navigates away from; the browser says so of one that fails
        if said.type == "error" and not said.text.startswith(("htmx:afterRequest", "htmx:sendAbort", "htmx:sendError")):
            self.complaints.append(said.text)

    def visit(self, path: str = "") -> Page:
        self.page.goto(self.base + path)
        return self.page

    def token(self) -> str:
        """The token that this person's pages hold."""
        held = json.loads(self.page.locator("body").get_attribute("hx-headers") or "{}")
        return str(held["X-CSRF-Token"])


def settle(page: Page) -> None:
    """Wait until htmx has nothing more to fetch and nothing to put in its place."""
    expect(page.locator(".htmx-request, .htmx-settling, .htmx-swapping, .htmx-added")).to_have_count(0)


def picture(person: Person, name: str) -> None:
    """Keep a picture, where somebody wants them."""
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        person.page.screenshot(path=Path(PICTURES) / f"{name}.png")


def call(
    stage: Stage, method: str, path: str, body: object = None, user: str | None = "admin", **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """Call the console's API: status, answer, headers."""
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if user:
        answer = stage.airflow.call("POST", "/auth/token", {"username": user, "password": USERS[user]})
        sent["Authorization"] = f"Bearer {answer['access_token']}"
    url = f"{stage.airflow.url}/logstream/{path}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, sent, method=method)
    try:
        with _opener.open(request, timeout=60) as response:
            text, status, found = response.read(), response.status, response.headers
    except urllib.error.HTTPError as error:
        text, status, found = error.read(), error.code, error.headers
    try:
        answer = json.loads(text)
    except ValueError:
        answer = text.decode()
    return status, answer, {name.lower(): value for name, value in found.items()}


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_Stay)


def start_from(stage: Stage, document: dict[str, Any]) -> None:
    """Put settings in force as `settings apply` would."""
    status, answer, _ = call(stage, "PUT", "api/v1/settings", document, If_Match="*")
    assert status == 200, answer


def fill_destination(page: Page, name: str, bucket: str, prefix: str = "") -> None:
    """Fill in an S3 destination."""
    page.get_by_label("Destination name").fill(name)
    page.get_by_label("Destination type").select_option("s3")
    page.get_by_role("button", name="lake", exact=True).click()  # the connection, of those of type aws
    expect(page.get_by_label("Connection")).to_have_value("lake")
    page.get_by_label("Bucket").fill(bucket)
    if prefix:
        page.get_by_label("Prefix").fill(prefix)


OVERRIDDEN = {
    "admin": {"enabled": False, "events": ["user_activity"], "destination": "lake"},
    "workspaces": [{"id": 100, "streaming": {"enabled": True, "events": ["user_activity"], "destination": "lake"}}],
    "destinations": {"lake": {"type": "file", "path": "/tmp/logstream-nowhere"}},
}


MESSAGE = """{
  "source": "workato",
  "sent_at": {{{now}}},
  "who": {{{$.context.user_email}}},
  "event": {{{log_message}}}
}
"""
