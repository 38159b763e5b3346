"""`http`: any HTTP endpoint of the user's own."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from logstream import clock
from logstream.destinations.base import Limits
from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.parcel import Parcel
from logstream.destinations.request import RequestDestination, RequestOptions
from logstream.destinations.transport.urls import joined
from logstream.destinations.vendor_rules import Accepts, path_without_fragment
from logstream.errors import InputError


class Format(StrEnum):
    """What a request's body is."""

    SINGLE = "single"
    ARRAY = "array"
    LINES = "lines"


class HttpOptions(RequestOptions):
    """Options of `http`."""

    path: Annotated[str, Accepts(path_without_fragment)] = Field(
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
    sign: bool = Field(
        default=False,
        strict=True,
        description="Sign each request as the Standard Webhooks specification says; the secret is `webhook_secret` in the "
        "connection's extra.",
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
    takes_html = True
    kept_in = ("path",)
    _key: bytes | None = None

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
        return joined(credentials.base_url, self.options.path) if self.options.path else credentials.base_url

    async def open(self) -> None:
        """Get the connection, its address and, for signatures, its secret."""
        await super().open()
        self._key = _signing_key(self._credentials, self.options.connection) if self.options.sign else None

    def request_headers(self, parcel: Parcel) -> dict[str, str]:
        """The idempotency key and, signed, the three headers of Standard Webhooks: a repetition has the same id.

        https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
        """
        headers = super().request_headers(parcel)
        if self._key is None:
            return headers
        moment = str(clock.time_ns() // 1_000_000_000)
        signed = hmac.digest(self._key, f"{parcel.name}.{moment}.".encode() + parcel.body, "sha256")
        signature = f"v1,{base64.b64encode(signed).decode()}"
        return {**headers, "webhook-id": parcel.name, "webhook-timestamp": moment, "webhook-signature": signature}

    def encode(self, entries: Sequence[bytes]) -> bytes:
        """One message, an array of them, or one a line."""
        if self.options.format is Format.SINGLE:
            return entries[0]
        if self.options.format is Format.ARRAY:
            return b"[" + b",".join(entries) + b"]"
        return b"\n".join(entries) + b"\n"


def _signing_key(credentials: HttpCredentials, connection: str) -> bytes:
    secret = (credentials.signing_secret or "").removeprefix("whsec_")
    try:
        key = base64.b64decode(secret, validate=True)
    except binascii.Error:
        key = b""
    if len(key) < 24:  # as the specification wants
        raise InputError(
            f"connection `{connection}`: `webhook_secret` in its extra must be whsec_ and at least 24 bytes in base64"
        )
    return key
