"""Object stores that give no answer, by each of the ways to them: who gave none is said, and why, in the system's words."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.destinations.base import Step
from logstream.destinations.outcome import Retry
from logstream.destinations.registry import make_destination
from logstream.destinations.transport import addresses, gate, way
from logstream.destinations.transport.addresses import VARIABLE
from logstream.destinations.transport.unanswered import server_in, unanswered
from logstream.settings.models import DestinationSettings
from logstream.testing.servers.process import free_port

KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
AZURE = f"DefaultEndpointsProtocol=http;AccountName=acc;AccountKey={KEY};BlobEndpoint=ADDRESS/acc"
KINDS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "s3": ({"bucket": "audit"}, {"conn_type": "aws", "login": "a", "password": "s3cr3t-b", "extra": {"endpoint_url": "ADDRESS"}}),
    "azure_blob": ({"container": "audit"}, {"conn_type": "wasb", "extra": {"connection_string": AZURE}}),
    "gcs": ({"bucket": "audit"}, {"conn_type": "google_cloud_platform", "extra": {"endpoint_url": "ADDRESS"}}),
}  # fmt: skip


def refusing() -> str:
    return f"http://127.0.0.1:{free_port()}"


@contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that takes connections, and does with each what `talk` does."""
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    kept: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
                connection.recv(1024)
                kept.append(connection)
                talk(connection)
            except OSError:
                return

    Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.close()
        for one in kept:
            one.close()


def silent(_: socket.socket) -> None:
    return


def resetting(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def cutting(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
    connection.close()


def answering_502(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 502 -\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad")
    connection.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setattr(way, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(way, "RETRIES", 0)


def told(kind: str, address: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Step, str]:
    """What a put, the check and a look say of a store at an address."""
    options, connection = KINDS[kind]
    monkeypatch.setenv("AIRFLOW_CONN_C", json.dumps(connection).replace("ADDRESS", address))
    settings = DestinationSettings.model_validate({"type": kind, "connection": "c", **options})
    destination: Any = make_destination("lake", settings, AirflowConnections())

    async def look() -> tuple[Any, Step, str]:
        await destination.start()
        try:
            outcome = await destination.put("1/a.json", b"{}")
            (step,) = [step async for step in destination.check()]
            with pytest.raises(Exception) as raised:
                await destination.get("1/a.json")
        finally:
            await destination.close()
        return outcome, step, str(raised.value)

    return asyncio.run(look())


def require(kind: str, address: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    outcome, step, read = told(kind, address, monkeypatch)
    assert isinstance(outcome, Retry), outcome
    assert not step.ok and step.name.endswith("can be reached"), step
    for text in (outcome.reason, step.detail, read):
        assert all(word in text for word in words), text
        assert "error sending request" not in text and "1/a.json" not in text and KEY not in text, text


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_connection(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = refusing()
    require(kind, address, monkeypatch, f"{address.removeprefix('http://')}: cannot connect: Connection refused")
    secure = address.replace("http", "https")
    require(kind, secure, monkeypatch, f"{address.removeprefix('http://')}: cannot connect: Connection refused")


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_host(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "no-such-host.invalid:80: cannot connect: its name cannot be resolved ("
    require(kind, "http://no-such-host.invalid", monkeypatch, words)


@pytest.mark.parametrize("kind", KINDS)
def test_servers_that_say_nothing_or_break_off(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(silent) as address:
        server = address.removeprefix("http://")
        require(kind, address, monkeypatch, f"{server}: no answer within 0.5 s")
        monkeypatch.setattr(way, "CONNECT_SECONDS", 0.2)
        # a server for TLS that says nothing: it is connected to, and no session comes of it
        require(kind, address.replace("http", "https"), monkeypatch, f"{server}: cannot connect within 0.2 s")
    with listening(resetting) as address:
        require(kind, address, monkeypatch, ": it ended the connection: Connection reset by peer")
    with listening(cutting) as address:
        require(kind, address, monkeypatch, ": it ended the connection without an answer")


@pytest.mark.parametrize("kind", KINDS)
def test_by_the_gate(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses of connections are reached by the gate, which alone knows why it made no connection."""
    monkeypatch.delenv(VARIABLE)
    for scheme, port in (("http", 80), ("https", 443)):
        words = f"no-such-host.invalid:{port}: cannot connect: its name cannot be resolved ("
        require(kind, f"{scheme}://no-such-host.invalid", monkeypatch, words)
    address = refusing()
    monkeypatch.setattr(addresses, "is_public", lambda _: True)
    for scheme in ("http", "https"):
        port = address.rpartition(":")[2]
        require(kind, f"{scheme}://127.0.0.1:{port}", monkeypatch, f"127.0.0.1:{port}: cannot connect", "refused")
    monkeypatch.setattr(gate, "CONNECT_SECONDS", 0.0)
    require(kind, "http://127.0.0.1:1", monkeypatch, "127.0.0.1:1: cannot connect in time")


@pytest.mark.parametrize("kind", KINDS)
def test_by_a_proxy(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = refusing()
    monkeypatch.setenv("HTTPS_PROXY", dead)
    words = "store.example:443, by the proxy 127.0.0.1: cannot connect: Connection refused"
    require(kind, "https://store.example", monkeypatch, words)
    with listening(answering_502) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        require(kind, "https://store.example", monkeypatch, "store.example:443, by the proxy: it was not connected to")


def test_who_gives_tokens_is_told_from_the_store() -> None:
    text = (
        "Generic GCS error: Error performing token request: Error performing POST https://oauth2.example/token in 1ms, after 2 "
        "retries - HTTP error: error sending request\n\nDebug source:\nHttpError {\n kind: Connect,\n source: ConnectError(\n"
        ' "tcp connect error",\n Os {\n code: 101,\n kind: NetworkUnreachable,\n message: "Network is unreachable",\n},\n)}'
    )
    assert unanswered(text) == "cannot connect: Network is unreachable"
    assert server_in(text, "https://storage.example") == "oauth2.example:443"
    assert server_in("no request is named", "http://storage.example") == "storage.example:80"


OBSTORES_OWN = (
    "Generic S3 error: Error performing PUT http://evil.example/ in 1ms - HTTP error: error sending request\n\n"
    "Debug source:\nkind: TimedOut, dns error, status code: 523"
)


@pytest.mark.parametrize(
    "page",
    [OBSTORES_OWN, f"in 1ms - HTTP error: {OBSTORES_OWN}", "Error performing PUT http://[x", "PUT http://h:99999/"],
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gated", [False, True])
def test_a_page_of_the_stores_own_is_no_cause(
    kind: str, page: str, gated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if gated:
        monkeypatch.delenv(VARIABLE)
        monkeypatch.setattr(addresses, "is_public", lambda _: True)

    def answering(connection: socket.socket) -> None:
        body = page.encode()
        connection.sendall(b"HTTP/1.1 503 -\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        connection.close()

    with listening(answering) as address:
        outcome, _, _ = told(kind, address, monkeypatch)
        assert isinstance(outcome, Retry) and "503" in outcome.reason, outcome
        assert "cannot connect" not in outcome.reason and "no answer" not in outcome.reason, outcome


@pytest.mark.parametrize(
    "text", ["Error performing PUT http://[x/ in 1ms - HTTP error: ", "Error performing PUT http://h:99999/ in"]
)
def test_what_is_no_address_is_not_named(text: str) -> None:
    assert server_in(text, "http://[::1]:9000") == "[::1]:9000"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Error performing PUT http://x/TimedOut in 1ms - Server returned non-2xx status code: 503: TimedOut", None),
        ("x - HTTP error: error sending request\n\nDebug source:\nHttpError {\n kind: Timeout,\n}", None),
        ("Error performing GET http://x/y in 1ms - HTTP error: error sending request", None),
        ("Error performing GET http://x/y in 1ms - HTTP error: error sending request\n\nDebug source:\nHttpError {\n kind: Timeout,\n}", "no answer in time"),
        ("Error performing GET http://x/y in 1ms - HTTP error: error sending request\n\nDebug source:\nHttpError {\n kind: Connect,\n}", None),
        (
            "Error performing GET http://x/y in 1ms - HTTP error: error sending request\n\nDebug source:\nkind: Connect,\n ConnectError(\n\"dns error\",\n",
            "cannot connect: its name cannot be resolved",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_not_made_up(text: str, why: str | None) -> None:
    assert unanswered(text) == why
