"""Two who mean harm: a receiver whose answers are shown to administrators, and a viewer who wants to see and do more than they may."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import psycopg
import pytest

from logstream.console.deps import the_console
from logstream.control.audit import Actor
from logstream.settings.characters import CONTROL
from logstream.testing.servers import LogSink
from logstream.window import Window

from .asked import Asked, ask

__all__ = ["ask"]  # a fixture

ANSWER = "canary-answer-5c1e"
EVENT = "canary-event-77ab"
PLACE = "192.0.2.99"
"""What a receiver said, what a real event holds, and from where an administrator acted: none of a viewer's business."""

HOSTILE = f"{ANSWER} <script>window.broken=1</script><img src=x onerror=alert(1)> `rm` {{{{7*7}}}} '\"></p> \u202eevil\u2066 \x1b[2J\x00\x07 "
NAME = "canary-name-91e0 <script>window.broken=1</script> {{7*7}} \u202eevil\u2066\u200b \x1b[2J\x07" + "n" * 400
"""What a customer called its workspace, there and at its own end: a log store takes any text but NUL."""

START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=5))


@dataclass(frozen=True)
class Scene:
    """A deployment of which much has gone wrong, and the secret that its receivers were sent."""

    ask: Asked
    secret: str
    delivery: int
    event: int


def hostile(head: str, body: bytes) -> bytes:
    """An answer that echoes the request, and goes on and on."""
    return f"{HOSTILE}{head}{HOSTILE * 400}".encode()


@pytest.fixture
def scene(ask: Asked, store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    store.execute(
        "insert into workspaces (id, external_id, name, role) values (1, %s, %s, 'customer'), (2, 'b', 'B', 'customer')",
        (NAME, NAME),
    )
    for workspace, number in ((1, 1), (1, 2), (1, 3), (2, 1)):
        store.execute(
            "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) values (%s, 'user_activity', %s, %s, %s)",
            (workspace, START, START, json.dumps({"id": number, "note": EVENT})),
        )
    with LogSink() as refusing, LogSink() as down:
        refusing.fail, refusing.echo = (lambda number: 400 if number != 2 else None), hostile
        down.fail, down.echo = (lambda _: 401), hostile
        monkeypatch.setenv("AIRFLOW_CONN_REFUSING", refusing.connection)
        monkeypatch.setenv("AIRFLOW_CONN_DOWN", down.connection)
        setting = {"enabled": True, "events": ["user_activity"]}
        console, ann = the_console(), Actor("ann", PLACE)
        console.settings.save(
            {
                "workspaces": [
                    {"id": 1, "streaming": {**setting, "destination": "refusing"}},
                    {"id": 2, "streaming": {**setting, "destination": "down"}},
                ],
                "admin": {**setting, "enabled": False, "destination": "down"},
                "destinations": {
                    name: {"type": "http", "connection": name, "concurrency": 1} for name in ("refusing", "down")
                },
            },
            ann,
            None,
        )
        planned = console.exporter.plan(WINDOW)
        console.exporter.deliver([key for share in planned.shares for key in share.lanes])
        console.exporter.seal(planned.delivery_ids)
        # and one by a test: of what is saved it is kept as the newest check
        console.destinations.check("refusing", {"type": "http", "connection": "refusing", "concurrency": 1}, ann)
        letter = console.deliveries.rejected("refusing", 10)[0]
        yield Scene(ask, refusing.token, letter.delivery_id, letter.event_id)


def pages(scene: Scene) -> list[str]:
    """Every address that can be looked at, with what is there in the place of its parameters."""
    there = {
        "name": "down",
        "workspace_id": "2",
        "kind": "job",
        "delivery_id": str(scene.delivery),
        "event_id": str(scene.event),
    }
    found = [
        re.sub(r"\{(\w+)\}", lambda part: there.get(part[1], "2"), route.path[1:])
        for route in scene.ask.app.routes[-1].app.routes  # type: ignore[attr-defined]
        if "GET" in (getattr(route, "methods", None) or ())
    ]
    return [*found, "destinations/refusing", "customers/1", "deliveries?destination=refusing", "dead-letters?destination=refusing",
            "parts/timeline?destination=down", "deliveries?state=failed", "activity?subject=refusing", "customers/1/notices"]  # fmt: skip


class Tags(HTMLParser):
    """The elements of a page, and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def harmless(text: str, secret: str) -> None:
    """What a page shows of a receiver's answer is text, short, and holds no secret."""
    page = Tags(text)
    for tag, attributes in page.found:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert tag != "script" or str(attributes["src"]).startswith("/logstream/static/"), attributes
        assert tag != "img" or str(attributes["src"]).startswith("/logstream/static/"), attributes
    assert not CONTROL.search(text) and not re.search("[\u200b\u202a-\u202e\u2066-\u2069]", text)
    assert secret not in text and secret[:8] not in text
    for shown in page.texts:
        if NAME[:16] in shown:
            assert len(shown) < 300 and not re.search(rf"{NAME[:16]}.*\b49\b", shown), shown
        if ANSWER in shown:
            assert len(shown) < 600 and "`" not in shown and not re.search(rf"{ANSWER}.*\b49\b", shown), shown


# the receiver


def test_what_receivers_answer_harms_no_reader(scene: Scene) -> None:
    told = set()
    for path in pages(scene):
        answer = scene.ask("GET", path)
        if answer.headers.get("content-type", "").startswith("text/html") and answer.text:
            harmless(answer.text, scene.secret)
        assert scene.secret not in answer.text
        if ANSWER in answer.text:
            told.add(path)
    assert told >= {"", "destinations", "destinations/down", "destinations/refusing", "deliveries", "dead-letters",
                    "api/v1/destinations", "api/v1/deliveries", "api/v1/rejected"}  # fmt: skip


def test_a_test_of_a_hostile_receiver_is_told_in_harmless_words_with_a_remedy(
    ask: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = {"destination_name": "x", "destination_type": "http", "option.connection": "sink"}
    with LogSink() as sink:
        sink.echo = hostile
        sink.answer_headers = {
            "Location": "http://169.254.169.254/",
            "Retry-After": "9" * 9,
            "Content-Type": "text/html",
        }
        monkeypatch.setenv("AIRFLOW_CONN_SINK", sink.connection)
        for status in (302, 400, 401, 403, 404, 413, 429, 500, 503):
            sink.fail = lambda _, status=status: status  # type: ignore[misc]
            answer = ask("POST", "parts/test", data=form)
            harmless(answer.text, sink.token)
            assert answer.status_code == 200 and 'class="remedy"' in answer.text, (status, answer.text)
            steps = ask("POST", "api/v1/check", json={"type": "http", "connection": "sink"}).json()
            assert not steps["ok"] and all(step["remedy"] for step in steps["steps"] if not step["ok"]), (status, steps)
            assert sink.token not in json.dumps(steps)


def test_a_receiver_that_never_ends_its_answer_is_left(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logstream.console.service.destinations.CHECK_SECONDS", 0.2)

    async def never(*_: Any) -> Any:
        import asyncio

        await asyncio.Event().wait()
        yield

    monkeypatch.setattr("logstream.destinations.http.HttpDestination.check", never)
    with LogSink() as sink:
        monkeypatch.setenv("AIRFLOW_CONN_SINK", sink.connection)
        steps = ask("POST", "api/v1/check", json={"type": "http", "connection": "sink"}).json()
    assert steps["ok"] is False and "can be reached" in steps["steps"][-1]["remedy"]


def test_what_customers_call_themselves_harms_no_reader(scene: Scene) -> None:
    told = set()
    for role in ("admin", "viewer"):
        for path in pages(scene):
            answer = scene.ask("GET", path, role)
            if answer.headers.get("content-type", "").startswith("text/html") and answer.text:
                harmless(answer.text, scene.secret)
            if NAME[:16] in answer.text:
                told.add(path)
    assert told >= {"settings", "customers", "customers/1", "customers/1/notices", "api/v1/workspaces"}, told


# the viewer


def test_viewers_see_neither_answers_nor_events_nor_addresses(scene: Scene) -> None:
    words, seen, wrong = (ANSWER, EVENT, PLACE), set(), []
    for path in pages(scene):
        theirs, ours = scene.ask("GET", path).text, scene.ask("GET", path, "viewer").text
        seen |= {word for word in words if word in theirs}
        wrong += [(path, word) for word in words if word in ours]
    assert wrong == []
    assert seen == {*words}, "a test of nothing"


LOOKS: dict[str, dict[str, Any]] = {
    "parts/preview": {"data": {"preview_kind": "user_activity", "preview_event": "newest", "workspace_id": "1"}},
    "parts/event": {"data": {"preview_kind": "user_activity", "preview_event": "newest", "workspace_id": "1"}},
    "api/v1/preview": {"json": {"kind": "user_activity", "newest": True}},
}
"""What viewers may post: it is long, and only looked at."""


def test_viewers_do_nothing_and_get_no_real_event(scene: Scene, store: psycopg.Connection) -> None:
    store.execute("update events set occurred_at = now(), recorded_at = now()")
    for path, sent in LOOKS.items():
        assert EVENT in scene.ask("POST", path, **sent).text, "a test of nothing"
        assert EVENT not in scene.ask("POST", path, "viewer", **sent).text
    before = scene.ask("GET", "api/v1/settings").json()
    refused = 0
    for route in scene.ask.app.routes[-1].app.routes:  # type: ignore[attr-defined]
        for method in (getattr(route, "methods", None) or set()) & {"POST", "PUT", "DELETE", "PATCH"}:
            path = re.sub(r"\{(\w+)\}", lambda part: "down" if part[1] == "name" else "2", route.path[1:])
            if path not in LOOKS:
                assert scene.ask(method, path, "viewer", json={}).status_code == 403, (method, path)
                refused += 1
    assert refused > 30
    assert scene.ask("GET", "api/v1/settings").json() == before


def test_dead_letters_are_told_to_viewers_without_anyones_words(scene: Scene) -> None:
    found = scene.ask("GET", "api/v1/rejected", "viewer").json()
    assert found and all(row["reason"].startswith("not shown") and row["request"] is None for row in found)
    assert all(row["request"] for row in scene.ask("GET", "api/v1/rejected").json())
