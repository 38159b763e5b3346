"""`azure_monitor`: Azure Monitor's Logs Ingestion API (Log Analytics, Sentinel)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from logstream.datasets import DataSet, of_requests
from logstream.destinations.access.microsoft import AZURE_MONITOR
from logstream.destinations.base import Limits, Step
from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.outcome import GiveUp, Outcome
from logstream.destinations.parcel import Parcel
from logstream.destinations.request import RequestDestination, RequestOptions
from logstream.destinations.transport.urls import joined
from logstream.destinations.vendor_rules import Accepts, immutable_rule_id, ingestion_endpoint, ingestion_stream
from logstream.errors import InputError
from logstream.events import EPOCH, Event
from logstream.jsontext import with_member
from logstream.shapes import is_time, time_of

_CLOUD = re.compile(r"\.monitor\.azure\.(com|us|cn)$")
API_VERSION = "2023-01-01"


class AzureMonitorOptions(RequestOptions):
    """Options of `azure_monitor`."""

    endpoint: Annotated[str, Accepts(ingestion_endpoint)] = Field(
        pattern=r"^https?://[^\s/]+/?$",
        description="The data collection endpoint, or the rule's own logs ingestion endpoint.",
        examples=["https://audit-1234.westeurope-1.ingest.monitor.azure.com"],
    )
    rule_id: Annotated[str, Accepts(immutable_rule_id)] = Field(
        pattern=r"^[A-Za-z0-9-]+$",
        description="The immutable id of the data collection rule.",
        examples=["dcr-00000000000000000000000000000000"],
    )
    stream: Annotated[str, Accepts(ingestion_stream)] = Field(
        pattern=r"^[A-Za-z0-9_-]+$", description="The stream that the rule declares.", examples=["Custom-Audit_CL"]
    )


class AzureMonitorDestination(RequestDestination[AzureMonitorOptions]):
    """Posts arrays of records, each with `TimeGenerated`."""

    type = "azure_monitor"
    title = "Azure Monitor"
    connection_type = "azure"
    options_model = AzureMonitorOptions
    kept_in = ("rule_id", "stream")
    access = AZURE_MONITOR
    _token: Callable[[str], str]

    def data_set(self) -> DataSet:
        """The rule's stream at the endpoint, both of the options."""
        return of_requests(self.options.endpoint, self.kept_name)

    @property
    def limits(self) -> Limits:
        """A megabyte a call."""
        return Limits(bytes=1_000_000, concurrency=self.options.concurrency)

    def credentials(self) -> HttpCredentials:
        """The address is in the options; the connection gives tokens."""
        self._token = self.connections.azure_token(self.options.connection)
        return HttpCredentials(self.options.endpoint)

    def url(self, credentials: HttpCredentials) -> str:
        """The rule's stream."""
        path = f"/dataCollectionRules/{self.options.rule_id}/streams/{self.options.stream}"
        return joined(credentials.base_url, path, f"api-version={API_VERSION}")

    @property
    def scope(self) -> str:
        """Whom tokens are for: Azure Monitor of the cloud that the endpoint is in (public, US government, China)."""
        found = _CLOUD.search(urlsplit(self.options.endpoint).hostname or "")
        return f"https://monitor.azure.{found.group(1) if found else 'com'}/.default"

    async def send(self, parcel: Parcel) -> Outcome:
        """Get a token (azure-identity keeps it until it expires), then post."""
        try:
            self._bearer = await asyncio.to_thread(self._token, self.scope)
        except InputError as error:
            return GiveUp(str(error))
        self.secrets.add(self._bearer)
        return await super().send(parcel)

    def request_headers(self, parcel: Parcel) -> dict[str, str]:
        """With the token."""
        return {**super().request_headers(parcel), "Authorization": f"Bearer {self._bearer}"}

    def entry(self, event: Event, message: bytes) -> bytes:
        """The message with `TimeGenerated`, unless its template has given it a good one; other JSON becomes `RawData`."""
        moment = (EPOCH + timedelta(microseconds=time_of(event))).isoformat()
        return with_member(
            message,
            "TimeGenerated",
            moment,
            "RawData",
            is_time,
        )

    def encode(self, entries: Sequence[bytes]) -> bytes:
        """A JSON array."""
        return b"[" + b",".join(entries) + b"]"

    def read(self, status: int, headers: Mapping[str, str], answer: bytes, parcel: Parcel) -> Outcome:
        """A refusal may be a grant that is not yet in force."""
        if status == 403:
            return GiveUp(
                f"Azure answered 403: give connection `{self.options.connection}` the role Monitoring Metrics Publisher on "
                "the data collection rule; a new grant takes up to 30 minutes"
            )
        if status == 404:
            return GiveUp("Azure answered 404: correct `endpoint`, `rule_id` or `stream`")
        return super().read(status, headers, answer, parcel)

    def accepted(self, status: int, headers: Mapping[str, str], answer: bytes) -> bool:
        """204."""
        return status == 204

    async def check(self) -> AsyncIterator[Step]:
        """The connection gives a token; a test event is taken."""
        try:
            await asyncio.to_thread(self._token, self.scope)
        except InputError as error:
            remedy = f"Correct client id, secret and tenant of connection `{self.options.connection}`"
            yield Step("the connection gives a token", False, str(error), remedy)
            return
        yield Step("the connection gives a token", True)
        async for step in super().check():
            yield step
