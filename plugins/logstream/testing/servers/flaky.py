"""A proxy that makes trouble."""

from __future__ import annotations

import http.client
import random
import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from logstream.testing.servers.process import free_port


class FlakyProxy:
    """Stands before a server and makes trouble for one request in `1 / chance`: 429, 503, or a connection that breaks, before the
    request was forwarded or after it was."""

    def __init__(self, upstream: str, chance: float = 0.2, seed: int = 7) -> None:
        self._upstream = urlsplit(upstream)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{self._upstream.path}"
        self._chance, self._dice, self._lock = chance, random.Random(seed), threading.Lock()
        self.trouble: Counter[str] = Counter()

    def __enter__(self) -> FlakyProxy:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                proxy.pass_on(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one  # noqa: N815 - the library wants these names

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def pass_on(self, request: BaseHTTPRequestHandler) -> None:
        """One request."""
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        with self._lock:
            trouble = self._dice.choice(("429", "503", "broken", "unanswered"))
            if self._dice.random() >= self._chance:
                trouble = "none"
            self.trouble[trouble] += 1
        if trouble in ("429", "503"):
            self._answer(request, int(trouble), [], b"")
            return
        if trouble == "broken":
            self._hang_up(request)
            return
        connection = http.client.HTTPConnection(self._upstream.hostname or "", self._upstream.port, timeout=60)
        try:
            connection.request(request.command, request.path, body, dict(request.headers.items()))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if trouble == "unanswered":
            self._hang_up(request)
            return
        self._answer(request, answer.status, answer.getheaders(), content)

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        request.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                request.send_header(name, value)
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(content)))
        request.send_header("Content-Length", length if request.command == "HEAD" else str(len(content)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    @staticmethod
    def _hang_up(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        request.connection.shutdown(socket.SHUT_RDWR)
