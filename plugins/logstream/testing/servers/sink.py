"""A strict HTTP log service, the base of the vendors' fakes."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from logstream.testing.servers.process import free_port

CLOSED, HALF = 0, -1
"""What `LogSink.fail` may answer beside statuses."""


class Manner(StrEnum):
    """How a `LogSink` sends its answers."""

    PLAIN = "plain"
    PACKED = "packed"
    """With gzip, where the sender takes that."""
    CHUNKED = "chunked"
    """In pieces, without saying how long it is."""
    SLOW = "slow"
    """In pieces, with pauses."""
    CUT = "cut"
    """It ends, and the connection with it, before all has come that it announced."""


class LogSink:
    """A strict HTTP log service: it demands its token and valid JSON, and counts what comes twice.

    `fail` may be set to a function from the number of the request (from 1) to a status to answer instead, or `None`; `CLOSED`
    closes the connection without an answer, `HALF` in the middle of one. `answer_headers` go with such answers. `manner` is a
    function from the number of the request to how its answer is sent.
    """

    own_headers: ClassVar[Mapping[str, str]] = {"Content-Type": "application/json"}
    """Headers of every answer, as the service has them."""

    def __init__(
        self, port: int | None = None, token: str = "sink-token-0123456789", store: Path | None = None
    ) -> None:
        self.token = token
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.fail: Callable[[int], int | None] = lambda _: None
        self.answer_headers: dict[str, str] = {}
        self.manner: Callable[[int], Manner] = lambda _: Manner.PLAIN
        self.echo: Callable[[str, bytes], bytes] | None = None
        """Makes the body of an answer that `fail` asked for of the request's head and body."""
        self.heads: list[dict[str, str]] = []
        """The headers of all requests, those that were refused included."""
        self.requests = 0
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.keys: Counter[str] = Counter()
        self._by_key: dict[str, bytes] = {}
        self.changed_repetitions = 0
        self._store = store
        self._lock = threading.Lock()

    def __enter__(self) -> LogSink:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                sink.take(self)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST  # noqa: N815 - the library wants these names

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                """Say nothing of senders that hang up."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def connection(self) -> str:
        """An Airflow connection to it."""
        extra = json.dumps({"headers": {"Authorization": f"Bearer {self.token}"}})
        return f"http://127.0.0.1:{self.port}/?__extra__={quote(extra)}"

    def take(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        with self._lock:
            self.requests += 1
            self.heads.append(dict(request.headers.items()))
            status, answer = self.answer(request, body)
            manner = self.manner(self.requests)
        if status in (CLOSED, HALF):
            if status == HALF:
                request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of")
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        self._send(request, status, answer, manner)

    def _send(self, request: BaseHTTPRequestHandler, status: int, answer: bytes, manner: Manner) -> None:
        headers = {**self.own_headers, **self.headers_of(status, answer), **self.answer_headers}
        if manner is Manner.PACKED and "gzip" in request.headers.get("Accept-Encoding", "") and answer:
            headers["Content-Encoding"], answer = "gzip", gzip.compress(answer)
        if status == 204:
            answer = b""  # it has no body, and says of none how long it is
        elif manner is Manner.CHUNKED:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(len(answer) + (10 if manner is Manner.CUT else 0))
        if manner is Manner.CUT and status == 204:
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "HEAD":
            return
        size = max(1, len(answer) // 5) if manner in (Manner.CHUNKED, Manner.SLOW) else max(1, len(answer))
        for start in range(0, len(answer), size):
            piece = answer[start : start + size]
            if manner is Manner.SLOW:
                time.sleep(0.005)
            request.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if "Transfer-Encoding" in headers else piece)
            request.wfile.flush()
        if "Transfer-Encoding" in headers:
            request.wfile.write(b"0\r\n\r\n")
        if manner is Manner.CUT:
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        """Status and body: those that `fail` asks for, else what the service says."""
        failure = self.fail(self.requests)
        if failure is None:
            return self.receive(request, body)
        if self.echo is not None:
            return failure, self.echo(f"{request.requestline}\n{request.headers}", body)
        return failure, self.failure_answer(failure)

    def headers_of(self, status: int, answer: bytes) -> Mapping[str, str]:
        """Headers that an answer has beside `own_headers`."""
        return {}

    def failure_answer(self, status: int) -> bytes:
        """The body of an answer that `fail` asked for."""
        return json.dumps({"status": status}).encode()

    def receive(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        """Judge one request, keep what it brings, and answer: status and body."""
        status = self._judge(request, body)
        return status, json.dumps({"status": status}).encode()

    def _judge(self, request: BaseHTTPRequestHandler, body: bytes) -> int:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return 401
        plain = decoded(body, request.headers.get("Content-Encoding"))
        try:
            _events(plain, request.headers.get("Content-Type", ""))
        except ValueError:
            return 400
        self.keep(request, body, plain)
        return 200

    def keep(self, request: BaseHTTPRequestHandler, body: bytes, plain: bytes) -> None:
        """Keep a request that is accepted, and count repetitions of its key."""
        key = request.headers.get("Idempotency-Key", "")
        self.keys[key] += 1
        if key in self._by_key and self._by_key[key] != body:
            self.changed_repetitions += 1
        self._by_key[key] = body
        self.bodies.append(plain)
        self.paths.append(request.path)
        self.headers.append(dict(request.headers.items()))
        if self._store is not None:
            with self._store.open("ab") as file:
                file.write(plain.rstrip(b"\n") + b"\n")

    def events(self) -> list[Any]:
        """All events taken, those that came twice included."""
        found: list[Any] = []
        for body, headers in zip(self.bodies, self.headers, strict=True):
            found += _events(body, headers.get("Content-Type", ""))
        return found


def decoded(body: bytes, encoding: str | None) -> bytes:
    """A request's body without its compression."""
    if encoding == "gzip":
        import gzip

        return gzip.decompress(body)
    if encoding == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return body


def _events(body: bytes, content_type: str) -> list[Any]:
    if content_type.startswith("application/x-ndjson"):
        return [json.loads(line) for line in body.splitlines()]
    document = json.loads(body)
    return document if isinstance(document, list) else [document]
