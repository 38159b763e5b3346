"""New Relic's Log API."""

from __future__ import annotations

import json
import uuid
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

from logstream.testing.vendors.base import Refused, Vendor


class NewRelic(Vendor):
    """New Relic's Log API: it answers before it looks at what it got.

    https://docs.newrelic.com/docs/logs/log-api/introduction-log-api/
    """

    own_headers: ClassVar = {
        "Content-Type": "application/json; charset=UTF-8",
        "Access-Control-Allow-Methods": "GET, POST, PUT, HEAD, OPTIONS",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Origin": "*",
        "X-Served-By": "cache-0123",
    }
    unauthorized: tuple[int, object] = (403, {})

    path = "/log/v1"
    accepted = 202

    def refusal(self, status: int, words: str) -> object:
        """It says nothing."""
        return {}

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """`Api-Key`."""
        return request.headers.get("Api-Key") == self.token

    def store(self, plain: bytes) -> object:
        """Blocks with common attributes and logs."""
        for block in json.loads(plain):
            if block.keys() - {"common", "logs"}:
                raise Refused(400, {})
            for entry in block["logs"]:
                if not isinstance(entry["timestamp"], int) or len(str(entry["timestamp"])) != 13:
                    raise Refused(400, {})
                self.take_event(json.loads(entry["message"]))
        return {"requestId": f"{uuid.uuid4()}"}
