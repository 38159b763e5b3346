"""An HTTP source of Sumo Logic."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

from logstream.testing.vendors.base import Vendor


class SumoLogic(Vendor):
    """An HTTP source of Sumo Logic: its URL is the secret.

    https://help.sumologic.com/docs/send-data/hosted-collectors/http-source/troubleshooting/ (a success says nothing)
    """

    own_headers: ClassVar = {
        "Content-Type": "text/plain",
        "Strict-Transport-Security": "max-age=31536000 ; includeSubDomains",
        "X-Content-Type-Options": "nosniff",
    }
    missing = (
        401,
        {
            "status": 401,
            "id": "5A0JJ-8HZ7R-2BW2C",
            "code": "unauthorized",
            "message": "Credential could not be verified.",
        },
    )

    @property
    def path(self) -> str:  # type: ignore[override]
        """The secret path."""
        return f"/receiver/v1/http/{self.token}"

    @property
    def connection(self) -> str:
        """An Airflow connection whose host is the whole URL."""
        return json.dumps({"conn_type": "http", "host": f"{self.url}{self.path}"})

    def refusal(self, status: int, words: str) -> object:
        """An error with a number to quote to the vendor."""
        return {"status": status, "id": "5A0JJ-8HZ7R-2BW2C", "code": "error", "message": words}

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """A request to the secret URL is."""
        return True

    def store(self, plain: bytes) -> object:
        """One event a line."""
        for event in [json.loads(line) for line in plain.decode().split("\n") if line]:
            self.take_event(event)
        return None
