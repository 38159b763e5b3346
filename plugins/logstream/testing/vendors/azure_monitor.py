"""Azure Monitor's Logs Ingestion API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

from logstream.testing.vendors.base import Refused, Vendor

_NO_ACCESS = "The authentication token provided does not have access to ingest data for the data collection rule."


class AzureMonitor(Vendor):
    """Azure Monitor's Logs Ingestion API.

    https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview (codes, limits, what a record needs)
    """

    own_headers: ClassVar = {
        "Content-Type": "application/json; charset=utf-8",
        "api-supported-versions": "2021-11-01-preview, 2023-01-01, 2023-04-24",
        "x-ms-client-request-id": "00000000-0000-0000-0000-000000000000",
        "Strict-Transport-Security": "max-age=15724800; includeSubDomains",
    }
    unauthorized = (403, {"error": {"code": "OperationFailed", "message": _NO_ACCESS}})

    rule, stream = "dcr-0123456789abcdef0123456789abcdef", "Custom-Audit_CL"
    path = f"/dataCollectionRules/{rule}/streams/{stream}?api-version=2023-01-01"
    accepted = 204

    def refusal(self, status: int, words: str) -> object:
        """An error of Azure's, by the one shape that all of them have."""
        code = {400: "InvalidRequest", 404: "NotFound", 413: "ContentLengthLimitExceeded", 429: "TooManyRequests"}
        return {"error": {"code": code.get(status, "OperationFailed"), "message": words}}

    def headers_of(self, status: int, answer: bytes) -> Mapping[str, str]:
        """The error's code is in a header, too."""
        try:
            return {"x-ms-error-code": json.loads(answer)["error"]["code"]} if status >= 400 else {}
        except (ValueError, KeyError, TypeError):
            return {}

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """A bearer token."""
        if request.headers.get("Content-Encoding") not in (None, "gzip"):
            raise Refused(415, {"error": {"code": "UnsupportedMediaType", "message": "gzip is the one encoding"}})
        return request.headers.get("Authorization") == f"Bearer {self.token}"

    def store(self, plain: bytes) -> object:
        """Every record needs `TimeGenerated`."""
        records = json.loads(plain)
        if not isinstance(records, list) or not all(isinstance(record.get("TimeGenerated"), str) for record in records):
            message = "A record lacks TimeGenerated, or it is no time."
            raise Refused(400, {"error": {"code": "InvalidRecord", "message": message}})
        for record in records:
            del record["TimeGenerated"]
            self.take_event(record)
        return None
