"""S3 by moto and by s3rver."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from logstream.errors import LogstreamError
from logstream.testing.servers.node import node_program
from logstream.testing.servers.process import Server
from logstream.testing.servers.reading import without_manifests


@cache
def s3_client(url: str, key: str, secret: str) -> Any:
    """A boto3 client of an S3 server, one for all who ask: boto3 takes long to make one."""
    import boto3

    return boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret
    )


class S3Server(Server):
    """moto's S3 server, whose buckets take any credentials."""

    probe = "/moto-api/"

    def command(self) -> tuple[list[str], dict[str, str]]:
        """moto's."""
        program = Path(sys.executable).parent / "moto_server"
        return [str(program), "-H", "127.0.0.1", "-p", str(self.port)], {"MOTO_S3_CUSTOM_ENDPOINTS": self.url}

    @property
    def connection(self) -> str:
        """An Airflow connection to it."""
        extra = {"endpoint_url": self.url, "region_name": "us-east-1"}
        return f"aws://demo-access-key:demo-secret-key@/?{urlencode(extra)}"

    def client(self) -> Any:
        """A boto3 client, to make buckets and read back."""
        return s3_client(self.url, "demo-access-key", "demo-secret-key")

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        self.client().create_bucket(Bucket=name)

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """All objects of a bucket that hold events, by key."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = without_manifests(item["Key"] for page in pages for item in page.get("Contents", []))
        return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


class S3rver(S3Server):
    """s3rver, from npm: a second S3 server, by other people. It knows one access key."""

    probe = "/"

    def __init__(self, data: Path, log: Path, port: int | None = None) -> None:
        super().__init__(log, port)
        self._data = data

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Node's."""
        script = Path(sys.prefix) / "node/node_modules/s3rver/bin/s3rver.js"
        node = node_program()
        if node is None or not script.exists():
            raise LogstreamError("s3rver is not installed; it needs Node.js, then run make setup again")
        self._data.mkdir(parents=True, exist_ok=True)
        options = ["-d", str(self._data), "-a", "127.0.0.1", "-p", str(self.port), "--no-vhost-buckets", "--silent"]
        return [node, str(script), *options], {}

    def client(self, key: str = "S3RVER", secret: str = "S3RVER") -> Any:
        """It knows one key."""
        return s3_client(self.url, key, secret)

    @property
    def connection(self) -> str:
        """An Airflow connection to it."""
        extra = {"endpoint_url": self.url, "region_name": "us-east-1"}
        return f"aws://S3RVER:S3RVER@/?{urlencode(extra)}"
