"""`grafana_loki`: Grafana Loki's push API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import orjson
from pydantic import Field

from logstream.destinations.access.requests import GRAFANA_LOKI
from logstream.destinations.base import Limits
from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.request import RequestDestination, RequestOptions
from logstream.destinations.transport.urls import at_endpoint
from logstream.destinations.vendor_rules import Accepts, loki_labels, loki_tenant
from logstream.events import Event
from logstream.jsontext import as_string
from logstream.shapes import unix_us

_SEPARATOR = b"\0"

LABEL = r"^(?:[a-zA-Z]|_[a-zA-Z0-9])[a-zA-Z0-9_]*$"
LabelName = Annotated[str, Field(max_length=1024, pattern=LABEL)]
"""As Loki takes them; those that begin with two underscores are its own."""


class GrafanaLokiOptions(RequestOptions):
    """Options of `grafana_loki`."""

    labels: Annotated[dict[LabelName, Annotated[str, Field(min_length=1)]], Accepts(loki_labels)] = Field(
        default={"job": "logstream"}, min_length=1, max_length=12, description="Labels of every stream; few are best."
    )
    kind_label: str | None = Field(
        default="kind", pattern=LABEL, description="A label for the kind of event; null for none."
    )
    workspace_label: str | None = Field(
        default=None,
        pattern=LABEL,
        description="A label for the workspace's id: many workspaces make many streams.",
        examples=["workspace"],
    )
    tenant: Annotated[str | None, Accepts(loki_tenant)] = Field(
        default=None, pattern=r"^[!-~]+$", description="The tenant (`X-Scope-OrgID`).", examples=["audit"]
    )


class GrafanaLokiDestination(RequestDestination[GrafanaLokiOptions]):
    """Pushes streams of lines."""

    type = "grafana_loki"
    title = "Grafana Loki"
    options_model = GrafanaLokiOptions
    kept_in = ("tenant",)
    access = GRAFANA_LOKI
    envelope = len(b'{"streams":[]}')

    @property
    def limits(self) -> Limits:
        """A megabyte a request, 256 kB a line (Loki's default `max_line_size`)."""
        return Limits(bytes=1_000_000, message_bytes=256_000, concurrency=self.options.concurrency)

    def url(self, credentials: HttpCredentials) -> str:
        """The push endpoint."""
        return at_endpoint(credentials.base_url, "/loki/api/v1/push")

    def headers(self, credentials: HttpCredentials) -> dict[str, str]:
        """The tenant, where there is one."""
        tenant = {"X-Scope-OrgID": self.options.tenant} if self.options.tenant else {}
        return {**super().headers(credentials), **tenant}

    def entry(self, event: Event, message: bytes) -> bytes:
        """The beginning of a stream with its labels, and a value: time and line.

        The beginning counts for every event, whether or not it shares its stream with others: a request of nothing but streams
        of their own is within the limit, too.
        """
        labels = dict(self.options.labels)
        if self.options.kind_label:
            labels[self.options.kind_label] = event[2]
        if self.options.workspace_label:
            labels[self.options.workspace_label] = str(event[1])
        value = b'["%d",%b]' % (unix_us(event) * 1_000, as_string(message))
        stream = orjson.dumps(labels, option=orjson.OPT_SORT_KEYS)
        return b'{"stream":' + stream + b',"values":[' + _SEPARATOR + value

    def accepted(self, status: int, headers: Mapping[str, str], answer: bytes) -> bool:
        """204; what stands before it may make that 200, with nothing to say."""
        return status == 204 or (status == 200 and not answer.strip())

    def encode(self, entries: Sequence[bytes]) -> bytes:
        """Values of the same labels make one stream, in the order of their times."""
        streams: dict[bytes, list[bytes]] = {}
        for entry in entries:
            beginning, _, value = entry.partition(_SEPARATOR)
            streams.setdefault(beginning, []).append(value)
        parts = []
        for beginning, values in streams.items():
            values.sort(key=_time)
            parts.append(beginning + b",".join(values) + b"]}")
        return b'{"streams":[' + b",".join(parts) + b"]}"


def _time(value: bytes) -> int:
    return int(value[2:].partition(b'"')[0])
