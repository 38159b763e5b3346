"""Nothing but the connection decides where objects go and by whose credentials: obstore reads variables of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from logstream.destinations.registry import make_destination
from logstream.errors import InputError
from logstream.settings.models import DestinationSettings
from logstream.testing.servers import EchoingStore, LogSink

from .test_connections import connections  # noqa: F401 - a fixture

KEY = base64.b64encode(b"x" * 32).decode()
ELSEWHERE = "http://127.0.0.1:9"
HARMLESS = {
    "s3": {
        "AWS_ACCESS_KEY_ID": "env-key", "AWS_SESSION_TOKEN": "env-token", "AWS_ENDPOINT": ELSEWHERE, "AWS_BUCKET": "env-bucket",
        "AWS_DEFAULT_REGION": "env-region", "AWS_REQUEST_PAYER": "true", "AWS_UNSIGNED_PAYLOAD": "true", "AWS_S3_EXPRESS": "true",
        "AWS_SKIP_SIGNATURE": "true", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true", "AWS_DISABLE_TAGGING": "true",
        "AWS_CONDITIONAL_PUT": "disabled", "AWS_COPY_IF_NOT_EXISTS": "header: a: b", "AWS_PROXY_URL": ELSEWHERE,
        "AWS_ALLOW_INVALID_CERTIFICATES": "true", "AWS_DEFAULT_CONTENT_TYPE": "text/env", "AWS_TIMEOUT": "1ms",
        "AWS_USER_AGENT": "env-agent",
    },
    "azure_blob": {
        "AZURE_STORAGE_TOKEN": "env-token", "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"env-key").decode(),
        "AZURE_STORAGE_SAS_TOKEN": "sig=env-sas", "AZURE_STORAGE_ACCOUNT_NAME": "envaccount", "AZURE_CONTAINER_NAME": "env",
        "AZURE_CLIENT_ID": "env", "AZURE_CLIENT_SECRET": "env", "AZURE_TENANT_ID": "env", "AZURE_SKIP_SIGNATURE": "true",
        "AZURE_STORAGE_USE_EMULATOR": "true", "AZURE_USE_FABRIC_ENDPOINT": "true", "AZURE_USE_AZURE_CLI": "true",
        "AZURE_STORAGE_ENDPOINT": ELSEWHERE, "AZURE_DISABLE_TAGGING": "true", "AZURE_PROXY_URL": ELSEWHERE,
        "AZURE_DEFAULT_CONTENT_TYPE": "text/env",
    },
    "gcs": {
        "GOOGLE_BASE_URL": ELSEWHERE, "GOOGLE_BUCKET": "env", "GOOGLE_PROXY_URL": ELSEWHERE, "GOOGLE_SKIP_SIGNATURE": "true",
        "GOOGLE_SERVICE_ACCOUNT_KEY": '{"gcs_base_url": "http://127.0.0.1:9"}', "GOOGLE_APPLICATION_CREDENTIALS": "/env",
        "GOOGLE_DEFAULT_CONTENT_TYPE": "text/env",
    },
}  # fmt: skip
REFUSED = {
    "s3": ["AWS_SERVER_SIDE_ENCRYPTION", "AWS_SSE_KMS_KEY_ID", "AWS_SSE_BUCKET_KEY_ENABLED", "AWS_SSE_CUSTOMER_KEY_BASE64",
           "AWS_CHECKSUM_ALGORITHM"],
    "azure_blob": ["AZURE_STORAGE_ENCRYPTION_KEY"],
    "gcs": ["GOOGLE_BEARER_TOKEN", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"],
}  # fmt: skip
OPTIONS = {"s3": {"bucket": "audit"}, "azure_blob": {"container": "audit"}, "gcs": {"bucket": "audit"}}


def fields(kind: str, url: str) -> dict[str, Any]:
    return {
        "s3": {"conn_type": "aws", "login": "own-key", "password": "p", "extra": {"endpoint_url": url, "region_name": "eu-west-1"}},
        "azure_blob": {"conn_type": "wasb", "extra": {"connection_string": f"DefaultEndpointsProtocol=http;AccountName=own;AccountKey={KEY};BlobEndpoint={url}/own;"}},
        "gcs": {"conn_type": "google_cloud_platform", "extra": {"endpoint_url": url}},
    }[kind]  # fmt: skip


def put(made: Any, kind: str) -> None:
    stored = DestinationSettings.model_validate({"type": kind, "connection": "c", "manifests": False, **OPTIONS[kind]})
    destination: Any = make_destination("d", stored, made)

    async def run() -> None:
        await destination.start()
        await destination.put("key", b"{}")
        await destination.close()

    asyncio.run(run())


class Recorder(EchoingStore):
    """Keeps the first line of every request."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        self.lines.append(request.requestline)
        return super().answer(request, body)


VOLATILE = {"date", "x-ms-date", "x-amz-date", "authorization", "host"}


def heads(server: Recorder) -> list[dict[str, str]]:
    found = [{name.lower(): value for name, value in head.items()} for head in server.heads]
    return [{name: value for name, value in head.items() if name not in VOLATILE} for head in found]


@pytest.mark.parametrize("kind", HARMLESS)
@pytest.mark.parametrize("one", [False, True])
def test_variables_of_the_environment_change_nothing(
    connections: Any, monkeypatch: pytest.MonkeyPatch, kind: str, one: bool  # noqa: F811
) -> None:  # fmt: skip
    """All at once, and each by itself: one may hide another."""
    with Recorder() as plain:
        put(connections(fields(kind, plain.url)), kind)
        expected = heads(plain), plain.lines
    assert expected[1]
    for some in [{name: value} for name, value in HARMLESS[kind].items()] if one else [HARMLESS[kind]]:
        with Recorder() as server, monkeypatch.context() as patch:
            for name, value in some.items():
                patch.setenv(name, value)
            put(connections(fields(kind, server.url)), kind)
            assert (heads(server), server.lines) == expected, some
            said = [head.get("Authorization", head.get("authorization", "")) for head in server.heads]
            assert not [text for text in said if "env" in text]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in REFUSED.items() for name in names])
def test_what_cannot_be_left_alone_is_refused_by_name(
    connections: Any, monkeypatch: pytest.MonkeyPatch, kind: str, name: str  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setenv(name, "x")
    with EchoingStore() as server:
        with pytest.raises(InputError, match=f"the environment sets {name}, .* unset it"):
            put(connections(fields(kind, f"http://127.0.0.1:{server.port}")), kind)
        assert server.requests == 0


def test_keys_of_google_are_those_of_the_connection(connections: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Where a connection has none, the environment's own are used: that is what it asks for."""
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "env-token")
    key = {
        "type": "service_account",
        "private_key": "",
        "private_key_id": "",
        "client_email": "",
        "disable_oauth": True,
    }
    with LogSink() as server:
        own = {
            "conn_type": "google_cloud_platform",
            "extra": {"endpoint_url": server.url, "keyfile_dict": json.dumps(key)},
        }
        with pytest.raises(InputError, match="GOOGLE_BEARER_TOKEN"):
            put(connections(own), "gcs")
    assert os.environ["GOOGLE_BEARER_TOKEN"] == "env-token"
