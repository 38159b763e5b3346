"""Datadog's intake."""

from __future__ import annotations

import json
from http.client import responses
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

from logstream.testing.vendors.base import Refused, Vendor


class Datadog(Vendor):
    """Datadog's intake: an array of at most 1,000 entries of at most 1 MB.

    `SubmitLog`, `HTTPLogItem` and `HTTPLogErrors` of Datadog's API description (OpenAPI, `/api/v2/logs`).
    """

    path = "/api/v2/logs"
    accepted = 202
    max_bytes = 5_000_000
    own_headers: ClassVar = {
        "Content-Type": "application/json",
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
        "X-Content-Type-Options": "nosniff",
        "Accept-Encoding": "identity,gzip,x-gzip,deflate,x-deflate,zstd",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    unauthorized = (
        403,
        {"errors": [{"status": "403", "title": "Forbidden", "detail": "Api key is missing or not valid"}]},
    )

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """`DD-API-KEY`."""
        return request.headers.get("DD-API-KEY") == self.token

    def store(self, plain: bytes) -> object:
        """Every entry needs a message that is text."""
        entries = json.loads(plain)
        if not isinstance(entries, list) or len(entries) > 1_000:
            raise self._refused("expected an array of at most 1,000 entries")
        for entry in entries:
            if not isinstance(entry["message"], str) or len(json.dumps(entry)) > 1_100_000:
                raise self._refused("an entry needs a message that is text, and has at most 1 MB")
            for name in ("ddsource", "ddtags", "hostname", "service"):
                if not isinstance(entry.get(name, ""), str):
                    raise self._refused(f"{name} must be text")
        for entry in entries:
            self.take_event(json.loads(entry["message"]))
        return {}

    def refusal(self, status: int, words: str) -> object:
        """A list of errors, of which each has its status as a text."""
        return {"errors": [{"status": str(status), "title": responses.get(status, "Error"), "detail": words}]}

    def _refused(self, detail: str) -> Refused:
        return Refused(400, self.refusal(400, detail))
