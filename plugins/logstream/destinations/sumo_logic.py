"""`sumo_logic`: an HTTP source of Sumo Logic, whose URL is the secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from logstream.destinations.access.requests import SUMO_LOGIC
from logstream.destinations.base import Limits
from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.request import RequestDestination, RequestOptions
from logstream.destinations.transport.answers import names_no_error, object_in
from logstream.destinations.vendor_rules import Accepts, header_value, sumo_fields

HEADER_TEXT = r"^[^\r\n]*$"
HeaderText = Annotated[str | None, Accepts(header_value)]


class SumoLogicOptions(RequestOptions):
    """Options of `sumo_logic`."""

    category: HeaderText = Field(
        default=None, max_length=1000, pattern=HEADER_TEXT, description="The source category.", examples=["prod/audit"]
    )
    name: HeaderText = Field(
        default=None, max_length=1000, pattern=HEADER_TEXT, description="The source name.", examples=["audit"]
    )
    host: HeaderText = Field(
        default=None, max_length=1000, pattern=HEADER_TEXT, description="The source host.", examples=["workato"]
    )
    fields: Annotated[dict[str, str], Accepts(sumo_fields)] = Field(
        default={}, description="Fields of every event.", examples=[{"env": "prod"}]
    )


class SumoLogicDestination(RequestDestination[SumoLogicOptions]):
    """Posts events, one a line."""

    type = "sumo_logic"
    title = "Sumo Logic"
    options_model = SumoLogicOptions
    access = SUMO_LOGIC
    content_type = "application/x-ndjson"

    @property
    def limits(self) -> Limits:
        """A megabyte a request."""
        return Limits(bytes=1_000_000, concurrency=self.options.concurrency)

    def url(self, credentials: HttpCredentials) -> str:
        """The source's whole URL."""
        return credentials.base_url

    def headers(self, credentials: HttpCredentials) -> dict[str, str]:
        """What Sumo Logic files the events under."""
        options = self.options
        fields = ",".join(f"{name}={value}" for name, value in options.fields.items())
        named = {"X-Sumo-Category": options.category, "X-Sumo-Name": options.name, "X-Sumo-Host": options.host,
                 "X-Sumo-Fields": fields}  # fmt: skip
        return {**super().headers(credentials), **{name: value for name, value in named.items() if value}}

    def accepted(self, status: int, headers: Mapping[str, str], answer: bytes) -> bool:
        """200, with nothing to say or an object that names no error."""
        named = names_no_error(answer, "errors", "error", "code")
        return status == 200 and named and object_in(answer).get("status", 200) == 200

    def encode(self, entries: Sequence[bytes]) -> bytes:
        """One a line."""
        return b"\n".join(entries) + b"\n"
