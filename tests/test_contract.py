"""The contract of destinations, run over all of ours and over one that is another author's package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from logstream.destinations.credentials import Connections, HttpCredentials
from logstream.destinations.registry import built_in, destination_type
from logstream.destinations.request import RequestDestination
from logstream.testing.contract import LimitsBytes, RefusesSingleEvents, RequestContract, StaticConnections
from logstream.testing.vendors import VENDORS, AzureMonitor, Vendor


class Hook(Vendor):
    """A customer's own endpoint: a bearer token, one event, an array or lines."""

    path = "/in"
    max_bytes = 10_000_000

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        self._type = request.headers["Content-Type"]
        return request.headers.get("Authorization") == f"Bearer {self.token}"

    def store(self, plain: bytes) -> object:
        lines = plain.splitlines() if self._type == "application/x-ndjson" else [plain]
        for line in lines:
            found = json.loads(line)
            for event in found if isinstance(found, list) else [found]:
                self.take_event(event)
        return None


class VendorContract(RequestContract):
    @pytest.fixture
    def server(self) -> Iterator[Vendor]:
        with VENDORS[self.type]() as server:
            yield server


class TestSplunkHec(VendorContract, LimitsBytes, RefusesSingleEvents):
    type = "splunk_hec"
    options = {"index": "audit", "source": "workato"}
    no_success = [(200, b""), (200, b"{}"), (200, b'{"text":"Success"}'), (201, b'{"text":"Success","code":0}')]


class TestDatadog(VendorContract, LimitsBytes):
    type = "datadog"
    options = {"service": "audit", "tags": ["env:test", "team:a"]}
    no_success = [(200, b"{}"), (204, b"")]


class TestSumoLogic(VendorContract, LimitsBytes):
    type = "sumo_logic"
    options = {"category": "prod/audit", "name": "workato"}
    no_success = [
        (200, b"OK"),
        (200, b"It works!"),
        (200, b'{"status":401,"code":"unauthorized"}'),
        (202, b""),
        (204, b""),
    ]
    permanent_status = 401

    def connections(self, server: Vendor) -> Connections:
        return StaticConnections(HttpCredentials(f"{server.url}/receiver/v1/http/{server.token}"))


class TestGrafanaLoki(VendorContract, LimitsBytes, RefusesSingleEvents):
    type = "grafana_loki"
    options = {"workspace_label": "workspace", "tenant": "t1"}
    no_success = [(200, b"OK"), (202, b""), (200, b'{"status":"success"}')]
    keeps_order = False  # within a stream only

    def connections(self, server: Vendor) -> Connections:
        return StaticConnections(HttpCredentials(server.url, login="12345", password=server.token))


class TestNewRelic(VendorContract, LimitsBytes):
    type = "new_relic"
    options = {"attributes": {"logtype": "audit"}}
    no_success = [(202, b"{}"), (202, b""), (200, b'{"requestId":"0123"}')]


class TestElasticsearch(VendorContract, LimitsBytes, RefusesSingleEvents):
    type = "elasticsearch"
    options = {"index": "workato-audit"}
    no_success = [
        (200, b"{}"),
        (200, b""),
        (200, b'{"errors":true,"items":[]}'),
        (200, b'{"errors":true}'),
        (202, b'{"errors":false}'),
    ]

    def connections(self, server: Vendor) -> Connections:
        return StaticConnections(HttpCredentials(server.url, headers={"Authorization": f"ApiKey {server.token}"}))


class TestAzureMonitor(VendorContract, LimitsBytes):
    type = "azure_monitor"
    no_success = [(200, b""), (202, b"{}")]

    def settings_for(self, server: Vendor) -> dict[str, Any]:
        assert isinstance(server, AzureMonitor)
        return {"endpoint": server.url, "rule_id": server.rule, "stream": server.stream}

    def connections(self, server: Vendor) -> Connections:
        return StaticConnections(HttpCredentials(server.url), token=server.token)


class HookContract(RequestContract):
    type = "http"
    kill_at = 20

    @pytest.fixture
    def server(self) -> Iterator[Vendor]:
        with Hook() as server:
            yield server

    def connections(self, server: Vendor) -> Connections:
        return StaticConnections(HttpCredentials(server.url, headers={"Authorization": f"Bearer {server.token}"}))


class TestHttpSingle(HookContract):
    options = {"path": "/in"}
    many = 1_500  # one by one


class TestHttpArray(HookContract, LimitsBytes):
    options = {"path": "/in", "format": "array"}
    small_requests = {"max_events": 7}


class TestHttpLines(HookContract, LimitsBytes):
    options = {"path": "/in", "format": "lines"}
    small_requests = {"max_events": 7}


def test_every_destination_that_takes_requests_is_held_to_the_contract() -> None:
    ours = {name for name in built_in() if issubclass(destination_type(name), RequestDestination)}
    held = {found.type for found in globals().values() if isinstance(found, type) and issubclass(found, RequestContract)
            and found.__name__.startswith("Test")}  # fmt: skip
    assert ours == held
