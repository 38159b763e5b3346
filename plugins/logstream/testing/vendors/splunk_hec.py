"""Splunk's HTTP Event Collector."""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

from logstream.testing.vendors.base import Refused, Vendor


class SplunkHec(Vendor):
    """Splunk's HTTP Event Collector: JSON objects one after another; codes in the answer.

    https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector (statuses, codes and texts)
    """

    path = "/services/collector/event"
    unauthorized = (403, {"text": "Invalid token", "code": 4})
    own_headers: ClassVar = {
        "Content-Type": "application/json; charset=UTF-8",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Authorization",
        "X-Frame-Options": "SAMEORIGIN",
        "Server": "Splunkd",
    }

    def refusal(self, status: int, words: str) -> object:
        """A text and a code."""
        said = {413: ("Request entity too large", 27), 429: ("Server is busy", 9), 503: ("Server is busy", 9)}
        text, code = said.get(status, (words, 6 if status < 500 else 8))
        return {"text": text, "code": code}

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """`Authorization: Splunk TOKEN`."""
        given = request.headers.get("Authorization")
        if given is None:
            raise Refused(401, {"text": "Token is required", "code": 2})
        if not given.startswith("Splunk "):
            raise Refused(401, {"text": "Invalid authorization", "code": 3})
        return request.headers.get("Authorization") == f"Splunk {self.token}"

    def store(self, plain: bytes) -> object:
        """Events before an invalid one are indexed."""
        text, decoder, place, number = plain.decode(), json.JSONDecoder(), 0, 0
        if not text.strip():
            raise Refused(400, {"text": "No data", "code": 5})
        while place < len(text):
            document, place = decoder.raw_decode(text, place)
            while place < len(text) and text[place] in " \r\n\t":
                place += 1
            index = document.get("index", "main")
            if not re.fullmatch(r"[a-z0-9_][a-z0-9_-]*", index):
                raise Refused(400, {"text": "Incorrect index", "code": 7, "invalid-event-number": number})
            if "event" not in document:
                raise Refused(400, {"text": "Event field is required", "code": 12, "invalid-event-number": number})
            if document["event"] in ("", None):
                raise Refused(400, {"text": "Event field cannot be blank", "code": 13, "invalid-event-number": number})
            unknown = document.keys() - {"time", "host", "source", "sourcetype", "index", "fields", "event"}
            if unknown or not isinstance(document["time"], int | float) or self.bad(document["event"]):
                raise Refused(400, {"text": "Invalid data format", "code": 6, "invalid-event-number": number})
            self.take_event(document["event"])
            number += 1
        return {"text": "Success", "code": 0}
