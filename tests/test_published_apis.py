"""Requests and doubles of vendors that publish a description of their API, held to it (`tests/data/api/`, S3 in `test_api_descriptions.py`).

Each request that a destination sends, and each answer that its double gives in trouble and out of it, is what the description
has: names in the query, headers, media types, bodies, statuses. Of Splunk, Sumo Logic, Grafana Loki and New Relic there is no
such description of the way in for logs.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema
import pytest
import requests
from azure.storage.blob import StorageErrorCode

from logstream.destinations.azure_blob import AzureBlobDestination
from logstream.destinations.azure_monitor import AzureMonitorDestination
from logstream.destinations.credentials import Connections, HttpCredentials
from logstream.destinations.outcome import Delivered
from logstream.destinations.registry import make_destination
from logstream.destinations.transport.addresses import VARIABLE
from logstream.settings.models import DestinationSettings
from logstream.testing.contract import StaticConnections, small_parcels
from logstream.testing.vendors import VENDORS, AzureMonitor, Vendor

from .test_causes import PASSING, PERMANENT

API = Path(__file__).parent / "data" / "api"
DESCRIBED = {
    "azure_monitor": "azure_monitor_upload",
    "datadog": "datadog_submit_log",
    "elasticsearch": "elasticsearch_bulk",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "azure_monitor": {"rule_id": AzureMonitor.rule, "stream": AzureMonitor.stream},
    "datadog": {"service": "audit", "tags": ["env:test"], "hostname": "h"},
    "elasticsearch": {"index": "workato-audit"},
}
EVERYWHERE = {"filter_path", "error_trace", "human", "pretty"}
"""What every API of Elasticsearch takes in its query; each operation's description leaves it out."""
OF_HTTP = {
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "user-agent",
}
OURS = {"idempotency-key"}
"""A header that no vendor knows and none refuses."""


class Description:
    """What a vendor says of the one operation by which logs are sent to it."""

    def __init__(self, name: str) -> None:
        self.text: dict[str, Any] = json.loads((API / f"{DESCRIBED[name]}.json").read_text())
        self.source, self.licence = self.text["source"], self.text["licence"]

    def check(self, document: Any, schema: dict[str, Any]) -> None:
        """Raise `ValidationError` where a document is not what a schema of the description says."""
        jsonschema.validate(document, _strict({**self.text, **_resolved(schema, self.text)}, self.text))

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Hold one answer of a double to the description."""
        answers = self.text["answers"]
        schema = answers.get(str(status), answers.get("default", ...))
        assert schema is not ..., f"status {status} is not described"
        if schema is None:
            assert body == b""
            return
        self.check(json.loads(body), schema)
        if status >= 400:
            assert set(self.text.get("error_headers", [])) <= {name.lower() for name in headers}

    def request(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """Hold one request of a destination to the description."""
        target = urlsplit(path)
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(self.text["path"]))
        assert re.fullmatch(pattern, target.path)
        query = dict(parse_qsl(target.query))
        assert query.keys() <= {*self.text["query"], *EVERYWHERE}
        assert query.get("api-version") == self.text.get("version")
        given = {name.lower(): value for name, value in headers.items()}
        known = {name.lower(): values for name, values in self.text.get("headers", {}).items()}
        assert given.keys() - OF_HTTP - OURS - {"content-encoding"} <= known.keys()
        if "content-encoding" in given and "content-encoding" in known:
            assert given["content-encoding"] in known["content-encoding"]
        assert given["content-type"] in self.text["media_types"]
        if "body" in self.text:
            self.check(json.loads(body), self.text["body"])
        else:
            for line in body.splitlines()[::2]:
                self.check(json.loads(line), self.text["line"])


def _strict(schema: Any, whole: dict[str, Any]) -> Any:
    """A schema that takes no properties beside those it names, as one of JSON Schema (OpenAPI has `nullable`)."""
    if isinstance(schema, list):
        return [_strict(item, whole) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("nullable"):
        return {"type": "null"}  # one of two choices, of which the other is the type itself
    if len(schema.get("allOf", ())) == 1:
        return _strict(schema["allOf"][0], whole)  # a reference, to itself perhaps
    if "allOf" in schema:
        schema = _resolved(schema, whole)
    made = {name: _strict(value, whole) for name, value in schema.items()}
    if made.get("type") == "object" and "properties" in made:
        made.setdefault("additionalProperties", False)
    return made


def _resolved(schema: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """A schema without the references and the `allOf` at its top."""
    while "$ref" in schema or "allOf" in schema:
        if "allOf" in schema:
            parts = [_resolved(part, whole) for part in schema["allOf"]]
            merged: dict[str, Any] = {}
            for part in parts:
                merged |= part.get("properties", {})
            return {
                "type": "object",
                "properties": merged,
                "required": [n for p in parts for n in p.get("required", [])],
            }
        found: Any = whole
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        schema = found
    return schema


@pytest.fixture(params=sorted(DESCRIBED))
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(VARIABLE, "1")
    return str(request.param)


@pytest.fixture
def server(name: str) -> Iterator[Vendor]:
    with VENDORS[name]() as server:
        yield server


def made(name: str, server: Vendor, **options: Any) -> Any:
    headers = {"Authorization": f"ApiKey {server.token}"} if name == "elasticsearch" else {}
    connections: Connections = StaticConnections(
        HttpCredentials(server.url, password=server.token, headers=headers), token=server.token
    )
    endpoint = {"endpoint": server.url} if name == "azure_monitor" else {}
    settings = {"type": name, "connection": "c", **OPTIONS[name], **endpoint, **options}
    return make_destination("d", DestinationSettings.model_validate(settings), connections)


def send(destination: Any, events: int) -> list[Any]:
    async def once() -> list[Any]:
        await destination.start()
        try:
            return [await destination.deliver(parcel) for parcel in small_parcels(destination, events)]
        finally:
            await destination.close()

    return asyncio.run(once())


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_requests_are_what_the_vendor_describes(name: str, server: Vendor, compression: str) -> None:
    assert send(made(name, server, compression=compression), 30) == [Delivered()]
    description = Description(name)
    (path,), (headers,), (body,) = server.paths, server.headers, server.bodies
    assert ("Content-Encoding" in headers) == (compression == "gzip")
    description.request(path, headers, body)


def answers_of(name: str, server: Vendor) -> Iterator[requests.Response]:
    """What the double says to a good request, and in every trouble that it knows."""
    send(made(name, server), 2)
    (path,), (headers,), (body,) = server.paths, server.headers, server.bodies
    kept = {
        key: value
        for key, value in headers.items()
        if key.lower() not in ("host", "content-length", "content-encoding")
    }
    wrong = {key: value.replace(server.token, "x") for key, value in kept.items()}
    for changed, sent in (
        (kept, body), (wrong, body), (kept, b"{no JSON\n"), (kept, b"[]\n"), (kept, b'{"a": 1}\n'), (kept, b'[{"a": 1}]\n'),
        (kept, b"[" + b'{"a": 1},' * 2_000_000 + b"1]\n"), ({**kept, "Content-Encoding": "gzip"}, gzip.compress(body)),
    ):  # fmt: skip
        yield requests.post(server.url + path, headers=changed, data=sent, timeout=60)
    for status in (400, 403, 429, 500, 503):
        server.fail = lambda _, status=status: status  # type: ignore[misc]
        yield requests.post(server.url + path, headers=kept, data=body, timeout=60)
    server.fail = lambda _: None
    if name == "elasticsearch":
        # in full: what every document has become
        whole = server.url + path.partition("?")[0]
        for number, (bad, busy) in enumerate(((False, False), (True, False), (False, True))):
            server.bad, server.busy = lambda _, bad=bad: bad, lambda _, busy=busy: busy  # type: ignore[attr-defined, misc]
            fresh = body.replace(b'-0"', b'-10%d"' % number).replace(b'-1"', b'-20%d"' % number)
            for _ in range(2):  # what is there already is a conflict
                yield requests.post(whole, headers=kept, data=fresh, timeout=60)


def test_doubles_answer_as_the_vendor_describes(name: str, server: Vendor) -> None:
    description = Description(name)
    statuses = set()
    for answer in answers_of(name, server):
        statuses.add(answer.status_code)
        if answer.status_code == 200 and "filter_path" in answer.request.url:  # type: ignore[operator]
            assert answer.json().keys() == {"errors", "items"}
            continue  # a part of what is described: the whole is asked for, too
        description.answer(answer.status_code, answer.content, dict(answer.headers))
    assert {400, 413, 429, 500, 503} <= statuses and statuses & {401, 403} and statuses & {200, 202, 204}


def test_an_answer_that_is_not_the_vendors_is_seen(name: str) -> None:
    """The check itself can fail: at an unknown status, at a member of another name, at one of another type."""
    description = Description(name)
    wrong = {
        "azure_monitor": (413, {"error": "too large"}),
        "datadog": (413, {"errors": [{"status": 413}]}),
        "elasticsearch": (200, {"took": 1, "errors": False, "items": [{"create": {"_index": "i", "state": 201}}]}),
    }
    status, document = wrong[name]
    with pytest.raises(jsonschema.ValidationError):
        description.answer(status, json.dumps(document).encode(), {"x-ms-error-code": "x"})
    if name == "datadog":
        with pytest.raises(AssertionError, match="is not described"):
            description.answer(404, b"{}", {})


def test_tokens_are_for_what_azure_describes() -> None:
    destination = made("azure_monitor", VENDORS["azure_monitor"]())
    assert isinstance(destination, AzureMonitorDestination)
    assert destination.scope == Description("azure_monitor").text["scope"]


PAGES = "https://learn.microsoft.com/rest/api/storageservices/"
OF_PAGES = {
    "AuthorizationPermissionMismatch": "sas-error-codes",
    "AuthorizationProtocolMismatch": "sas-error-codes",
    "AuthorizationResourceTypeMismatch": "sas-error-codes",
    "AuthorizationServiceMismatch": "sas-error-codes",
    "AuthorizationSourceIPMismatch": "sas-error-codes",
    "BlobImmutableDueToPolicy": "blob-service-error-codes",
    "KeyBasedAuthenticationNotPermitted": "common-rest-api-error-codes",
    "PublicAccessNotPermitted": "common-rest-api-error-codes",
}
"""Codes that Microsoft's client does not list, and the pages of Microsoft's below `PAGES` that do."""


def test_codes_of_azures_blobs_are_the_vendors() -> None:
    """Those that we read, and those of the refusals that the tests send, beside the list of Microsoft's own client."""
    known = {code.value for code in StorageErrorCode}
    refusals = [*PERMANENT, *PASSING]
    sent = {code for kind, _, body, _ in refusals if kind == "azure_blob" for code in re.findall("<Code>([^<]*)", body)}
    assert "ContainerNotFound" in known and len(sent) > 5
    assert ({*AzureBlobDestination.causes, *AzureBlobDestination.passing} | sent) - known == OF_PAGES.keys()
