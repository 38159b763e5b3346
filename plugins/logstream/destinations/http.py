"""`http`: any HTTP endpoint of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pydantic import Field

from logstream.destinations.base import Limits
from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.request import RequestDestination, RequestOptions


class Format(StrEnum):
    """What a request's body is."""

    SINGLE = "single"
    ARRAY = "array"
    LINES = "lines"


class HttpOptions(RequestOptions):
    """Options of `http`."""

    path: str = Field(
        default="",
        max_length=2000,
        pattern=r"^[!-~]*$",
        description="Put behind the connection's base URL.",
        examples=["/ingest/audit"],
    )
    format: Format = Field(
        default=Format.SINGLE,
        description="single: one event a request. array: a JSON array of events. lines: one event a line (NDJSON).",
    )
    max_events: int = Field(default=500, ge=1, le=100_000, strict=True, description="Events a request, unless single.")
    max_bytes: int = Field(
        default=1_000_000, ge=1_000, le=100_000_000, strict=True, description="Bytes a request before compression."
    )


class HttpDestination(RequestDestination[HttpOptions]):
    """Posts events, one by one or in batches."""

    type = "http"
    title = "HTTP endpoint"
    options_model = HttpOptions

    @property
    def limits(self) -> Limits:
        """As the options say."""
        single = self.options.format is Format.SINGLE
        return Limits(
            events=1 if single else self.options.max_events,
            bytes=None if single else self.options.max_bytes,
            concurrency=self.options.concurrency,
        )

    @property
    def content_type(self) -> str:  # type: ignore[override]
        """The media type of the body."""
        return "application/x-ndjson" if self.options.format is Format.LINES else "application/json"

    def url(self, credentials: HttpCredentials) -> str:
        """The connection's base URL with the path."""
        if not self.options.path:
            return credentials.base_url
        return f"{credentials.base_url.rstrip('/')}/{self.options.path.lstrip('/')}"

    def encode(self, entries: Sequence[bytes]) -> bytes:
        """One message, an array of them, or one a line."""
        if self.options.format is Format.SINGLE:
            return entries[0]
        if self.options.format is Format.ARRAY:
            return b"[" + b",".join(entries) + b"]"
        return b"\n".join(entries) + b"\n"
