"""Azurite."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from logstream.errors import LogstreamError
from logstream.testing.servers.node import node_program
from logstream.testing.servers.process import Server
from logstream.testing.servers.reading import without_manifests

AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's documented account: the same everywhere, no secret."""


class AzuriteServer(Server):
    """Azurite, Microsoft's Azure Blob emulator, from npm."""

    def __init__(self, data: Path, log: Path, port: int | None = None) -> None:
        super().__init__(log, port)
        self.url = f"{self.url}/{AZURITE_ACCOUNT}"
        self._data = data

    @staticmethod
    def program() -> list[str] | None:
        """The command that starts it; `None` where Node.js or Azurite is not installed."""
        node = node_program()
        script = Path(sys.prefix) / "node/node_modules/azurite/dist/src/blob/main.js"
        return [node, str(script)] if node and script.is_file() else None

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Azurite's. Raises `LogstreamError` where it is not installed."""
        program = self.program()
        if program is None:
            raise LogstreamError("Azurite is not installed: it needs Node.js and npm; then run `make setup` again")
        self._data.mkdir(parents=True, exist_ok=True)
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self._data)]
        return [*program, *options, "--silent", "--skipApiVersionCheck", "--disableTelemetry"], {}

    @property
    def connection(self) -> str:
        """An Airflow connection to it."""
        fields = {
            "conn_type": "wasb",
            "login": AZURITE_ACCOUNT,
            "password": AZURITE_KEY,
            "host": self.url,
        }
        return json.dumps(fields)

    def service(self) -> Any:
        """A client of azure-storage-blob, to make containers and read back."""
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient(self.url, credential=AZURITE_KEY)

    def make_container(self, name: str) -> None:
        """Make a container."""
        from azure.core.exceptions import ResourceExistsError

        try:
            self.service().create_container(name)
        except ResourceExistsError:
            return

    def objects(self, container: str, prefix: str = "") -> dict[str, bytes]:
        """All blobs of a container that hold events, by name."""
        client = self.service().get_container_client(container)
        names = without_manifests(blob.name for blob in client.list_blobs(name_starts_with=prefix or None))
        return {name: client.download_blob(name).readall() for name in names}
