"""Where S3 is: the endpoint and the style of a connection, of Airflow's hook, of a profile and of the environment."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from logstream.destinations.registry import make_destination
from logstream.errors import InputError
from logstream.settings.models import DestinationSettings
from logstream.testing.servers import LogSink
from tests.test_connections import connections

__all__ = ["connections"]  # fixtures


def test_virtual_hosts_of_s3(connections: Any) -> None:
    extra = {"endpoint_url": "https://s3.example.com", "config_kwargs": {"s3": {"addressing_style": "virtual"}}}
    found = connections({"conn_type": "aws", "login": "l", "password": "p", "extra": extra})
    assert found.aws("c").virtual_hosts
    settings = DestinationSettings.model_validate({"type": "s3", "connection": "c", "bucket": "audit"})
    made: Any = make_destination("d", settings, found)
    assert made._endpoint(found.aws("c")) == "https://audit.s3.example.com"
    plain = connections(
        {"conn_type": "aws", "login": "l", "password": "p", "extra": {"endpoint_url": "https://h"}}
    ).aws("c")
    assert made._endpoint(plain) == "https://h"


PROFILES = """
[profile of-all]
aws_access_key_id = l
aws_secret_access_key = p
endpoint_url = https://of-all.example
[profile of-s3]
aws_access_key_id = l
aws_secret_access_key = p
endpoint_url = https://of-all.example
services = ours
[profile plain]
aws_access_key_id = l
aws_secret_access_key = p
[profile virtual]
aws_access_key_id = l
aws_secret_access_key = p
s3 =
  addressing_style = virtual
[services ours]
s3 =
  endpoint_url = https://of-s3.example
"""


@pytest.mark.parametrize(
    ("extra", "environment", "endpoint"),
    [
        ({"profile_name": "of-all"}, {}, "https://of-all.example"),
        ({"profile_name": "of-s3"}, {}, "https://of-s3.example"),
        ({"profile_name": "of-s3"}, {"AWS_ENDPOINT_URL": "https://everywhere.example"}, "https://everywhere.example"),
        ({"profile_name": "plain"}, {"AWS_ENDPOINT_URL": "https://everywhere.example"}, "https://everywhere.example"),
        (
            {"profile_name": "plain"},
            {"AWS_ENDPOINT_URL": "https://everywhere.example", "AWS_ENDPOINT_URL_S3": "https://s3.example"},
            "https://s3.example",
        ),
        ({"profile_name": "of-all", "endpoint_url": "https://own.example"}, {"AWS_ENDPOINT_URL_S3": "https://s3.example"}, "https://own.example"),
        ({"profile_name": "of-all"}, {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, None),
        ({"profile_name": "plain"}, {}, None),
    ],
)  # fmt: skip
def test_endpoints_of_s3_are_those_of_airflows_hook(
    connections: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    extra: dict[str, Any], environment: dict[str, str], endpoint: str | None,
) -> None:  # fmt: skip
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    (tmp_path / "config").write_text(PROFILES)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made = connections({"conn_type": "aws", "extra": {"region_name": "eu-west-1", **extra}})
    assert made.aws("c").endpoint == endpoint
    assert S3Hook("c").get_conn().meta.endpoint_url == (endpoint or "https://s3.eu-west-1.amazonaws.com")


def test_the_style_of_a_profile(connections: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(PROFILES)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    own = {"config_kwargs": {"s3": {"addressing_style": "path"}}}
    assert connections({"conn_type": "aws", "extra": {"profile_name": "virtual"}}).aws("c").virtual_hosts
    assert not connections({"conn_type": "aws", "extra": {"profile_name": "virtual", **own}}).aws("c").virtual_hosts


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
def test_the_client_of_s3_reads_no_address_from_the_environment(
    connections: Any, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection's address is the one that was judged; a variable is what boto3 makes of it, or nothing."""
    with LogSink() as own, LogSink() as other:
        monkeypatch.setenv(variable, other.url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        made = connections({"conn_type": "aws", "login": "l", "password": "p", "extra": {"endpoint_url": own.url}})
        stored = DestinationSettings.model_validate({"type": "s3", "connection": "c", "bucket": "audit"})
        destination: Any = make_destination("d", stored, made)

        async def put() -> None:
            await destination.start()
            await destination.put("a", b"{}")
            await destination.close()

        asyncio.run(put())
        assert own.requests and not other.requests


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
def test_an_endpoint_of_the_environment_is_judged(
    connections: Any, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES", raising=False)
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    made = connections({"conn_type": "aws", "login": "l", "password": "p"})
    stored = DestinationSettings.model_validate({"type": "s3", "connection": "c", "bucket": "audit"})
    with pytest.raises(InputError, match="not a public address"):
        asyncio.run(make_destination("d", stored, made).start())
