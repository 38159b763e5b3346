"""A person with a browser in front of the console, and what they do again and again."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Error,
    Frame,
    Page,
    ViewportSize,
    expect,
)

from logstream.testing.airflow import USERS
from logstream.window import Window

from ..stage import DAYS, Stage

PICTURES = os.environ.get("LOGSTREAM_PICTURES")
"""Where to keep pictures of the pages; they are only looked at where it is set."""


OURS = [Window(DAYS[2] + timedelta(hours=hour), DAYS[2] + timedelta(hours=hour + 2)) for hour in (2, 8, 14, 20)]
"""Windows that are none of the schedule's, nor of other tests: a run is named by the start of its window."""


PAGES = [
    "",
    "settings",
    "customers",
    "customers/100",
    "destinations",
    "destinations/lake",
    "deliveries",
    "dead-letters",
    "history",
    "activity",
    "notices",
    "customers/100/notices",
]


WIDE: ViewportSize = {"width": 1360, "height": 960}


FRAME = "/plugin/audit-log-streaming"
"""Where Airflow shows the console: Admin > Audit log streaming. What follows it is the console's own path."""


class Person:
    """A user of Airflow with a browser; without a name it is not logged in.

    `visit` opens the console as users have it: inside the sandboxed frame of Airflow's UI, and returns that frame. Given a
    `window` that shows it already, only what is in the frame is loaded.
    """

    def __init__(
        self, browser: Browser, stage: Stage, user: str | None, scheme: Any = "light",
        context: BrowserContext | None = None, window: Page | None = None,
    ) -> None:  # fmt: skip
        self.stage, self.user = stage, user
        self.context = context or browser.new_context(viewport=WIDE, color_scheme=scheme)
        self.context.set_default_timeout(20_000)
        self.base = f"{stage.airflow.url}/logstream/"
        if user:
            answer = stage.airflow.call("POST", "/auth/token", {"username": user, "password": USERS[user]})
            cookie = {"name": "_token", "value": answer["access_token"], "url": stage.airflow.url, "httpOnly": True}
            self.context.add_cookies([cookie])  # type: ignore[list-item]
        self.page: Page = window or self.context.new_page()
        self.view: Frame = frame_of(self.page) or self.page.main_frame
        self.complaints: list[str] = []
        self._hears = {"console": self._hear, "pageerror": self._fail, "dialog": self._refuse}
        for event, hear in self._hears.items():
            self.page.on(event, hear)  # type: ignore[call-overload]

    def leave(self) -> None:
        """Hear no more of the page: it is another person's from now on."""
        for event, hear in self._hears.items():
            self.page.remove_listener(event, hear)

    def _fail(self, error: Error) -> None:
        self.complaints.append(str(error))

    def _hear(self, said: ConsoleMessage) -> None:
        # Airflow's UI has complaints of its own; what its frame forbids the browser says of no file at all
        place = str(said.location.get("url") or self.base)
        # htmx says so of a request that the person navigates away from; the browser says so of one that fails
        usual = said.text.startswith(("htmx:afterRequest", "htmx:sendAbort", "htmx:sendError"))
        if said.type == "error" and place.startswith(self.base) and not usual:
            self.complaints.append(said.text)

    def _refuse(self, dialog: Dialog) -> None:
        # Airflow's frame shows none, so no page may rely on one
        self.complaints.append(f"the page asked by {dialog.type}(): {dialog.message}")
        dialog.dismiss()

    def visit(self, path: str = "settings") -> Frame:
        """Go to a page of the console in Airflow's frame."""
        if urlsplit(self.page.url).path.startswith(FRAME):
            self.view.goto(self.base + path)
            return self.view
        self.page.goto(f"{self.stage.airflow.url}{FRAME}/logstream/{path}")
        self.page.wait_for_selector("iframe")
        frame = frame_of(self.page)
        assert frame is not None
        frame.wait_for_url(lambda url: url == self.base + path)
        self.view = frame
        return frame

    def visit_directly(self, path: str = "settings") -> Page:
        """Go to a page of the console by a link that leads to it alone, outside of Airflow's frame."""
        self.page.goto(self.base + path)
        self.view = self.page.main_frame
        return self.page

    def agree(self, verb: str) -> None:
        """Read the question that the page asks, and answer it by the button that says what happens."""
        dialog = self.view.get_by_role("alertdialog")
        expect(dialog).to_be_visible()
        dialog.get_by_role("button", name=verb, exact=True).click()
        expect(dialog).to_be_hidden()

    def save(self, *, anyway: bool = False) -> None:
        """Press Save; `anyway`, read the warning about what was not tested and save all the same."""
        self.view.get_by_role("button", name="Save", exact=True).click()
        if anyway:
            expect(self.view.get_by_role("alert").first).to_contain_text("Not saved yet")
            self.view.get_by_role("button", name="Save anyway").click()
        expect(self.view.get_by_role("status").first).to_contain_text("Saved as version")

    def token(self) -> str:
        """The token that this person's pages hold."""
        held = json.loads(self.view.locator("body").get_attribute("hx-headers") or "{}")
        return str(held["X-CSRF-Token"])


def frame_of(page: Page) -> Frame | None:
    """The frame in which Airflow's UI shows the console, where the page does."""
    found = page.query_selector("iframe") if urlsplit(page.url).path.startswith(FRAME) else None
    return found.content_frame() if found else None


def settle(page: Frame | Page) -> None:
    """Wait until htmx has nothing more to fetch and nothing to put in its place."""
    expect(page.locator(".htmx-request, .htmx-settling, .htmx-swapping, .htmx-added")).to_have_count(0)


def picture(person: Person, name: str) -> None:
    """Keep a picture, where a folder for them is given."""
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        # to hide the caret it would write a style into the page, which our policy forbids
        person.page.screenshot(path=Path(PICTURES) / f"{name}.png", caret="initial")


def picture_of_airflow(person: Person, path: str, shown: str, name: str) -> None:
    """The same of a page of Airflow's own, once it shows a text."""
    if PICTURES:
        person.page.goto(f"{person.stage.airflow.url}/{path}")
        expect(person.page.get_by_text(shown).first).to_be_visible(timeout=30_000)  # all of Airflow's UI is loaded anew
        person.page.wait_for_load_state("networkidle")
        picture(person, name)


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


def fill_destination(page: Frame, name: str, bucket: str, prefix: str = "") -> None:
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
