"""What `http` may be asked for besides: signed requests, and certificates on both sides."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.transport import session as tls
from logstream.destinations.transport.network import Network
from logstream.ledger.records import State
from logstream.testing.contract import LimitsBytes, StaticConnections
from logstream.testing.vendors import Vendor
from tests.certificates import Certificate
from tests.test_contract import Hook

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


class SignedHook(Hook):
    """Verifies by the Standard Webhooks specification, in its own words, not in ours."""

    def authorized(self, request: http.server.BaseHTTPRequestHandler) -> bool:
        self._request = request
        return super().authorized(request)

    def receive(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        content = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + body
        digest = hmac.new(base64.b64decode(SECRET[6:]), content, hashlib.sha256).digest()
        if request.headers["webhook-signature"] != "v1," + base64.b64encode(digest).decode():
            return 401, b"bad signature"
        return super().receive(request, body)


class TestSigned(LimitsBytes):
    type = "http"
    options = {"path": "/in", "format": "array", "sign": True}
    small_requests = {"max_events": 7}
    many = 2_000
    kill_at = 20

    @pytest.fixture
    def server(self) -> Iterator[Vendor]:
        with SignedHook() as server:
            yield server

    def connections(self, server: Vendor) -> StaticConnections:
        headers = {"Authorization": f"Bearer {server.token}"}
        return StaticConnections(HttpCredentials(server.url, headers=headers, signing_secret=SECRET))

    @pytest.mark.parametrize("secret", [None, "", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%"])
    def test_a_secret_that_is_none_is_refused_without_being_shown(
        self, store: psycopg.Connection, server: Vendor, secret: str | None
    ) -> None:
        self.fill(store, 5)
        connections = StaticConnections(HttpCredentials(server.url, signing_secret=secret))
        report = self.export(store, server, connections)
        assert report.state is State.FAILED
        assert "`webhook_secret` in its extra must be whsec_ and at least 24 bytes" in (report.error or "")
        assert not secret or len(secret) < 7 or secret not in (report.error or "")
        assert server.requests == 0


class TestMutualTls(LimitsBytes):
    type = "http"
    options = {"path": "/in", "format": "array"}
    many = 2_000
    kill_at = 20
    small_requests = {"max_events": 7}

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Vendor]:
        authority = Certificate.authority()
        self.authority, self.client = authority.public, authority.sign(name="client").pem
        (tmp_path / "server.pem").write_text(authority.sign().pem)
        (tmp_path / "authority.pem").write_text(self.authority)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem")
        context.load_verify_locations(tmp_path / "authority.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        with Hook() as server:
            server.url = server.url.replace("http:", "https:")
            server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
            yield server

    def connections(self, server: Vendor, **changed: str | None) -> StaticConnections:
        # as they stand in a connection: in JSON, line breaks are often written so
        given = {"client_certificate": self.client.replace("\n", "\\n"), "authority": self.authority, **changed}
        network = Network(authority=given["authority"])
        headers = {"Authorization": f"Bearer {server.token}"}
        certificate = given["client_certificate"]
        return StaticConnections(
            HttpCredentials(server.url, headers=headers, client_certificate=certificate, network=network)
        )

    def test_a_certificate_that_is_refused_for_its_form_is_told_as_that(
        self, store: psycopg.Connection, server: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As Python from 3.13 on refuses one: its authority is known, so to name that would help nothing."""
        make = tls._context.__wrapped__

        def strict(trusted: str | None) -> ssl.SSLContext:
            context = make(trusted)
            context.verify_flags |= ssl.VERIFY_X509_STRICT
            return context

        strict.__wrapped__ = strict  # type: ignore[attr-defined]
        monkeypatch.setattr(tls, "_context", strict)
        authority = Certificate.authority()
        (tmp_path / "server.pem").write_text(authority.sign(full=False).pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem")
        with Hook() as other:
            other._server.socket = context.wrap_socket(other._server.socket, server_side=True)
            other.url = other.url.replace("http:", "https:")
            self.fill(store, 5)
            report = self.export(store, other, self.connections(other, authority=authority.public))
        assert "(Missing Authority Key Identifier): Python from 3.13 on takes only" in (report.error or "")
        assert "REQUESTS_CA_BUNDLE" not in (report.error or "")

    @pytest.mark.parametrize(
        ("changed", "error"),
        [
            (
                {"client_certificate": None},
                "127.0.0.1 wants a client certificate, and refuses what it gets (certificate required)",
            ),
            ({"authority": None}, "the server's certificate is not valid for 127.0.0.1"),
            ({"client_certificate": "no PEM"}, "must hold a certificate and its private key (PEM)"),
            ({"authority": "no PEM"}, "holds no certificates (PEM)"),
        ],
    )
    def test_without_the_right_certificates_nothing_is_sent(
        self, store: psycopg.Connection, server: Vendor, changed: dict[str, str | None], error: str
    ) -> None:
        self.fill(store, 5)
        report = self.export(store, server, self.connections(server, **changed))
        assert report.state is State.FAILED
        assert error in (report.error or "")
        assert server.requests == 0
        assert json.dumps(report.as_json()).count("BEGIN") == 0
