"""A customer's URL must not reach what only this machine can reach."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from typing import Any

import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.destinations.registry import make_destination
from logstream.destinations.transport.addresses import (
    ForbiddenAddress,
    check_url,
    public_socket,
    refuse_address,
    resolve_and_check,
)
from logstream.destinations.transport.network import Network
from logstream.destinations.transport.resolver import PublicResolver
from logstream.destinations.transport.session import reach
from logstream.destinations.transport.way import Way
from logstream.errors import InputError
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


# every row of IANA's registries of special-purpose addresses, those that are inside of others included, but the two that
# mean the IPv4 address in them: copied from there, not from the code
IANA = """
0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29 192.0.0.8/32
192.0.0.9/32 192.0.0.10/32 192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24
192.88.99.2/32 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 255.255.255.255/32
::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32 2001:1::1/128 2001:1::2/128 2001:1::3/128 2001:2::/48
2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20 5f00::/16
fc00::/7 fe80::/10
"""
BESIDE = "168.63.129.16/32 224.0.0.0/4 ff00::/8 fec0::/10 ::/96 ::ffff:0:0:0/96 4000::/3 8000::/1 200::/7"


@pytest.mark.parametrize("row", [*IANA.split(), *BESIDE.split()])
def test_special_addresses_are_refused_from_the_first_to_the_last(row: str) -> None:
    network = ipaddress.ip_network(row)
    inside = range(0, network.num_addresses, max(1, network.num_addresses // 7))
    for address in (network[0], network[-1], *(network[number] for number in inside)):
        with pytest.raises(ForbiddenAddress, match="not a public address"):
            refuse_address(str(address), "example.com")


@pytest.mark.parametrize("inner", [row for row in IANA.split() if ":" not in row])
def test_ipv4_that_ipv6_means_is_judged_as_ipv4(inner: str) -> None:
    for prefix in ("::ffff:", "64:ff9b::"):
        with pytest.raises(ForbiddenAddress, match="not a public address"):
            refuse_address(f"{prefix}{ipaddress.ip_network(inner)[0]}", "example.com")


def test_where_the_address_stands_in_local_translation_is_not_guessed() -> None:
    """RFC 6052 lets a network put it after 48 bits, too: 169.254.169.254, with a public address at the end."""
    with pytest.raises(ForbiddenAddress):
        refuse_address("64:ff9b:1:a9fe:a9:fe00:808:808", "example.com")


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


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_a_connections_proxy_is_judged_when_it_is_asked_why_it_refuses(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name means another address whenever it is looked up: the first few are public, the next is this machine."""
    real = socket.getaddrinfo
    public, looked_up = "93.184.216.34", 0

    def names(host: str | None, port: Any, *rest: Any, **more: Any) -> Any:
        nonlocal looked_up
        if host != "rebound.example":
            return real(host, port, *rest, **more)
        looked_up += 1
        return real("127.0.0.1" if asked else public, port, *rest, **more)

    asked = False
    monkeypatch.setattr(socket, "getaddrinfo", names)
    with socket.create_server(("127.0.0.1", 0)) as inside:
        inside.setblocking(False)
        network = Network(proxies={"https": f"http://rebound.example:{inside.getsockname()[1]}"})
        url = f"https://{public}"
        if kind == "http":
            settled = reach(url, network)
            asked = True
            assert asyncio.run(settled.refused_by_proxy()) is None
        else:
            way = Way(url, network, chosen=True)
            asked = True
            assert way.trouble(Exception("error sending request")) is None
        assert looked_up
        with pytest.raises(BlockingIOError):
            inside.accept()
