"""A destination of somebody else's: the one that docs/writing-a-destination.md builds."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from logstream.destinations.base import Limits
from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.request import RequestDestination, RequestOptions


class AcmeOptions(RequestOptions):
    """Options of `acme`."""

    stream: str = Field(pattern=r"^[a-z0-9-]+$", description="The stream to write to.", examples=["audit"])


class AcmeDestination(RequestDestination[AcmeOptions]):
    """Posts arrays of events to Acme's intake."""

    type = "acme"
    title = "Acme logs"
    options_model = AcmeOptions

    @property
    def limits(self) -> Limits:
        """Acme takes 100 events and 200 kB a request."""
        return Limits(events=100, bytes=200_000, concurrency=self.options.concurrency)

    def url(self, credentials: HttpCredentials) -> str:
        """The stream's own address."""
        return f"{credentials.base_url}/streams/{self.options.stream}"

    def headers(self, credentials: HttpCredentials) -> dict[str, str]:
        """The connection's password is Acme's token."""
        return {**credentials.headers, "X-Acme-Token": credentials.password or ""}

    def authentication(self, credentials: HttpCredentials) -> dict[str, str]:
        """None beside the token."""
        return {}

    def encode(self, entries: Sequence[bytes]) -> bytes:
        """An array."""
        return b"[" + b",".join(entries) + b"]"
