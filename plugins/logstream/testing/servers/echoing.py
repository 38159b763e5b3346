"""An object store that echoes what it was sent."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from logstream.testing.servers.sink import LogSink


class EchoingStore(LogSink):
    """An object store that refuses everything, with `status`, and echoes the request's head as `echo_text` writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 400
        self.echo_text: Callable[[str], str] = str

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        """The echo."""
        return self.status, self.echo_text(f"{request.requestline}\n{request.headers}").encode()
