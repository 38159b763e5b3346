"""`splunk_hec`: Splunk's HTTP Event Collector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, TypeGuard

import orjson
from pydantic import Field

from logstream.destinations.access.requests import SPLUNK
from logstream.destinations.base import Limits
from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Reject, Retry
from logstream.destinations.parcel import Parcel
from logstream.destinations.request import RequestDestination, RequestOptions
from logstream.destinations.transport.answers import object_in, retry_after
from logstream.destinations.transport.urls import at_endpoint
from logstream.destinations.vendor_rules import Accepts, splunk_index, splunk_metadata
from logstream.events import Event
from logstream.shapes import unix_us

REQUEST_BYTES = 1_000_000
BAD_EVENT = frozenset({5, 6, 12, 13, 15})
"""Codes with an `invalid-event-number`: no data, invalid data format, event field missing, blank, indexed fields wrong."""

BAD_TOKEN = frozenset({1, 2, 3, 4})


class SplunkHecOptions(RequestOptions):
    """Options of `splunk_hec`."""

    index: Annotated[str | None, Accepts(splunk_index)] = Field(
        default=None, description="The index; the token's default if left out.", examples=["audit"]
    )
    source: Annotated[str | None, Accepts(splunk_metadata)] = Field(
        default=None, description="The source.", examples=["workato"]
    )
    sourcetype: Annotated[str, Accepts(splunk_metadata)] = Field(default="_json", description="The source type.")
    host: Annotated[str | None, Accepts(splunk_metadata)] = Field(
        default=None, description="The host that events are said to be from.", examples=["workato"]
    )


class SplunkHecDestination(RequestDestination[SplunkHecOptions]):
    """Posts events, one JSON object after another."""

    type = "splunk_hec"
    title = "Splunk HTTP Event Collector"
    options_model = SplunkHecOptions
    kept_in = ("index",)
    access = SPLUNK

    @property
    def limits(self) -> Limits:
        """A megabyte a request."""
        return Limits(bytes=REQUEST_BYTES, concurrency=self.options.concurrency)

    def url(self, credentials: HttpCredentials) -> str:
        """The event endpoint."""
        return at_endpoint(credentials.base_url, "/services/collector/event")

    def authentication(self, credentials: HttpCredentials) -> Mapping[str, str]:
        """The connection's password is the token."""
        return {"Authorization": f"Splunk {credentials.password or ''}"}

    def entry(self, event: Event, message: bytes) -> bytes:
        """The message with its time and metadata."""
        names = ("host", "source", "sourcetype", "index")
        given = {name: getattr(self.options, name) for name in names if getattr(self.options, name)}
        seconds, micros = divmod(unix_us(event), 1_000_000)
        metadata = orjson.dumps(given)[1:-1]
        return b'{"time":%d.%06d,%b"event":%b}' % (seconds, micros, metadata + b"," if metadata else b"", message)

    def encode(self, entries: Sequence[bytes]) -> bytes:
        """One after another."""
        return b"\n".join(entries)

    def read(self, status: int, headers: Mapping[str, str], answer: bytes, parcel: Parcel) -> Outcome:
        """Splunk says more in its answer's `code` than by its status."""
        code, number = _code(answer)
        if status == 200 and code == 0:
            return Delivered()
        text = f"Splunk answered {status}, code {code}"
        if code in BAD_EVENT and 0 <= number < len(parcel.events):
            # the events before it are indexed
            return Reject(
                {number: f"{text}: the event is not valid"}, resend=tuple(range(number + 1, len(parcel.events)))
            )
        if code in BAD_TOKEN:
            return GiveUp(f"{text}: correct the token (password) of connection `{self.options.connection}`")
        if code == 7:
            return GiveUp(
                f"{text}: the token may not write to index `{self.options.index}`; correct `index` or the token"
            )
        if code in (10, 11):
            return GiveUp(f"{text}: the token demands acknowledgement; switch it off for this token")
        if code == 9:
            return Retry(f"{text}: the server is busy", retry_after(headers))
        return super().read(status, headers, answer, parcel)

    def accepted(self, status: int, headers: Mapping[str, str], answer: bytes) -> bool:
        """Never without its code 0."""
        return False


def _code(answer: bytes) -> tuple[int | None, int]:
    document = object_in(answer)
    code, number = document.get("code"), document.get("invalid-event-number", -1)
    return code if _is_number(code) else None, number if _is_number(number) else -1


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
