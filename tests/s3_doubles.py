"""What tests of one S3 destination against one small double of a server share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from logstream.destinations.credentials import AwsCredentials
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.registry import make_destination
from logstream.destinations.transport.network import Network
from logstream.settings.models import DestinationSettings
from logstream.testing.servers import LogSink


class S3Double(LogSink):
    """A server that speaks S3 as far as a test wants. It gives the credentials to itself, so it is the connections, too."""

    def __init__(self) -> None:
        super().__init__()
        self.endpoint = self.url
        self.virtual = False
        self.network = Network(environment=False)
        self.token: str | None = None  # type: ignore[assignment]
        """The token of a session, where the credentials are of one."""

    def aws(self, _: str) -> AwsCredentials:
        """See `Connections`."""
        keys = {
            "access_key_id": "AKIAEXAMPLE", "secret_access_key": "s3cr3t-of-aws", "token": self.token, "expires_at": None,
        }  # fmt: skip
        return AwsCredentials(
            lambda: keys, region="us-east-1", endpoint=self.endpoint, virtual_hosts=self.virtual, network=self.network
        )


@asynccontextmanager
async def opened(server: S3Double, **options: Any) -> AsyncIterator[ObjectDestination[Any]]:
    """The destination `lake` in bucket `audit` of a double, ready to be used."""
    settings = DestinationSettings.model_validate({"type": "s3", "connection": "c", "bucket": "audit", **options})
    destination = make_destination("lake", settings, server)  # type: ignore[arg-type]
    assert isinstance(destination, ObjectDestination)
    await destination.start()
    try:
        yield destination
    finally:
        await destination.close()
