"""The contract of destinations, run over all of ours and over one that is somebody else's package."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from logstream.destinations.credentials import Connections, HttpCredentials
from logstream.destinations.registry import BUILT_IN, _references, destination_type
from logstream.destinations.request import RequestDestination
from logstream.testing.contract import LimitsBytes, RefusesSingleEvents, RequestContract, StaticConnections
from logstream.testing.vendors import VENDORS, AzureMonitor, Refused, Vendor


class Hook(Vendor):
    """Somebody's own endpoint: a bearer token, one event, an array or lines."""

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
    many = 4_000  # one by one


class TestHttpArray(HookContract, LimitsBytes):
    options = {"path": "/in", "format": "array"}
    small_requests = {"max_events": 7}


class TestHttpLines(HookContract, LimitsBytes):
    options = {"path": "/in", "format": "lines"}
    small_requests = {"max_events": 7}


class Acme(Vendor):
    """Acme's intake, as strict as its documentation."""

    path = "/streams/audit"
    max_bytes = 200_000

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        return request.headers.get("X-Acme-Token") == self.token

    def store(self, plain: bytes) -> object:
        events = json.loads(plain)
        if len(events) > 100:
            raise Refused(400, "too many")
        for event in events:
            self.take_event(event)
        return None


@pytest.fixture(scope="module")
def acme_installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package, installed into a folder of its own and found through its entry point, as any installed one is."""
    target = tmp_path_factory.mktemp("site")
    source = Path(__file__).parent / "acme_logstream"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
               "--disable-pip-version-check", "--target", str(target), str(source)]  # fmt: skip
    subprocess.run(command, check=True, timeout=120)
    sys.path.insert(0, str(target))
    for cached in (_references, destination_type):
        cached.cache_clear()
    yield
    sys.path.remove(str(target))
    for cached in (_references, destination_type):
        cached.cache_clear()


@pytest.mark.usefixtures("acme_installed")
class TestAcme(LimitsBytes):
    type = "acme"
    options = {"stream": "audit"}
    kill_at = 3

    @pytest.fixture
    def server(self) -> Iterator[Vendor]:
        with Acme() as server:
            yield server


def test_every_destination_that_takes_requests_is_held_to_the_contract() -> None:
    ours = {name for name in BUILT_IN if issubclass(destination_type(name), RequestDestination)}
    held = {found.type for found in globals().values() if isinstance(found, type) and issubclass(found, RequestContract)
            and found.__name__.startswith("Test")}  # fmt: skip
    assert ours == held - {"acme"}


def test_the_documented_plug_in_is_the_one_that_is_tested() -> None:
    page = (Path(__file__).parent.parent / "docs" / "writing-a-destination.md").read_text()
    source = (Path(__file__).parent / "acme_logstream" / "acme_logstream.py").read_text()
    assert source.split("\n", 2)[2].strip() in page
    assert len(source.splitlines()) <= 100
