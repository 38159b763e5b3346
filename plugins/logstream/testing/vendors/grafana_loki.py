"""Loki's push API."""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import ClassVar
from urllib.parse import quote

from logstream.testing.vendors.base import Refused, Vendor


class GrafanaLoki(Vendor):
    """Loki's push API; basic authentication as Grafana Cloud's.

    https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs and its `limits_config`: answers are plain text.
    """

    path = "/loki/api/v1/push"
    accepted = 204
    own_headers: ClassVar = {
        "Content-Type": "text/plain; charset=utf-8",
        "X-Content-Type-Options": "nosniff",
        "Via": "1.1 google",
    }
    unauthorized: tuple[int, object] = (401, {"status": "error", "error": "authentication error: invalid token"})

    @property
    def connection(self) -> str:
        """An Airflow connection with login and password."""
        return f"http://12345:{quote(self.token)}@127.0.0.1:{self.port}"

    def refusal(self, status: int, words: str) -> object:
        """Plain text."""
        return f"{words}\n"

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """Basic."""
        import base64

        wanted = base64.b64encode(f"12345:{self.token}".encode()).decode()
        return request.headers.get("Authorization") == f"Basic {wanted}"

    def store(self, plain: bytes) -> object:
        """Streams have labels; values are pairs of texts. A bad line refuses the request."""
        events = []
        for stream in json.loads(plain)["streams"]:
            if not stream["stream"] or not all(isinstance(value, str) for value in stream["stream"].values()):
                raise Refused(400, "error at least one label pair is required per stream\n")
            for name, value in stream["stream"].items():
                if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) or len(name) > 1_024 or len(value) > 2_048:
                    raise Refused(400, f'error parsing labels: invalid label "{name}"\n')
            if len(stream["stream"]) > 15:
                raise Refused(400, "stream has too many label names; limit 15\n")
            moments = [int(moment) for moment, _ in stream["values"]]
            if moments != sorted(moments):
                raise Refused(400, "entry out of order")
            for moment, line in stream["values"]:
                if not (isinstance(moment, str) and moment.isdigit() and len(moment) == 19) or len(line) > 256_000:
                    raise Refused(400, "bad value")
                events.append(json.loads(line))
        if any(map(self.bad, events)):
            raise Refused(400, "entry with timestamp too far behind")
        for event in events:
            self.take_event(event)
        return None
