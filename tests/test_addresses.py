"""A customer's URL must not reach what only this machine can reach."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from logstream.destinations.registry import make_destination
from logstream.destinations.transport.addresses import (
    ForbiddenAddress,
    PublicResolver,
    check_url,
    public_socket,
    refuse_address,
    resolve_and_check,
)
from logstream.errors import InputError
from logstream.hooks import AirflowConnections
from logstream.settings.models import DestinationSettings


@pytest.fixture(autouse=True)
def _strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
     "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "64:ff9b:1::7f00:1", "::127.0.0.1", "::ffff:0:127.0.0.1", "fec0::1",
     "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "198.18.0.1"],
)  # fmt: skip
def test_refused(address: str) -> None:
    with pytest.raises(ForbiddenAddress, match="not a public address"):
        refuse_address(address, "example.com")


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_allowed(address: str) -> None:
    refuse_address(address, "example.com")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://[::1]:80/",
        "https://169.254.169.254/latest",
        "http://10.0.0.1",
        "http://[::ffff:7f00:1]",
        "http://[::127.0.0.1]/",
        "http://127\u30020\u30020\u30021/",
        "http://\u2460\u2461\u2466.0.0.1/",
        "http://\uff11\uff12\uff17\uff0e0\uff0e0\uff0e1/",
    ],
)
def test_literal_addresses_in_urls(url: str) -> None:
    with pytest.raises(ForbiddenAddress):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["ftp://example.com", "file:///etc/passwd", "example.com", "http://", "http://[::1", "http://a:b:c"]
)
def test_no_urls(url: str) -> None:
    with pytest.raises(InputError):
        check_url(url)


@pytest.mark.parametrize("name", ["localhost", "0x7f.1", "2130706433", "127.1", "017700000001"])
def test_names_are_judged_by_what_they_resolve_to(name: str) -> None:
    with pytest.raises(ForbiddenAddress):
        resolve_and_check(f"http://{name}/")

    async def resolve() -> None:
        await PublicResolver().resolve(name, 80)

    with pytest.raises(ForbiddenAddress):
        asyncio.run(resolve())


def test_what_is_connected_to_is_judged_whatever_was_resolved() -> None:
    """A literal address is not resolved, and a resolver may lie: the last word is had when the socket is made."""
    for where in ("127.0.0.1", "169.254.169.254"):
        with pytest.raises(ForbiddenAddress):
            public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (where, 80)))
    public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))).close()


def test_one_forbidden_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    with pytest.raises(ForbiddenAddress):
        resolve_and_check("http://example.com/")


def test_an_operator_may_allow_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES", "1")
    assert check_url("http://127.0.0.1:9/x") == "http://127.0.0.1:9/x"
    resolve_and_check("http://localhost/")


@pytest.mark.parametrize(
    "host",
    ["127.1", "2130706433", "0x7f.0.0.1", "017700000001", "[::127.0.0.1]", "[::ffff:7f00:1]", "\uff11\uff12\uff17.0.0.1",
     "\u2460\u2461\u2466.0.0.1", "localhost", "LOCALHOST", "169.254.169.254", "[fe80::1]"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["s3", "azure_blob", "gcs", "http"])
def test_no_spelling_of_a_host_leads_a_destination_inside(
    kind: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = f"http://{host}:9/x"
    connection: dict[str, Any] = {
        "s3": {"conn_type": "aws", "login": "l", "password": "p", "extra": {"endpoint_url": base, "verify": False}},
        "azure_blob": {"conn_type": "wasb", "extra": {"connection_string": f"BlobEndpoint={base};AccountName=a;AccountKey=a2V5"}},
        "gcs": {"conn_type": "google_cloud_platform", "extra": {"endpoint_url": base}},
        "http": {"conn_type": "http", "host": base},
    }[kind]  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_C", json.dumps(connection))
    where = {"azure_blob": {"container": "audit"}, "http": {}}.get(kind, {"bucket": "audit"})
    settings = DestinationSettings.model_validate({"type": kind, "connection": "c", **where})

    async def run() -> str:
        made: Any = make_destination("d", settings, AirflowConnections())
        try:
            return str([step async for step in made.run_check()])
        except InputError as error:
            return str(error)

    told = asyncio.run(run())
    assert "not a public address" in told or "is not a canonical IPv4 address" in told, told


@pytest.mark.parametrize("region", ["x.example.com/?", "eu-west-1@127.0.0.1:9", "127.0.0.1:9/#", "eu west"])
def test_a_region_is_no_way_to_another_host(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client writes it into the server's name."""
    extra = {"region_name": region}
    monkeypatch.setenv(
        "AIRFLOW_CONN_C", json.dumps({"conn_type": "aws", "login": "l", "password": "p", "extra": extra})
    )
    with pytest.raises(InputError, match="connection `c`"):
        AirflowConnections().aws("c")
