"""Plain HTTP at a port for TLS, TLS at a port for plain HTTP, servers that end our TLS, and redirects of object stores: told as that, at once."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from logstream.destinations.objects import ObjectDestination
from logstream.destinations.outcome import GiveUp, Retry
from logstream.destinations.parcel import EventRef
from logstream.destinations.registry import make_destination
from logstream.events import Event
from logstream.settings.models import DestinationSettings
from logstream.testing.servers import LogSink

from .certificates import Certificate
from .test_connections import connections  # noqa: F401 - a fixture
from .ways import Nginx

OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"bucket": "audit"},
    "azure_blob": {"container": "audit"},
    "gcs": {"bucket": "audit"},
    "http": {},
}
KEY = base64.b64encode(b"x" * 32).decode()


def fields(kind: str, url: str) -> dict[str, Any]:
    blob = f"DefaultEndpointsProtocol={url.partition(':')[0]};AccountName=own;AccountKey={KEY};BlobEndpoint={url}/own;"
    return {
        "s3": {"conn_type": "aws", "login": "l", "password": "p", "extra": {"endpoint_url": url, "region_name": "eu-west-1"}},
        "azure_blob": {"conn_type": "wasb", "extra": {"connection_string": blob}},
        "gcs": {"conn_type": "google_cloud_platform", "extra": {"endpoint_url": url}},
        "http": {"conn_type": "http", "host": url},
    }[kind]  # fmt: skip


def outcome(made: Any, kind: str) -> Any:
    """What becomes of one object or request."""
    settings = DestinationSettings.model_validate({"type": kind, "connection": "c", **OPTIONS[kind]})
    destination: Any = make_destination("d", settings, made)

    async def run() -> Any:
        await destination.start()
        try:
            if isinstance(destination, ObjectDestination):
                return await destination.put("key", b"{}")
            event = Event(1, 100, "job", 0, 0, b"{}")
            return await destination.deliver(destination.parcel("p", [EventRef(1, 100, "job")], [b"{}"], event))
        finally:
            await destination.close()

    return asyncio.run(run())


@pytest.fixture
def bare_tls(tmp_path: Path) -> Iterator[int]:
    """A server that speaks TLS alone, and ends what does not: it says nothing in HTTP."""
    (tmp_path / "server.pem").write_text(Certificate.authority().sign().pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = server.accept()
                with suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


@pytest.mark.parametrize("kind", OPTIONS)
def test_plain_http_at_a_port_for_tls(connections: Any, bare_tls: int, kind: str) -> None:  # noqa: F811
    found = outcome(connections(fields(kind, f"http://127.0.0.1:{bare_tls}")), kind)
    assert isinstance(found, GiveUp) and f"127.0.0.1 speaks TLS at port {bare_tls}: write https://" in found.reason, (
        found
    )


@pytest.mark.parametrize("kind", OPTIONS)
def test_plain_http_at_nginx_with_tls(connections: Any, secure: Nginx, kind: str) -> None:  # noqa: F811
    port = next(iter(secure.ports.values()))
    found = outcome(connections(fields(kind, f"http://127.0.0.1:{port}")), kind)
    assert isinstance(found, GiveUp) and f"127.0.0.1 speaks TLS at port {port}: write https://" in found.reason, found


@pytest.mark.parametrize("kind", OPTIONS)
def test_tls_at_a_port_for_plain_http(connections: Any, kind: str) -> None:  # noqa: F811
    with LogSink() as server:
        found = outcome(connections(fields(kind, f"https://127.0.0.1:{server.port}")), kind)
    assert (
        isinstance(found, GiveUp) and f"127.0.0.1 speaks no TLS at port {server.port}: write http://" in found.reason
    ), found


@pytest.fixture
def wants_certificate(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[int, list[int]]]:
    """A server, of an authority that is trusted, that takes whom a client certificate names: its port, and how often it was come to."""
    authority, came = Certificate.authority(), list[int]()
    (tmp_path / "server.pem").write_text(authority.sign().pem)
    (tmp_path / "authority.pem").write_text(authority.public)
    for variable in ("REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    context.load_verify_locations(tmp_path / "authority.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = request.param
    server = socket.create_server(("127.0.0.1", 0))
    kept: list[ssl.SSLSocket] = []  # closed at once, one with unread bytes may take its alert back

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = server.accept()
                came.append(1)
                kept.append(context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False))
                with suppress(OSError):
                    kept[-1].do_handshake()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1], came
    for one in (server, *kept):
        one.close()


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("wants_certificate", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], indirect=True)
def test_a_server_that_wants_a_client_certificate(
    connections: Any, wants_certificate: tuple[int, list[int]], kind: str  # noqa: F811
) -> None:  # fmt: skip
    port, came = wants_certificate
    found = outcome(connections(fields(kind, f"https://127.0.0.1:{port}")), kind)
    assert came
    assert isinstance(found, GiveUp), found
    assert "client certificate" in found.reason and "`client_certificate`" in found.reason, found
    if kind == "http":  # one that its authority has not signed
        stranger = {"extra": {"client_certificate": Certificate.authority("other").sign(name="client").pem}}
        found = outcome(connections({**fields(kind, f"https://127.0.0.1:{port}"), **stranger}), kind)
        assert isinstance(found, GiveUp) and "refuses what it gets (" in found.reason, found


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_server_that_breaks_off_and_speaks_no_tls_is_tried_again(connections: Any, kind: str) -> None:  # noqa: F811
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = server.accept()
                plain.recv(1)
                plain.close()

    threading.Thread(target=serve, daemon=True).start()
    found = outcome(connections(fields(kind, f"http://127.0.0.1:{server.getsockname()[1]}")), kind)
    server.close()
    assert isinstance(found, Retry), found


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest) -> Iterator[tuple[int, list[str]]]:
    """Sends everything elsewhere, as a login wall or another region's endpoint does; its port, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(request.param)
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_POST = do_PUT  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_port, asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", ["s3", "azure_blob", "gcs"])
@pytest.mark.parametrize("elsewhere", [301, 302, 307, 308], indirect=True)
def test_redirects_of_stores_are_told_and_not_followed(
    connections: Any, kind: str, elsewhere: tuple[int, list[str]]  # noqa: F811
) -> None:  # fmt: skip
    port, asked = elsewhere
    found = outcome(connections(fields(kind, f"http://127.0.0.1:{port}")), kind)
    assert isinstance(found, GiveUp) and "answers with a redirect (30" in found.reason, found
    assert asked and "/elsewhere" not in asked
