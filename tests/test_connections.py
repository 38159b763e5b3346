"""Airflow connections as people write them: what is honoured, and what is refused by its name, never dropped."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from logstream.airflow.connections import AirflowConnections, dsn_of
from logstream.destinations import check_options
from logstream.destinations.registry import make_destination
from logstream.destinations.transport.network import Network
from logstream.errors import ConnectionNotFound, InputError
from logstream.settings.models import DestinationSettings
from logstream.testing.servers import LogSink


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
        ({"verify_ssl": "false"}, "verify_ssl"),
        ({"allow_redirects": True}, "allow_redirects"),
        ({"max_redirects": 3}, "max_redirects"),
        ({"stream": True}, "stream"),
        ({"check_response": False}, "check_response"),
        ({"srv_lookup": True}, "srv_lookup"),
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
    ("extra", "name", "problem"),
    [
        ({"verify": "/no/such.pem"}, "verify", "names a file that cannot be read: FileNotFoundError"),
        ({"verify": "/etc/passwd"}, "verify", "names a file that holds no certificates"),
        ({"cert": "/no/such.pem"}, "cert", "names a file that cannot be read"),
        ({"cert": ["a", "b", "c"]}, "cert", "a list of two"),
        ({"proxies": {"htttps": "http://p:1"}}, "proxies.htttps", "is unknown"),
        ({"proxies": {"https": "http://p:1", "no_proxy": "example.com"}}, "proxies.no_proxy", "NO_PROXY"),
        ({"proxies": {"no": "example.com"}}, "proxies.no", "is unknown"),
        ({"headers": {"Bad Name": "x"}}, "headers.Bad Name", "is no header's name"),
        ({"Bad Name": "x"}, "headers.Bad Name", "is no header's name"),
        ({"headers": {"": "x"}}, "headers.", "is no header's name"),
        ({"headers": {"X": None}}, "headers.X", "must be a text"),
        ({"X-Token": None}, "headers.X-Token", "must be a text"),
        ({"headers": {"X": ["a"]}}, "headers.X", "must be a text"),
        ({"headers": {"X": "a\r\nY: b"}}, "headers.X", "holds a line break"),
        ({"headers": {"Host": "evil"}}, "headers.Host", "made for each request"),
        ({"headers": {"content-length": "5"}}, "headers.content-length", "made for each request"),
        ({"Transfer-Encoding": "chunked"}, "headers.Transfer-Encoding", "made for each request"),
        ({"headers": {"Connection": "close"}}, "headers.Connection", "made for each request"),
        ({"headers": {"idempotency-key": "1"}}, "headers.idempotency-key", "made for each request"),
        ({"headers": {"Webhook-Signature": "1"}}, "headers.Webhook-Signature", "made for each request"),
        ({"headers": {"X-Token": "a", "x-token": "b"}}, "headers.x-token", "is there twice"),
        ({"proxies": {"https": 3128}}, "proxies", "must be a proxy's address, or an object"),
        ({"proxies": ["http://h"]}, "proxies", "must be a proxy's address, or an object"),
        ({"timeout": 0}, "timeout", "must be a number of seconds, up to 600"),
        ({"timeout": "soon"}, "timeout", "must be a number of seconds"),
        ({"timeout": True}, "timeout", "must be a number of seconds"),
        ({"trust_env": "perhaps"}, "trust_env", "must be true or false"),
    ],
)
def test_values_of_http_extras_that_mean_nothing(
    connections: Any, extra: dict[str, Any], name: str, problem: str
) -> None:
    found = connections({"conn_type": "http", "host": "https://h", "extra": extra})
    with pytest.raises(ConnectionNotFound, match=f"connection `c`: `{name}` in its extra .*{problem}") as caught:
        found.http("c")
    assert "root:" not in str(caught.value)


@pytest.mark.parametrize("name", ["content-type", "USER-AGENT", "authorization", "x-scope-orgid"])
def test_a_header_in_other_letters_takes_the_place_of_ours(connections: Any, sink: LogSink, name: str) -> None:
    fields = {
        "conn_type": "http",
        "host": sink.url,
        "login": "a",
        "password": "b",
        "extra": {"headers": {name: "theirs"}},
    }
    options = {"type": "grafana_loki", "connection": "c", "tenant": "ours"}

    async def checked() -> None:
        made = make_destination("d", DestinationSettings.model_validate(options), connections(fields))
        await made.start()
        _ = [step async for step in made.check()]
        await made.close()

    asyncio.run(checked())
    head = sink.heads[-1]
    assert Counter(key.lower() for key in head).most_common(1)[0][1] == 1, head
    told = {key.lower(): value for key, value in head.items()}[name.lower()]
    assert told == ("ours" if name == "x-scope-orgid" else "theirs"), (
        "what a destination's options name is the destination's"
    )


def test_an_address_with_a_fragment_is_refused(connections: Any) -> None:
    found = connections({"conn_type": "http", "host": "https://h/api#x?code=1"})
    with pytest.raises(ConnectionNotFound, match="connection `c`: its address holds a fragment"):
        found.http("c")


@pytest.mark.parametrize(
    ("kind", "options", "fields"),
    [
        ("splunk_hec", {}, {"password": "quick-brown-fox"}),
        ("http", {}, {"login": "a", "password": "quick-brown-fox"}),
        ("http", {}, {"extra": {"headers": {"authorization": "Bearer quick-brown-fox"}}}),
        ("elasticsearch", {"index": "a"}, {"password": "quick-brown-fox"}),
    ],
)
def test_a_user_in_the_address_beside_other_credentials_is_refused(
    connections: Any, kind: str, options: dict[str, Any], fields: dict[str, Any]
) -> None:
    """The client refuses that, too, in words that say nothing, at each of ten attempts."""
    found = connections({"conn_type": "http", "host": "http://user:jumped-over@127.0.0.1:1", **fields})
    settings = DestinationSettings.model_validate({"type": kind, "connection": "c", **options})
    with pytest.raises(InputError, match="its address holds a user's name, and it gives other credentials") as caught:
        asyncio.run(make_destination("d", settings, found).start())
    assert "fox" not in str(caught.value) and "jumped" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "anonymous"),
    [
        (True, True),
        ("true", True),
        ("True", True),
        ("1", True),
        (False, False),
        ("false", False),
        ("False", False),
        ("", False),
    ],
)
def test_a_truth_of_google_may_be_a_text(connections: Any, said: object, anonymous: bool) -> None:
    """Connections that are written as URIs have texts alone."""
    key = json.dumps({"type": "service_account", "private_key": "k"})
    extra = {"is_anonymous": said, "keyfile_dict": key}
    assert connections({"conn_type": "google_cloud_platform", "extra": extra}).gcs("c").anonymous is anonymous


def test_a_truth_that_is_none_is_refused(connections: Any) -> None:
    found = connections({"conn_type": "google_cloud_platform", "extra": {"is_anonymous": "perhaps"}})
    with pytest.raises(ConnectionNotFound, match="`is_anonymous` in its extra must be true or false"):
        found.gcs("c")


def test_what_is_done_anyway_may_be_asked_for_in_texts(connections: Any) -> None:
    uri = "http://h/?stream=false&allow_redirects=False&check_response=true&verify=1&trust_env=0"
    assert connections(uri).http("c").network == Network(environment=False)


@pytest.mark.parametrize(
    ("kind", "method", "name"), [("aws", "aws", "config_kwargs.proxies"), ("wasb", "azure_blob", "proxies")]
)
def test_proxies_of_no_known_scheme_are_refused_by_name(connections: Any, kind: str, method: str, name: str) -> None:
    proxies = {"htps": "http://p:1"}
    extra = {"config_kwargs": {"proxies": proxies}} if kind == "aws" else {"proxies": proxies}
    found = connections({"conn_type": kind, "login": "a", "password": "cA==", "extra": extra})
    with pytest.raises(ConnectionNotFound, match=f"`{name}.htps` in its extra is unknown"):
        getattr(found, method)("c")


def test_extras_of_http_that_airflows_hook_takes(connections: Any, tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(f"-----BEGIN {name}-----")
    extra = {
        "verify": str(tmp_path / "ca"),
        "cert": [str(tmp_path / "cert"), str(tmp_path / "key")],
        "proxies": {"https": "http://proxy:3128"},
        "timeout": "3.5",
        "trust_env": False,
        "X-Token": "t",
    }
    found = connections({"conn_type": "http", "host": "https://h", "extra": extra}).http("c")
    assert found.network == Network(
        proxies={"https": "http://proxy:3128"}, environment=False, authority="-----BEGIN ca-----", timeout=3.5
    )
    assert found.client_certificate == "-----BEGIN cert-----\n-----BEGIN key-----"
    assert found.headers == {"X-Token": "t"}


def test_extras_of_aws_that_airflows_hook_takes(connections: Any, tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("-----BEGIN ca-----")
    config = {
        "proxies": {"https": "http://proxy:3128"},
        "connect_timeout": 3,
        "read_timeout": 20,
        "retries": {"mode": "standard", "max_attempts": 7},
        "region_name": "eu-west-3",
        "s3": {"addressing_style": "virtual"},
        "signature_version": "s3v4",
    }
    extra = {"verify": str(tmp_path / "ca"), "config_kwargs": config, "region_name": "eu-west-1"}
    found = connections({"conn_type": "aws", "login": "l", "password": "p", "extra": extra}).aws("c")
    assert found.network == Network(
        proxies={"https": "http://proxy:3128"},
        authority="-----BEGIN ca-----",
        timeout=20,
        connect_timeout=3,
        retries=7,
    )
    assert (found.region, found.virtual_hosts, found.anonymous) == ("eu-west-3", True, False)


def test_certificates_of_aws_come_from_its_own_variable(
    connections: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca").write_text("-----BEGIN aws-----")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca"))
    plain = {"conn_type": "aws", "login": "l", "password": "p"}
    assert connections(plain).aws("c").network.authority == "-----BEGIN aws-----"
    assert not connections({**plain, "extra": {"verify": False}}).aws("c").network.verify
    monkeypatch.delenv("AWS_CA_BUNDLE")
    (tmp_path / "config").write_text(f"[profile p]\nca_bundle = {tmp_path / 'ca'}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert (
        connections({"conn_type": "aws", "extra": {"profile_name": "p"}})
        and connections({**plain, "extra": {"profile_name": "p"}}).aws("c").network.authority == "-----BEGIN aws-----"
    )


def test_an_aws_connection_that_signs_nothing_needs_no_keys(
    connections: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    assert (
        connections({"conn_type": "aws", "extra": {"config_kwargs": {"signature_version": "unsigned"}}})
        .aws("c")
        .anonymous
    )


def test_extras_of_azure_blob_that_airflows_hook_takes(connections: Any, tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("-----BEGIN ca-----")
    extra = {
        "extra__wasb__shared_access_key": "a2V5",
        "proxies": {"https": "http://proxy:3128"},
        "connection_verify": str(tmp_path / "ca"),
        "connection_timeout": 3,
        "read_timeout": 20,
    }
    found = connections({"conn_type": "wasb", "login": "acct", "extra": extra}).azure_blob("c")
    assert (found.account_key, found.account_name) == ("a2V5", "acct")
    assert found.network == Network(
        proxies={"https": "http://proxy:3128"}, authority="-----BEGIN ca-----", timeout=20, connect_timeout=3
    )


@pytest.mark.parametrize(
    ("kind", "fields", "problem"),
    [
        ("aws", {"host": "s3.example.com"}, "its `host` is not supported: put the server's whole address into"),
        ("aws", {"port": 9000}, "its `port` is not supported"),
        ("aws", {"extra": {"endpoint-url": "https://h"}}, "`endpoint-url` in its extra is not supported: its name is"),
        ("aws", {"extra": {"config_kwargs": "s3"}}, "`config_kwargs` in its extra must be an object"),
        ("aws", {"extra": {"config_kwargs": {"s3": {"use_accelerate_endpoint": True}}}}, "s3.use_accelerate_endpoint`"),
        ("aws", {"extra": {"config_kwargs": {"s3": {"addressing_style": "x"}}}}, "must be path, auto or virtual"),
        ("aws", {"extra": {"config_kwargs": {"retries": {"max_attempts": -1}}}}, "a number of attempts, up to 100"),
        ("aws", {"extra": {"config_kwargs": {"signature_version": "s3"}}}, "signature_version` in its extra is not"),
        (
            "aws",
            {"extra": {"config_kwargs": {"nonsense": 1}}},
            "`config_kwargs.nonsense` in its extra is not supported",
        ),
        ("aws", {"extra": {"verify": "/no/such.pem"}}, "`verify` in its extra names a file that cannot be read"),
        ("aws", {"extra": {"session_kwargs": {"profile_name": "p"}}}, "use `profile_name`"),
        ("aws", {"extra": {"region_name": "x.example.com/?"}}, "`region_name` in its extra must be letters, digits"),
        ("aws", {"extra": {"service_config": {"s3": {"bucket_name": "b"}}}}, "is an option of the destination"),
        ("wasb", {"port": 10000}, "its `port` is not supported"),
        ("wasb", {"extra": {"max_single_put_size": 1}}, "`max_single_put_size` in its extra is not supported"),
        ("wasb", {"extra": {"connection_verify": "/no/such"}}, "`connection_verify` in its extra names a file"),
        ("azure", {"password": None}, "has a login .* without the other"),
        ("azure", {"extra": {"tenantId": "t", "key_path": "/k.json"}}, "`key_path` in its extra is not supported"),
        ("azure", {"extra": {"tenantId": "t", "key_json": {"a": 1}}}, "`key_json` in its extra is not supported"),
        ("azure", {"extra": {"tenantId": "t", "cloud_environment": "Mars"}}, "must be one of AzurePublicCloud"),
        ("gcs", {"extra": {"impersonation_chain": "a@b"}}, "`impersonation_chain` in its extra is not supported"),
        ("gcs", {"extra": {"key_secret_name": "k"}}, "`key_secret_name` in its extra is not supported"),
        ("gcs", {"extra": {"extra__google_cloud_platform__credential_config_file": "/x"}}, "`credential_config_file`"),
        ("gcs", {"host": "h"}, "its `host` is not supported"),
    ],
)
def test_what_is_not_done_is_refused_by_name(connections: Any, kind: str, fields: dict[str, Any], problem: str) -> None:
    type_ = {"gcs": "google_cloud_platform"}.get(kind, kind)
    keys = {} if kind == "gcs" else {"login": "l", "password": "p"}
    found = connections({"conn_type": type_, **keys, **fields})
    method = {"wasb": "azure_blob", "azure": "azure_token"}.get(kind, kind)
    with pytest.raises(ConnectionNotFound, match=f"connection `c`.*{problem}"):
        getattr(found, method)("c")


def test_who_gives_tokens(connections: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("azure.identity.ClientSecretCredential", lambda *_, authority: asked.append(authority))
    for extra in ({}, {"cloud_environment": "AzureUSGovernment"}, {"authority": "127.0.0.1:1"}):
        connections({"conn_type": "azure", "login": "l", "password": "p", "extra": {"tenantId": "t", **extra}})
        AirflowConnections().azure_token("c")
    assert asked == ["login.microsoftonline.com", "login.microsoftonline.us", "127.0.0.1:1"]
    monkeypatch.delenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES")
    with pytest.raises(
        InputError, match="an operator can allow others with LOGSTREAM_ALLOW_PRIVATE_ADDRESSES"
    ):  # with the client's secret
        AirflowConnections().azure_token("c")


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("a-1.westeurope-1.ingest.monitor.azure.com", "https://monitor.azure.com/.default"),
        ("a-1.usgovvirginia-1.ingest.monitor.azure.us", "https://monitor.azure.us/.default"),
        ("a-1.chinanorth3-1.ingest.monitor.azure.cn", "https://monitor.azure.cn/.default"),
        ("127.0.0.1:8080", "https://monitor.azure.com/.default"),
    ],
)
def test_tokens_are_for_the_cloud_that_the_endpoint_is_in(host: str, scope: str) -> None:
    where = {"endpoint": f"https://{host}", "rule_id": "dcr-1", "stream": "Custom-A_CL"}
    settings = DestinationSettings.model_validate({"type": "azure_monitor", "connection": "c", **where})
    made: Any = make_destination("d", settings, AirflowConnections())
    assert made.scope == scope


@pytest.mark.parametrize("extra", ["no JSON", '{"sslmode": "require", "iam": true}'])
def test_a_database_connection_that_cannot_be_used_is_no_missing_one(connections: Any, extra: str) -> None:
    """With another database in its place, events would be read from where the administrator does not expect it."""
    connections({"conn_type": "postgres", "host": "h", "extra": extra})
    with pytest.raises(ConnectionNotFound, match="connection `c`"):
        dsn_of("c")
    assert dsn_of("no_such_connection") is None


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
    monkeypatch.chdir("/")  # where services are started
    start(elsewhere / "x")
    with pytest.raises(InputError, match="LOGSTREAM_FILE_ROOTS"):
        start(one)
