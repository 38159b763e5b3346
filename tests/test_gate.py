"""The gate by which object stores reach addresses that a connection names: everything comes through, for its own clients alone.

This machine counts as public here, and nothing else is changed: so the servers of the tests are reached as a customer's are.
"""

from __future__ import annotations

import http.client
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
import pytest
from obstore.store import S3Store

from logstream.destinations.transport import addresses
from logstream.destinations.transport.gate import UNREACHED, Pass, gate
from logstream.destinations.transport.network import Network
from logstream.destinations.transport.way import Way
from logstream.testing.servers import LogSink, S3Server

from .certificates import Certificate
from .test_ways import (  # noqa: F401 - fixtures
    KINDS,
    _plain_environment,
    check,
    connection,
    works,
)
from .ways import Nginx


@pytest.fixture(autouse=True)
def _this_machine_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = addresses.refuse_address
    monkeypatch.delenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES")
    monkeypatch.setattr(addresses, "refuse_address", lambda ip, host: ip == "127.0.0.1" or judge(ip, host))


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses for which a way through the gate was asked."""
    asked: list[str] = []
    admit = type(gate()).admit

    def note(self: Any, url: str) -> Pass:
        asked.append(url)
        return admit(self, url)

    monkeypatch.setattr(type(gate()), "admit", note)
    return asked


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_every_store_is_reached_through_it(
    kind: str, scheme: str, servers: dict[str, int], secure: Nginx, authority: Certificate,
    http_sink: LogSink, used: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "ca.pem").write_text(authority.public)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    base = secure.url(servers[kind]) if scheme == "https" else f"http://127.0.0.1:{servers[kind]}"
    steps = check(kind, connection(kind, base, http_sink), monkeypatch)
    assert works(steps), steps
    assert len(used) == 1 and used[0].startswith(base)


def client(way: Way, bucket: str) -> S3Store:
    return S3Store(
        bucket, endpoint=way.url, region="us-east-1", access_key_id="k", secret_access_key="s",
        client_options=way.client_options(), retry_config=way.retry_config(),  # type: ignore[arg-type]
    )  # fmt: skip


def test_objects_of_every_size_by_many_at_once(s3: S3Server, bucket: str) -> None:
    way = Way(s3.url, Network(), chosen=True)
    store = client(way, bucket)
    bodies = {f"k{number}": bytes([number % 256]) * (number * 40_000) for number in range(40)}
    bodies["big"] = b"0123456789abcdef" * 500_000

    def put(item: tuple[str, bytes]) -> None:
        obstore.put(store, item[0], item[1], use_multipart=False)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(put, bodies.items()))
        found = dict(zip(bodies, threads.map(lambda key: bytes(obstore.get(store, key).bytes()), bodies), strict=True))
    assert found == bodies


def ask(found: Pass, method: str, target: str, headers: dict[str, str], body: bytes | None = None) -> int:
    way = urlsplit(found.url)
    caller = http.client.HTTPConnection(way.hostname or "", way.port, timeout=20)
    try:
        caller.request(method, target, body, headers)
        return caller.getresponse().status
    finally:
        caller.close()


def test_it_opens_for_its_own_clients_and_their_server_alone(sink: LogSink) -> None:
    found = gate().admit(sink.url)
    proof = {"Proxy-Authorization": found.credentials}
    own = f"127.0.0.1:{sink.port}"
    with LogSink() as other:
        for headers, target in (
            ({}, own),
            ({"Proxy-Authorization": found.credentials[:-4] + "AAAA"}, own),
            (proof, f"127.0.0.1:{other.port}"),
            (proof, "169.254.169.254:80"),
            (proof, f"localhost:{sink.port}"),
        ):
            assert ask(found, "CONNECT", target, headers) == 407
            assert ask(found, "POST", f"http://{target}/x", headers, b"{}") == 407
        assert (sink.requests, other.requests) == (0, 0)
    assert ask(found, "POST", f"http://{own}/x", proof, b"{}") == 401  # the server's own answer
    assert sink.requests == 1
    assert not [name for name in sink.heads[0] if name.lower().startswith("proxy-")]


def test_what_follows_a_request_is_another_one(sink: LogSink) -> None:
    """On a connection that is used again, the next request is read as one: it may not lead elsewhere, nor show the pass."""
    found = gate().admit(sink.url)
    way = urlsplit(found.url)
    first = (
        f"POST http://127.0.0.1:{sink.port}/a HTTP/1.1\r\nHost: 127.0.0.1:{sink.port}\r\n"
        f"Proxy-Authorization: {found.credentials}\r\nContent-Length: 2\r\n\r\n{{}}"
    )
    with socket.create_connection((way.hostname, way.port), timeout=20) as caller:
        for text in (first, first.replace("/a", "/c")):
            caller.sendall(text.encode())
            answer = b""
            while not answer.endswith(b"401}"):
                answer += caller.recv(65536)
            assert answer.startswith(b"HTTP/1.1 401")
        caller.sendall(first.replace(f":{sink.port}/a", ":9/b").encode())
        assert caller.recv(65536) == b""
    assert sink.requests == 2
    assert not [head for head in sink.heads if "Proxy-Authorization" in head]


def test_a_server_that_is_not_there_is_no_forbidden_one() -> None:
    way = Way("http://127.0.0.1:9", Network(retries=0), chosen=True)
    with pytest.raises(Exception) as caught:
        obstore.put(client(way, "audit"), "k", b"x", use_multipart=False)
    assert way.trouble(caught.value) is None
    assert str(UNREACHED) in str(caught.value)
