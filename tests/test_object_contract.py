"""The contract of destinations that keep objects, run over folders, S3 and Azure. (Google's emulator hangs at many small objects.)"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.destinations.credentials import Connections
from logstream.testing.contract import ObjectContract
from logstream.testing.servers import AzuriteServer, S3Server

_numbers = itertools.count(1)


class TestFile(ObjectContract):
    type = "file"

    @pytest.fixture
    def server(self, tmp_path: Path) -> Path:
        return tmp_path / "out"

    def connections(self, server: Path) -> Connections:
        return AirflowConnections()

    def settings_for(self, server: Path) -> dict[str, Any]:
        return {"connection": None, "path": str(server)}

    def objects(self, server: Path) -> dict[str, bytes]:
        found = {str(path.relative_to(server)): path.read_bytes() for path in server.rglob("*") if path.is_file()}
        return {key: body for key, body in found.items() if not key.startswith("_manifests/")}


class StoreContract(ObjectContract):
    """Each test has a bucket or container of its own at the server: `place`."""

    options = {"prefix": "logs/"}
    container = "bucket"

    @pytest.fixture(autouse=True)
    def _connection(self, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_CONTRACT", server.connection)
        self.place = f"contract-{self.type.replace('_', '-')}-{next(_numbers)}"
        (server.make_bucket if self.container == "bucket" else server.make_container)(self.place)

    def connections(self, server: Any) -> Connections:
        return AirflowConnections()

    def settings_for(self, server: Any) -> dict[str, Any]:
        return {self.container: self.place}

    def objects(self, server: Any) -> dict[str, bytes]:
        found: dict[str, bytes] = server.objects(self.place)
        return found


class TestS3(StoreContract):
    type = "s3"
    secrets = ("demo-secret-key",)

    @pytest.fixture
    def server(self, s3: S3Server) -> S3Server:
        return s3


class TestAzureBlob(StoreContract):
    type, container = "azure_blob", "container"

    @pytest.fixture
    def server(self, azurite: AzuriteServer) -> AzuriteServer:
        return azurite
