"""Airflow connections as people write them: what is honoured, and what is refused by its name, never dropped."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from logstream.destinations import check_options
from logstream.destinations.registry import make_destination
from logstream.errors import ConnectionNotFound, InputError
from logstream.hooks.connections import AirflowConnections, dsn_of
from logstream.settings.models import DestinationSettings


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Airflow's, with one connection `c` of the given fields."""

    def having(fields: dict[str, Any] | str) -> AirflowConnections:
        monkeypatch.setenv("AIRFLOW_CONN_C", fields if isinstance(fields, str) else json.dumps(fields))
        return AirflowConnections()

    return having


def http_url(found: AirflowConnections, **options: Any) -> str:
    settings = DestinationSettings.model_validate({"type": "http", "connection": "c", **options})
    made: Any = make_destination("d", settings, found)
    return str(made.url(made.credentials()))


@pytest.mark.parametrize(
    ("connection", "path", "url"),
    [
        ("http://[::1]:1/in", "", "http://[::1]:1/in"),
        ({"conn_type": "http", "host": "::1", "port": 8080}, "/in", "http://[::1]:8080/in"),
        ({"conn_type": "http", "host": "[2001:db8::7]", "schema": "https"}, "", "https://[2001:db8::7]"),
        ({"conn_type": "http", "host": "localhost:81"}, "/in", "http://localhost:81/in"),
        ({"conn_type": "http", "host": "https://h/api?code=x"}, "/ingest", "https://h/api/ingest?code=x"),
        ({"conn_type": "http", "host": "https://h/api?code=x"}, "/ingest?v=2", "https://h/api/ingest?code=x&v=2"),
        ({"conn_type": "http", "host": "https://h/api/?code=x"}, "", "https://h/api/?code=x"),
        ({"conn_type": "http", "host": "https://h?code=x", "port": 444}, "in", "https://h:444/in?code=x"),
        ({"conn_type": "http", "host": "https://h?code=x", "schema": "base"}, "", "https://h/base?code=x"),
    ],
)
def test_addresses_of_http_connections(connections: Any, connection: Any, path: str, url: str) -> None:
    assert http_url(connections(connection), path=path) == url


def test_the_vendors_endpoints_keep_a_query_too(connections: Any) -> None:
    found = connections({"conn_type": "http", "host": "https://proxy/siem?code=x", "password": "p"})
    for kind, url in (
        ("splunk_hec", "https://proxy/siem/services/collector/event?code=x"),
        ("datadog", "https://proxy/siem/api/v2/logs?code=x"),
        ("new_relic", "https://proxy/siem/log/v1?code=x"),
        ("grafana_loki", "https://proxy/siem/loki/api/v1/push?code=x"),
    ):
        made: Any = make_destination("d", DestinationSettings.model_validate({"type": kind, "connection": "c"}), found)
        assert made.url(made.credentials()) == url


@pytest.mark.parametrize("extra", ["no JSON", '{"headers": {"Authorization": "Bearer quick-brown-fox"}', '["a"]', "7"])
@pytest.mark.parametrize("kind", ["http", "aws", "wasb", "google_cloud_platform", "azure"])
def test_an_extra_that_is_no_json_is_refused(connections: Any, kind: str, extra: str) -> None:
    """Airflow takes it for nothing at all: the events would go out without the credentials that are in it."""
    found = connections({"conn_type": kind, "host": "https://h", "login": "l", "password": "p", "extra": extra})
    method = {"wasb": "azure_blob", "google_cloud_platform": "gcs", "azure": "azure_token"}.get(kind, kind)
    with pytest.raises(ConnectionNotFound, match="connection `c`: its extra is no JSON object") as caught:
        getattr(found, method)("c")
    assert "fox" not in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ({"verify": False}, "verify"),
        ({"verify": "/etc/ca.pem"}, "verify"),
        ({"cert": "/etc/client.pem"}, "cert"),
        ({"proxies": {"https": "http://proxy:3128"}}, "proxies"),
        ({"proxy": "http://proxy:3128"}, "proxy"),
        ({"timeout": 3}, "timeout"),
        ({"allow_redirects": True}, "allow_redirects"),
        ({"headers": {"A": "b"}, "X-Token": "quick-brown-fox"}, "X-Token"),
    ],
)
def test_extras_of_http_that_are_not_done_are_refused_by_name(
    connections: Any, extra: dict[str, Any], name: str
) -> None:
    found = connections({"conn_type": "http", "host": "https://h", "extra": extra})
    with pytest.raises(ConnectionNotFound, match=f"connection `c`: `{name}` in its extra is ") as caught:
        found.http("c")
    assert "fox" not in str(caught.value)


def test_extras_of_http_that_ask_for_what_is_done_anyway(connections: Any) -> None:
    extra = {
        "verify": True,
        "proxies": "",
        "allow_redirects": False,
        "check_response": True,
        "X-Token": "t",
        "cert": None,
    }
    assert connections({"conn_type": "http", "host": "https://h", "extra": extra}).http("c").headers == {"X-Token": "t"}


@pytest.mark.parametrize(
    ("kind", "extra", "name"),
    [
        ("aws", {"verify": "/etc/ca.pem"}, "verify"),
        ("aws", {"config_kwargs": {"proxies": {"https": "http://proxy"}}}, "proxies"),
        ("aws", {"config_kwargs": {"connect_timeout": 1}}, "connect_timeout"),
        ("aws", {"config_kwargs": {"s3": {"use_accelerate_endpoint": True}}}, "s3.use_accelerate_endpoint"),
        ("gcs", {"impersonation_chain": "a@b"}, "impersonation_chain"),
        ("gcs", {"key_secret_name": "k"}, "key_secret_name"),
        ("gcs", {"credential_config_file": "/etc/x.json"}, "credential_config_file"),
    ],
)
def test_extras_of_stores_that_are_not_done_are_refused_by_name(
    connections: Any, kind: str, extra: dict[str, Any], name: str
) -> None:
    type_ = {"gcs": "google_cloud_platform"}.get(kind, kind)
    found = connections({"conn_type": type_, "login": "l", "password": "p", "extra": extra})
    with pytest.raises(ConnectionNotFound, match=f"connection `c`: `{name}` in "):
        getattr(found, kind)("c")


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


@pytest.mark.parametrize("name", ["iam", "cursor", "redshift"])
def test_extras_of_postgres_that_are_not_libpqs_are_refused_by_name(connections: Any, name: str) -> None:
    connections({"conn_type": "postgres", "host": "h", "extra": {"sslmode": "require", name: "x"}})
    with pytest.raises(ConnectionNotFound, match=f"connection `c`: `{name}` in its extra"):
        dsn_of("c")


@pytest.mark.parametrize("path", ["out", "./out", "../out", "", "/srv/a\0b"])
def test_paths_of_folders_are_whole(path: str) -> None:
    assert [where for where, _ in check_options("file", {"path": path})] == [("path",)]


def test_folders_are_below_what_the_operator_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, elsewhere = (tmp_path / name for name in ("one", "two", "elsewhere"))
    for folder in (one, two, elsewhere):
        folder.mkdir()
    (one / "link").symlink_to(elsewhere)
    monkeypatch.chdir(two)

    def start(path: Path | str) -> None:
        settings = DestinationSettings.model_validate({"type": "file", "path": str(path)})

        async def run() -> None:
            made = make_destination("d", settings, None)  # type: ignore[arg-type]
            await made.start()
            await made.close()

        asyncio.run(run())

    monkeypatch.setenv("LOGSTREAM_FILE_ROOTS", f"{one}:{tmp_path / 'three'}")
    start(one / "a/b")
    start(tmp_path / "three")
    for path in (elsewhere, one / "link", one / "link/deeper", f"{one}/../elsewhere", f"{one}more", "/etc", two):
        with pytest.raises(InputError, match="LOGSTREAM_FILE_ROOTS"):
            start(path)
    monkeypatch.delenv("LOGSTREAM_FILE_ROOTS")
    monkeypatch.setenv("LOGSTREAM_HOME", str(elsewhere))
    start(elsewhere / "x")
    start(two / "x")
    with pytest.raises(InputError, match="LOGSTREAM_FILE_ROOTS"):
        start(one)
