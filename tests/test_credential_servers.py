"""Servers that give credentials, where a connection names them: only what was judged is connected to."""
# ruff: noqa: F811 - a fixture of another module

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.destinations.transport import addresses
from logstream.errors import InputError
from logstream.testing.servers import EchoingStore, S3Server

from .test_connections import connections  # noqa: F401 - a fixture

PUBLIC = "93.184.216.34"
NAME = "rebound.example.com"


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator allows no private addresses, and no proxy is in between."""
    monkeypatch.delenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def rebound(strict: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A name that is public when it is looked up first, and this machine's ever after."""
    real, asked = socket.getaddrinfo, []

    def getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        if host in (NAME, NAME.encode()):
            asked.append(NAME)
            host = PUBLIC if len(asked) == 1 else "127.0.0.1"
        return real(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield asked


def role(endpoint: str) -> dict[str, Any]:
    extra = {
        "role_arn": "arn:aws:iam::123456789012:role/audit", "region_name": "eu-west-1",
        "service_config": {"sts": {"endpoint_url": endpoint}},
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }  # fmt: skip
    return {"conn_type": "aws", "login": "l", "password": "p", "extra": extra}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_where_roles_are_assumed_is_what_was_judged(connections: Any, rebound: list[str], scheme: str) -> None:
    with EchoingStore() as server:
        found = connections(role(f"{scheme}://{NAME}:{server.port}"))
        with pytest.raises(InputError, match=f"{NAME} is at 127.0.0.1, which is not a public address"):
            found.aws("c")
        assert server.requests == 0 and len(rebound) >= 2


def test_roles_are_assumed_through_the_gate(
    connections: Any,
    strict: None,
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This machine counts as public here, so that a real server can be reached by the guarded way."""
    monkeypatch.setattr(addresses, "is_public", lambda address: True)
    found = connections(role(s3.url)).aws("c")
    first = found.provider()
    assert first["token"] and first["access_key_id"] != "l"


def test_a_proxy_of_the_connection_is_judged_for_roles_too(connections: Any, rebound: list[str]) -> None:
    with EchoingStore() as server:
        fields = role("")
        fields["extra"].pop("service_config")
        fields["extra"]["config_kwargs"] = {"proxies": {"https": f"http://{NAME}:{server.port}"}}
        rebound.append("public no more")
        with pytest.raises(InputError, match=f"{NAME} is at 127.0.0.1, which is not a public address"):
            connections(fields).aws("c")
        assert server.requests == 0


SAML = {"role_arn": "arn:aws:iam::1:role/r", "assume_role_method": "assume_role_with_saml",
        "assume_role_with_saml": {"principal_arn": "p", "idp_url": "http://127.0.0.1:1/", "idp_auth_method": "http_spegno_auth"}}  # fmt: skip


def test_assertions_are_fetched_from_nowhere(connections: Any) -> None:
    found = connections({"conn_type": "aws", "login": "l", "password": "p", "extra": SAML})
    with pytest.raises(InputError, match="`assume_role_with_saml` in its extra is not supported"):
        found.aws("c")


def ask_for_a_token(found: AirflowConnections, kind: str) -> None:
    if kind == "azure":
        found.azure_token("c")("https://monitor.azure.com/.default")
    else:
        provider = found.azure_blob("c").token_provider
        assert provider is not None
        provider()


@pytest.mark.parametrize("kind", ["azure", "wasb"])
@pytest.mark.parametrize(
    "authority", [NAME, f"https://{NAME}/", "login.microsoftonline.com.example.com", "login.microsoftonline.com@h"]
)
def test_tokens_come_from_microsofts_hosts(connections: Any, rebound: list[str], kind: str, authority: str) -> None:
    """What another authority answers names the address that the secret is sent to."""
    extra = {"tenantId": "t", "authority": authority}
    if kind == "wasb":
        extra = {"tenant_id": "t", "client_secret_auth_config": {"authority": authority}}
    fields = {"conn_type": kind, "login": "l", "password": "p", "extra": extra}
    if kind == "wasb":
        fields["host"] = "https://a.blob.core.windows.net"
    with pytest.raises(InputError, match=r"authority` in its extra must be one of .*login.microsoftonline.us"):
        ask_for_a_token(connections(fields), kind)


@pytest.mark.parametrize("authority", ["login.microsoftonline.us", "https://login.partner.microsoftonline.cn/", None])
def test_microsofts_hosts_are_taken(connections: Any, strict: None, authority: str | None) -> None:
    extra = {"tenantId": "t", "authority": authority}
    assert connections({"conn_type": "azure", "login": "l", "password": "p", "extra": extra}).azure_token("c")


def test_an_operator_may_allow_other_authorities(
    connections: Any, strict: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES", "1")
    extra = {"tenantId": "t", "authority": "login.stack.internal"}
    assert connections({"conn_type": "azure", "login": "l", "password": "p", "extra": extra}).azure_token("c")
