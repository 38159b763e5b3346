"""An emulator of Google Cloud Storage."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

from logstream.testing.servers.process import Server
from logstream.testing.servers.reading import without_manifests


class GcsServer(Server):
    """A GCS emulator, from PyPI."""

    def command(self) -> tuple[list[str], dict[str, str]]:
        """The emulator's."""
        program = Path(sys.executable).parent / "gcp-storage-emulator"
        options = ["start", "--host=127.0.0.1", f"--port={self.port}", "--in-memory"]
        return [str(program), *options], {"PYTHONWARNINGS": "ignore"}

    @property
    def connection(self) -> str:
        """An Airflow connection to it."""
        return json.dumps({"conn_type": "google_cloud_platform", "extra": {"endpoint_url": self.url}})

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        request = urllib.request.Request(
            f"{self.url}/storage/v1/b",
            data=json.dumps({"name": name}).encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).close()

    def objects(self, bucket: str) -> dict[str, bytes]:
        """All objects of a bucket that hold events, by name."""
        with urllib.request.urlopen(f"{self.url}/storage/v1/b/{bucket}/o", timeout=30) as answer:
            names = without_manifests(item["name"] for item in json.load(answer).get("items", []))
        found = {}
        for name in names:
            with urllib.request.urlopen(f"{self.url}/{bucket}/{quote(name)}", timeout=10) as answer:
                found[name] = answer.read()
        return found
