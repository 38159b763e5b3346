"""What the console lets in: nothing of strangers, of users no more than fits, and no more at once than leaves room for others."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from fastapi import HTTPException

from logstream.console import door, runs
from logstream.console.api import contract
from logstream.console.pages import history
from logstream.console.turns import MOST_WAITING, Turns
from logstream.errors import InputError
from logstream.garbage import collection_waits
from logstream.settings import document
from logstream.settings.document import parse_yaml

from .asked import ROOT, Asked, ask

__all__ = ["ask"]  # a fixture

LAKE = {"type": "file", "path": "/tmp/x"}
JSON = {"Content-Type": "application/json"}


def call_raw(ask: Asked, method: str, path: str, receive: Any, **headers: str) -> int:
    """Call the ASGI app with a body of one's own making: the status."""
    told: list[int] = []
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": f"{ROOT}/{path}", "query_string": b"",
        "raw_path": f"{ROOT}/{path}".encode(), "root_path": "", "server": ("testserver", 80), "client": ("192.0.2.7", 1),
        "headers": [(name.lower().replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            told.append(message["status"])

    asyncio.run(ask.app(scope, receive, send))  # type: ignore[arg-type]
    return told[0]


def posts(ask: Asked) -> list[tuple[str, str]]:
    """Every route that takes a body, with something in the place of its parameters."""
    return [
        (method, re.sub(r"\{(\w+)\}", lambda found: "lake" if found[1] == "name" else "1", route.path[1:]))
        for route in ask.app.routes[-1].app.routes  # type: ignore[attr-defined]
        for method in (getattr(route, "methods", None) or set()) & {"POST", "PUT", "DELETE"}
    ]


def test_no_byte_of_a_stranger_is_read(ask: Asked) -> None:
    async def receive() -> Any:
        raise AssertionError("the body is read")

    found = posts(ask)
    assert len(found) > 30
    for method, path in found:
        status = call_raw(ask, method, path, receive, Content_Type="application/json", Content_Length="10")
        assert status == (401 if path.startswith("api/") else 303), (method, path)


def test_what_is_longer_than_it_may_be_is_refused_at_once_and_while_it_comes(ask: Asked) -> None:
    token = f"Bearer {ask.token('admin')}"

    async def unread() -> Any:
        raise AssertionError("the body is read")

    came = 0

    async def endless() -> Any:
        nonlocal came
        came += 1
        return {"type": "http.request", "body": b" " * 100_000, "more_body": True}

    for path, most in (("api/v1/preview", 1_000_000), ("api/v1/check", 1_000_000), ("api/v1/backfills", 1_000_000)):
        said = {"Authorization": token, "Content_Type": "application/json"}
        assert call_raw(ask, "POST", path, unread, Content_Length=str(most + 1), **said) == 413
        came = 0
        assert call_raw(ask, "POST", path, endless, **said) == 413
        assert came == most // 100_000 + 1, "no more is read than may be"
    assert call_raw(ask, "PUT", "api/v1/settings", unread, Content_Length="20000001", Authorization=token) == 413
    for nonsense in ("-1", "x", "9" * 30):
        assert call_raw(ask, "POST", "api/v1/check", unread, Content_Length=nonsense, Authorization=token) == 400
    # a form that is sent as one long line is slow to take apart: files are sent in parts
    status = call_raw(
        ask, "POST", "history", unread, Content_Length="2000000", Content_Type="application/x-www-form-urlencoded",
        Authorization=token,
    )  # fmt: skip
    assert status == 413


def test_the_document_of_the_api_names_how_requests_are_refused_at_the_door(ask: Asked) -> None:
    document = ask("GET", "api/v1/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            assert ({"400", "408", "413", "429"} <= said["responses"].keys()) == (method != "get"), (method, path)
    status = ask("POST", "api/v1/preview", content=b"\xff", headers={"Content-Type": "application/json"}).status_code
    assert str(status) in document["paths"]["/api/v1/preview"]["post"]["responses"]


def test_a_file_of_settings_may_be_large(ask: Asked) -> None:
    text = "# " + "x" * 4_500_000 + "\ndestinations: {lake: {type: file, path: /tmp/x}}\n"
    shown = ask("POST", "history", data={"version": str(ask.version())}, files={"file": ("settings.yaml", text)})
    assert shown.status_code == 200 and "destinations.lake" in shown.text
    form = shown.text[: shown.text.index('name="seen"')].rsplit("<form", 1)[1]
    assert 'enctype="multipart/form-data"' in form, "it is sent again as it came"
    seen = {"version": (None, str(ask.version())), "seen": (None, text)}
    assert ask("POST", "history", files=seen).status_code == 303
    assert "lake" in ask("GET", "api/v1/settings").json()["destinations"]
    assert ask("PUT", "api/v1/settings.yaml", content=text).status_code == 200
    for nothing in ("", " \n"):  # `curl --data-binary @file` sends that of a file that is not there
        refused = ask("PUT", "api/v1/settings.yaml", content=nothing)
        assert refused.status_code == 422 and "send {}" in refused.text, refused.text


def test_a_body_that_does_not_come_to_its_end_is_given_up(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "BODY_SECONDS", 0.05)

    async def stalled() -> Any:
        await asyncio.Event().wait()

    token = f"Bearer {ask.token('admin')}"
    assert call_raw(ask, "POST", "api/v1/preview", stalled, Authorization=token, Content_Type="application/json") == 408


def test_a_body_that_comes_slowly_holds_up_its_sender_alone(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "Turns", partial(Turns, patience=0.05))
    asked, users = Asked(), [f"slow{number}" for number in range(12)]

    async def work() -> None:
        go, begun = asyncio.Event(), asyncio.Semaphore(0)

        async def slowly() -> AsyncIterator[bytes]:
            yield b'{"kind": '
            begun.release()
            await go.wait()
            yield b'"job"}'

        transport = httpx.ASGITransport(asked.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:

            async def send(name: str, content: Any) -> int:
                role = "admin" if name == "ann" else "viewer"
                headers = {"Authorization": f"Bearer {asked.token(role, name)}", "Content-Type": "application/json"}
                return (await client.post(f"{ROOT}/api/v1/preview", headers=headers, content=content)).status_code

            async with asyncio.timeout(60):
                slow = [asyncio.create_task(send(name, slowly())) for name in users for _ in range(2)]
                for _ in slow:
                    await begun.acquire()
                assert await send("ann", b"{}") in (200, 422)
                assert await send(users[0], b"{}") == 429
                go.set()
                await asyncio.gather(*slow)

    asyncio.run(work())


def test_a_body_of_single_bytes_is_kept_in_few_pieces() -> None:
    sent = [{"type": "http.request", "body": b"x", "more_body": number < 200_000} for number in range(200_001)]
    left = iter([*sent, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(left)

    async def work() -> None:
        arrived = await door._arrived(receive)
        assert len(arrived) <= 4, "of 200,001 messages"
        again = door._again(arrived, receive)
        body, more = b"", True
        while more:
            message = await again()
            body, more = body + message["body"], message["more_body"]
        assert body == b"x" * 200_001
        assert (await again())["type"] == "http.disconnect"

    asyncio.run(work())


# turns


def test_each_has_some_and_none_has_all() -> None:
    async def work() -> None:
        turns = Turns(of_a_user=2, at_once=3, patience=0.05)
        async with turns.turn("ann"), turns.turn("ann"):
            with pytest.raises(HTTPException) as refused:
                async with turns.turn("ann"):
                    raise AssertionError("a third at once")
            assert (refused.value.status_code, refused.value.headers) == (429, {"Retry-After": "10"})
            async with turns.turn("ben"):
                with pytest.raises(HTTPException):
                    async with turns.turn("cyn"):
                        raise AssertionError("a fourth at once")
            # one that broke off has given its turn back
            with pytest.raises(ZeroDivisionError):
                async with turns.turn("ben"):
                    raise ZeroDivisionError
            async with turns.turn("ben"):
                pass
        # one that waits is let in as soon as there is room
        patient, order = Turns(of_a_user=1), []

        async def one(name: str, seconds: float) -> None:
            async with patient.turn("ann"):
                order.append(name)
                await asyncio.sleep(seconds)

        await asyncio.gather(one("first", 0.05), one("second", 0))
        assert order == ["first", "second"]

    asyncio.run(work())


def test_those_who_wait_cost_the_loop_nothing_and_come_in_in_their_order() -> None:
    """A script of one user may send thousands at once: what waits must not wake the loop that serves all of Airflow."""

    async def work() -> None:
        turns, come, refused = Turns(patience=3600), [], []
        doors = [asyncio.Event() for _ in range(5000)]

        async def one(number: int) -> None:
            try:
                async with turns.turn("ann"):
                    come.append(number)
                    await doors[number].wait()
            except HTTPException as error:
                refused.append(error.status_code)

        tasks = [asyncio.create_task(one(number)) for number in range(len(doors))]
        await ticks()
        waiting = len(doors) - len(come) - len(refused)
        assert (come, waiting, set(refused)) == ([0, 1], MOST_WAITING, {429})
        loop, timers = asyncio.get_running_loop(), []
        loop.call_at, call_at = lambda *given, **more: timers.append(given) or call_at(*given, **more), loop.call_at  # type: ignore[assignment,func-returns-value]
        await asyncio.sleep(0.1)
        assert len(timers) == 1, "the sleep of this test"
        async with turns.turn("ben"):
            pass
        # one goes away while it waits, one as it is let in: neither keeps a turn
        tasks[2].cancel()
        await ticks()
        doors[0].set()
        await ticks()
        doors[1].set()
        await asyncio.sleep(0)  # the second has given its turn back, and the fifth was woken
        tasks[4].cancel()
        await ticks()
        assert come == [0, 1, 3, 5]
        for door_ in doors:
            door_.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert come == sorted(come)
        async with turns.turn("ann"), turns.turn("ann"):
            pass

    asyncio.run(work())


async def ticks() -> None:
    """Let all that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Semaphore]]:
    """What takes its time does so until the event is set; the semaphore is released by each that has begun."""
    go, begun = threading.Event(), threading.Semaphore(0)

    def stands(*_: Any, **__: Any) -> Any:
        begun.release()
        assert go.wait(30)
        raise InputError("enough")

    monkeypatch.setattr("logstream.console.service.messages.MessageService.preview", stands)
    monkeypatch.setattr("logstream.console.service.destinations.DestinationService.check", stands)
    monkeypatch.setattr(history, "parse_yaml", stands)
    monkeypatch.setattr(runs, "plan_backfill", stands)
    yield go, begun
    go.set()


SLOW: dict[str, dict[str, Any]] = {
    "api/v1/preview": {"json": {}},
    "parts/preview": {"data": {"preview_kind": "job"}},
    "parts/event": {"data": {"preview_kind": "job"}},
    "api/v1/check": {"json": LAKE},
    "parts/test": {"data": {"destination_type": "file", "option.path": "/tmp/x"}},
    "history": {"files": {"file": ("settings.yaml", "version: 1"), "version": (None, "1")}},
    "api/v1/backfills": {"json": {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z", "dry_run": True}},
    "parts/backfill": {"data": {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}},
}
"""Previews, tests, imports and dry runs."""


def test_a_user_who_waits_for_much_holds_up_no_other(
    ask: Asked, held: tuple[threading.Event, threading.Semaphore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "Turns", partial(Turns, patience=0.05))
    for path in SLOW:
        held[0].clear()
        holds_up_no_other(Asked(), *held, path)


def holds_up_no_other(asked: Asked, go: threading.Event, begun: threading.Semaphore, path: str) -> None:
    async def work() -> None:
        transport = httpx.ASGITransport(asked.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:

            def send(method: str, where: str, name: str, **sent: Any) -> Any:
                headers = {"Authorization": f"Bearer {asked.token('admin', name)}"}
                return client.request(method, f"{ROOT}/{where}", headers=headers, **sent)

            async with asyncio.timeout(60):
                slow = [asyncio.create_task(send("POST", path, "ann", **SLOW[path])) for _ in range(2)]
                for _ in slow:
                    await asyncio.to_thread(begun.acquire)
                # this loop answers meanwhile: it is not what waits
                assert (await send("GET", "api/v1/samples/job", "ann")).status_code == 200
                refused = await send("POST", path, "ann", **SLOW[path])
                assert (refused.status_code, refused.headers["Retry-After"]) == (429, "10")
                other = asyncio.create_task(send("POST", path, "ben", **SLOW[path]))
                await asyncio.to_thread(begun.acquire)
                go.set()
                assert {answer.status_code for answer in await asyncio.gather(*slow, other)} <= {200, 422}

    asyncio.run(work())


def test_nothing_large_is_taken_apart_by_the_loop(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """What parses and validates does so in a thread of its own: the loop serves every user of Airflow."""
    seen: dict[str, set[int]] = {}

    def watch(owner: Any, name: str) -> None:
        kept: Callable[..., Any] = getattr(owner, name)

        def watched(*given: Any, **named: Any) -> Any:
            if len(given[0]) > 10_000:  # tokens of users are JSON, too
                seen.setdefault(name, set()).add(threading.get_ident())
            return kept(*given, **named)

        monkeypatch.setattr(owner, name, watched)

    watch(history, "parse_yaml")
    watch(contract.json, "loads")
    monkeypatch.setattr(
        "logstream.console.service.settings.validate_settings",
        lambda given, **_: seen.setdefault("validate", set()).add(threading.get_ident()) or document_of(given),
    )

    async def work() -> None:
        loop = threading.get_ident()
        headers = {"Authorization": f"Bearer {ask.token('admin')}", "If-Match": "*"}
        transport = httpx.ASGITransport(ask.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers) as client:
            wanted = {"workspaces": [{"id": number} for number in range(2_000)]}
            assert (await client.put(f"{ROOT}/api/v1/settings", json=wanted)).status_code == 200
            files = {"file": ("settings.yaml", json.dumps(wanted)), "version": (None, "1")}
            assert (await client.post(f"{ROOT}/history", files=files)).status_code == 200
        assert set(seen) >= {"parse_yaml", "loads", "validate"}
        assert all(loop not in threads for threads in seen.values()), seen

    asyncio.run(work())


def document_of(given: Any) -> Any:
    from logstream.validation import validate_settings

    return validate_settings(given)


# ten thousand workspaces, and windows of a month


def test_the_collector_waits_while_settings_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """With it, ten thousand workspaces take three times as long."""
    states = []

    def load(*_: Any, **__: Any) -> Any:
        states.append(gc.isenabled())
        with collection_waits:
            states.append(gc.isenabled())
        states.append(gc.isenabled())
        return {}

    monkeypatch.setattr(document.PlainBuilder, "build", load)
    assert gc.isenabled()
    parse_yaml("version: 1")
    assert (states, gc.isenabled()) == ([False, False, False], True)
    with pytest.raises(ZeroDivisionError), collection_waits:
        raise ZeroDivisionError
    assert gc.isenabled()
    gc.disable()
    try:
        with collection_waits:
            pass
        assert not gc.isenabled(), "it stays as it was"
    finally:
        gc.enable()


# hostile documents
