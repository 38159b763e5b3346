"""`new_relic`: New Relic's Log API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import orjson
from pydantic import Field

from logstream.destinations.access.requests import NEW_RELIC
from logstream.destinations.base import Limits
from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.request import RequestDestination, RequestOptions
from logstream.destinations.transport.urls import at_endpoint
from logstream.destinations.vendor_rules import Accepts, new_relic_attributes
from logstream.events import Event
from logstream.jsontext import as_string
from logstream.shapes import unix_us


class Region(StrEnum):
    """Where the account is."""

    US = "us"
    EU = "eu"


HOSTS = {Region.US: "https://log-api.newrelic.com", Region.EU: "https://log-api.eu.newrelic.com"}


class NewRelicOptions(RequestOptions):
    """Options of `new_relic`."""

    region: Region = Field(default=Region.US, description="us or eu.")
    attributes: Annotated[dict[str, str], Accepts(new_relic_attributes)] = Field(
        default={"logtype": "audit"}, description="Attributes of every entry.", examples=[{"logtype": "audit"}]
    )


class NewRelicDestination(RequestDestination[NewRelicOptions]):
    """Posts entries with common attributes."""

    type = "new_relic"
    title = "New Relic"
    options_model = NewRelicOptions
    access = NEW_RELIC

    @property
    def limits(self) -> Limits:
        """A megabyte a request; New Relic counts it compressed, we do not."""
        return Limits(bytes=1_000_000, concurrency=self.options.concurrency)

    @property
    def envelope(self) -> int:  # type: ignore[override]
        """The common attributes, and what is around them."""
        return 100 + len(orjson.dumps(self.options.attributes))

    def credentials(self) -> HttpCredentials:
        """The connection's host, if it has one, is another endpoint (a proxy)."""
        return self.connections.http(self.options.connection, HOSTS[self.options.region])

    def url(self, credentials: HttpCredentials) -> str:
        """The Log API."""
        return at_endpoint(credentials.base_url, "/log/v1")

    def authentication(self, credentials: HttpCredentials) -> Mapping[str, str]:
        """The connection's password is the licence key."""
        return {"Api-Key": credentials.password or ""}

    def entry(self, event: Event, message: bytes) -> bytes:
        """Its time in milliseconds, and the message as text."""
        return b'{"timestamp":%d,"message":%b}' % (unix_us(event) // 1_000, as_string(message))

    def accepted(self, status: int, headers: Mapping[str, str], answer: bytes) -> bool:
        """202, with a request id."""
        return status == 202 and b"requestId" in answer

    def encode(self, entries: Sequence[bytes]) -> bytes:
        """One block with common attributes."""
        common = orjson.dumps({"attributes": self.options.attributes})
        return b'[{"common":' + common + b',"logs":[' + b",".join(entries) + b"]}]"
