"""The way to receivers as companies have it: proxies that must be used, TLS by an authority of one's own, bodies of a limited size."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Split
from logstream.destinations.parcel import LaneRef
from logstream.destinations.registry import make_destination
from logstream.destinations.transport.network import BUNDLES
from logstream.events import Event
from logstream.messages import Messages
from logstream.settings.models import DestinationSettings
from logstream.steps import Step
from logstream.testing.servers import AZURITE_ACCOUNT, AZURITE_KEY, LogSink
from logstream.testing.vendors import AzureMonitor
from logstream.window import Window

from .certificates import Certificate
from .ways import PLACE, LookingProxy, Nginx, Tinyproxy, nginx, tinyproxy

KINDS = ["s3", "azure_blob", "gcs", "http"]
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *BUNDLES, "AWS_CA_BUNDLE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Tinyproxy]:
    with tinyproxy() as found:
        yield found


def connection(kind: str, base: str, sink: LogSink, **extra: Any) -> dict[str, Any]:
    """An Airflow connection to the server of a type that is at `base`."""
    given: dict[str, dict[str, Any]] = {
        "s3": {
            "conn_type": "aws", "login": "demo-access-key", "password": "demo-secret-key",
            "extra": {"endpoint_url": base, "region_name": "us-east-1"},
        },
        "azure_blob": {
            "conn_type": "wasb", "login": AZURITE_ACCOUNT, "password": AZURITE_KEY,
            "host": f"{base}/{AZURITE_ACCOUNT}", "extra": {},
        },
        "gcs": {"conn_type": "google_cloud_platform", "extra": {"endpoint_url": base}},
        "http": {"conn_type": "http", "host": base, "extra": {"headers": {"Authorization": f"Bearer {sink.token}"}}},
    }  # fmt: skip
    found = given[kind]
    found["extra"].update(extra)
    return found


def settings(kind: str, **options: Any) -> DestinationSettings:
    where = {"azure_blob": {"container": PLACE}, "http": {}}.get(kind, {"bucket": PLACE})
    return DestinationSettings.model_validate({"type": kind, "connection": "c", **where, **options})


def check(kind: str, connection: dict[str, Any] | str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[Step]:
    """What the test of a destination says."""
    monkeypatch.setenv("AIRFLOW_CONN_C", connection if isinstance(connection, str) else json.dumps(connection))

    async def run() -> list[Step]:
        made = make_destination("d", settings(kind, **options), AirflowConnections())
        return [step async for step in made.run_check()]

    return asyncio.run(run())


def send(kind: str, connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, body: bytes = b"{}") -> Outcome:
    """What becomes of one event."""
    monkeypatch.setenv("AIRFLOW_CONN_C", json.dumps(connection))
    moment = datetime(2026, 3, 1, tzinfo=UTC)

    async def run() -> Outcome:
        made: Any = make_destination("d", settings(kind), AirflowConnections())
        await made.start()
        packer = made.packer(LaneRef("d", Window(moment, moment.replace(hour=1)), 0, 1), 0)
        event = Event(1, 100, "job", 1_772_323_200_000_000, 1_772_323_200_000_000, body)
        (parcel,) = [*packer.pack([event], Messages([body])), *packer.finish()]
        outcome: Outcome = await made.deliver(parcel)
        await made.close()
        return outcome

    return asyncio.run(run())


def works(steps: list[Step]) -> bool:
    return bool(steps) and all(step.ok for step in steps)


@pytest.mark.parametrize("kind", KINDS)
def test_the_environments_proxy_is_used_unless_it_names_the_host(
    kind: str, servers: dict[str, int], proxy: Tinyproxy, http_sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = connection(kind, f"http://127.0.0.1:{servers[kind]}", http_sink)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    before = len(proxy.requests())
    steps = check(kind, found, monkeypatch)
    assert works(steps), steps
    asked = proxy.requests()[before:]
    assert asked and all(f"http://127.0.0.1:{servers[kind]}" in line for line in asked), asked
    monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
    before = len(proxy.requests())
    assert works(check(kind, found, monkeypatch))
    assert proxy.requests()[before:] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_proxy_carries_tls_of_a_private_authority(
    kind: str, servers: dict[str, int], secure: Nginx, authority: Certificate, proxy: Tinyproxy, http_sink: LogSink,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "ca.pem").write_text(authority.public)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    before = len(proxy.requests())
    steps = check(kind, connection(kind, secure.url(servers[kind]), http_sink), monkeypatch)
    assert works(steps), steps
    port = secure.ports[servers[kind]]
    assert {line.split()[1] for line in proxy.requests()[before:]} == {f"127.0.0.1:{port}"}


PROXIES_OF = {
    "s3": lambda url: {"config_kwargs": {"proxies": {"http": url}}},
    "azure_blob": lambda url: {"proxies": {"http": url}},
    "http": lambda url: {"proxies": {"http": url}},
}


@pytest.mark.parametrize("kind", PROXIES_OF)
def test_a_connections_own_proxy_comes_first(
    kind: str, servers: dict[str, int], proxy: Tinyproxy, http_sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # no server is there
    monkeypatch.setenv("NO_PROXY", "*")
    base = f"http://127.0.0.1:{servers[kind]}"
    before = len(proxy.requests())
    steps = check(kind, connection(kind, base, http_sink, **PROXIES_OF[kind](proxy.url)), monkeypatch)
    assert works(steps), steps
    assert len(proxy.requests()) > before
    # a customer's connection may not send us to a proxy inside; one of the operator's environment may be there
    monkeypatch.delenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES")
    inside = connection(
        kind, f"http://{AZURITE_ACCOUNT}.blob.core.windows.net", http_sink, **PROXIES_OF[kind](proxy.url)
    )
    before = len(proxy.requests())
    try:
        told = str(check(kind, inside, monkeypatch))
    except Exception as error:
        told = str(error)
    assert "not a public address" in told
    assert proxy.requests()[before:] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_credentials(
    kind: str, scheme: str, servers: dict[str, int], secure: Nginx, authority: Certificate, http_sink: LogSink,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "ca.pem").write_text(authority.public)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    base = secure.url(servers[kind]) if scheme == "https" else f"http://127.0.0.1:{servers[kind]}"
    found = connection(kind, base, http_sink)
    with tinyproxy("fox", "quick-brown-fox") as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://fox:quick-brown-fox@127.0.0.1:{proxy.port}")
        steps = check(kind, found, monkeypatch)
        assert works(steps), steps
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://fox:quick-red-fox-1@127.0.0.1:{proxy.port}")
        outcome = send(kind, found, monkeypatch)
        assert isinstance(outcome, GiveUp), outcome
        assert "the proxy wants credentials" in outcome.reason and "quick" not in outcome.reason


AUTHORITIES = {
    "s3": ("AWS_CA_BUNDLE", "verify"),
    "azure_blob": ("CURL_CA_BUNDLE", "connection_verify"),
    "gcs": ("SSL_CERT_FILE", None),
    "http": ("REQUESTS_CA_BUNDLE", "verify"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_private_authority_is_named_to_the_environment_or_to_the_connection(
    kind: str, servers: dict[str, int], secure: Nginx, authority: Certificate, http_sink: LogSink,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    file = tmp_path / "ca.pem"
    file.write_text(authority.public)
    variable, extra = AUTHORITIES[kind]
    base = secure.url(servers[kind])
    if extra is not None:
        steps = check(kind, connection(kind, base, http_sink, **{extra: str(file)}), monkeypatch)
        assert works(steps), steps
    outcome = send(kind, connection(kind, base, http_sink), monkeypatch)
    assert isinstance(outcome, GiveUp), outcome  # at once: trying again would not help
    assert "certificate" in outcome.reason and "REQUESTS_CA_BUNDLE" in outcome.reason
    monkeypatch.setenv(variable, str(file))
    outcome = send(kind, connection(kind, base, http_sink), monkeypatch)
    assert isinstance(outcome, Delivered), outcome


@pytest.mark.servers
def test_a_gateway_that_takes_small_bodies_only(
    http_sink: LogSink, authority: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nginx(authority.sign(), [http_sink.port], body="2k") as gateway:
        found = connection("http", gateway.url(http_sink.port), http_sink, ca=authority.public)
        assert isinstance(send("http", found, monkeypatch, b'{"a":1}'), Delivered)
        outcome = send("http", found, monkeypatch, b'{"a":"' + b"x" * 3_000 + b'"}')
        assert isinstance(outcome, Split) and "413" in outcome.reason


class Login(LogSink):
    """Microsoft's token service, as far as azure-identity asks it."""

    def receive(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        base = "https://login.microsoftonline.com"
        if "openid-configuration" in request.path:
            answer = {
                "token_endpoint": f"{base}/tenant/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/tenant/oauth2/v2.0/authorize",
                "issuer": f"{base}/tenant/v2.0",
            }
        elif request.path == "/tenant/oauth2/v2.0/token":
            self.bodies.append(body)
            answer = {"access_token": self.token, "token_type": "Bearer", "expires_in": "3600"}
        else:
            return 404, b"{}"
        return 200, json.dumps(answer).encode()


class GoogleObjects(LogSink):
    """Google's XML API, as far as one object is put, read and removed: the emulator has no TLS name, and no ETag."""

    def __init__(self) -> None:
        super().__init__()
        self.answer_headers = {"ETag": '"1"', "Last-Modified": "Sun, 01 Mar 2026 00:00:00 GMT"}
        self.objects: dict[str, bytes] = {}

    def receive(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        assert request.headers.get("Authorization", "Bearer").strip() == "Bearer"  # no token
        assert request.headers.get("Authorization", "Bearer").strip() == "Bearer"  # no token
        if request.command == "PUT":
            self.objects[request.path] = body
        if request.command == "GET" and request.path in self.objects:
            return 200, self.objects[request.path]
        return {"PUT": 200, "DELETE": 204}.get(request.command, 404), b""


INGEST = "audit-1234.westeurope-1.ingest.monitor.azure.com"


class Company(NamedTuple):
    """The only way out of a company's network."""

    proxy: LookingProxy
    authority: str
    monitor: AzureMonitor


@pytest.fixture(scope="module")
def company(servers: dict[str, int]) -> Iterator[Company]:
    """Its proxy stands before the vendors' own addresses."""
    authority = Certificate.authority("the company's own")
    with AzureMonitor() as monitor, Login(token=monitor.token) as login, GoogleObjects() as objects:
        known = {
            INGEST: monitor.port,
            "login.microsoftonline.com": login.port,
            "s3.eu-west-1.amazonaws.com": servers["s3"],
            "storage.googleapis.com": objects.port,
            "hooks.example.com": servers["http"],
        }
        with nginx(authority.sign(*known), list(known.values())) as inside:
            with LookingProxy({host: inside.ports[port] for host, port in known.items()}) as proxy:
                yield Company(proxy, authority.public, monitor)


VENDORS = {
    "s3": {"conn_type": "aws", "login": "l", "password": "p", "extra": {"region_name": "eu-west-1"}},
    "gcs": {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True}},
    "azure_monitor": {"conn_type": "azure", "login": "client", "password": "p", "extra": {"tenantId": "tenant"}},
    "http": {"conn_type": "http", "host": "https://hooks.example.com/in"},
}
HOSTS = {
    "s3": {"s3.eu-west-1.amazonaws.com"},
    "gcs": {"storage.googleapis.com"},
    "azure_monitor": {INGEST, "login.microsoftonline.com"},
    "http": {"hooks.example.com"},
}


@pytest.mark.parametrize("kind", VENDORS)
def test_a_proxy_that_looks_into_tls(
    kind: str, company: Company, http_sink: LogSink, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    """It is the only way out, and its authority is the company's. Nothing is allowed that is not by default."""
    monkeypatch.delenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES")
    proxy, monitor = company.proxy, company.monitor
    proxy.asked.clear()
    found = VENDORS[kind]
    if kind == "http":
        found = {**found, "extra": {"headers": {"Authorization": f"Bearer {http_sink.token}"}}}
    options = (
        {"endpoint": f"https://{INGEST}", "rule_id": monitor.rule, "stream": monitor.stream}
        if kind == "azure_monitor"
        else {}
    )
    place = {"s3": {"bucket": PLACE}, "gcs": {"bucket": PLACE}}.get(kind, {})
    monkeypatch.setenv("https_proxy", proxy.url)

    def steps() -> list[Step]:
        monkeypatch.setenv("AIRFLOW_CONN_C", json.dumps(found))
        given = {"type": kind, "connection": "c", **place, **options}

        async def run() -> list[Step]:
            made = make_destination("d", DestinationSettings.model_validate(given), AirflowConnections())
            return [step async for step in made.run_check()]

        return asyncio.run(run())

    told = steps()
    assert not works(told)
    assert "certificate" in str(told[-1]) and "REQUESTS_CA_BUNDLE" in str(told[-1]), told
    assert len(proxy.asked) <= 4, proxy.asked  # it is not tried again and again
    (tmp_path / "company.pem").write_text(company.authority)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "company.pem"))
    told = steps()
    assert works(told), told
    assert set(proxy.asked) == HOSTS[kind]
