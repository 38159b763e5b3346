"""`datadog`: Datadog's log intake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import orjson
from pydantic import Field

from logstream.destinations.access.requests import DATADOG
from logstream.destinations.base import Limits
from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.request import RequestDestination, RequestOptions
from logstream.destinations.transport.answers import names_no_error
from logstream.destinations.transport.urls import at_endpoint
from logstream.destinations.vendor_rules import Accepts, datadog_site, datadog_tags
from logstream.events import Event
from logstream.jsontext import as_string
from logstream.shapes import unix_us


class DatadogOptions(RequestOptions):
    """Options of `datadog`."""

    site: Annotated[str, Accepts(datadog_site)] = Field(
        default="datadoghq.com", pattern=r"^[a-z0-9.-]+$", description="The Datadog site.", examples=["datadoghq.eu"]
    )
    service: str | None = Field(default=None, description="The service.", examples=["audit"])
    source: str = Field(default="workato", description="The source (`ddsource`).")
    tags: Annotated[list[str] | str, Accepts(datadog_tags)] = Field(
        default=[], description="Tags (`ddtags`).", examples=[["env:prod", "team:security"]]
    )
    hostname: str | None = Field(
        default=None, description="The host that events are said to be from.", examples=["workato"]
    )


class DatadogDestination(RequestDestination[DatadogOptions]):
    """Posts arrays of log entries."""

    type = "datadog"
    title = "Datadog"
    options_model = DatadogOptions
    access = DATADOG

    @property
    def limits(self) -> Limits:
        """1,000 entries, 5 MB before compression, 1 MB an entry."""
        return Limits(events=1_000, bytes=5_000_000, event_bytes=1_000_000, concurrency=self.options.concurrency)

    def credentials(self) -> HttpCredentials:
        """The connection's host, if it has one, is another intake (a proxy)."""
        return self.connections.http(self.options.connection, f"https://http-intake.logs.{self.options.site}")

    def url(self, credentials: HttpCredentials) -> str:
        """The intake."""
        return at_endpoint(credentials.base_url, "/api/v2/logs")

    def authentication(self, credentials: HttpCredentials) -> Mapping[str, str]:
        """The connection's password is the API key."""
        return {"DD-API-KEY": credentials.password or ""}

    def entry(self, event: Event, message: bytes) -> bytes:
        """The message as the entry's text, with the event's time; what a template has made an entry already stays as it is."""
        if message.startswith(b"{") and b'"ddsource"' in message and _is_entry(message):
            return message
        options = self.options
        tags = options.tags if isinstance(options.tags, str) else ",".join(options.tags)
        named = {"ddsource": options.source, "ddtags": tags, "service": options.service, "hostname": options.hostname}
        given = {name: value for name, value in named.items() if value}
        timed = b'"timestamp":%d,"message":%b}' % (unix_us(event) // 1_000, as_string(message))
        return orjson.dumps(given)[:-1] + (b"," if given else b"") + timed

    def accepted(self, status: int, headers: Mapping[str, str], answer: bytes) -> bool:
        """202, with an empty object."""
        return status == 202 and names_no_error(answer, "errors", "error")

    def encode(self, entries: Sequence[bytes]) -> bytes:
        """A JSON array."""
        return b"[" + b",".join(entries) + b"]"


def _is_entry(message: bytes) -> bool:
    try:
        return "ddsource" in orjson.loads(message)
    except ValueError:
        return False
