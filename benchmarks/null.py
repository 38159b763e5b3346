"""A receiver that drains and answers: nginx where it is installed, else a small asyncio server.

It answers a PUT as S3 (200) or, below `/azure`, as Azure Blob (201) does, and a POST with 200. Nothing is kept, so what is
measured is the sender; who reads an object is refused in a store's words, as by one that may only be written to.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from logstream.testing.servers import Process, free_port, wait_for

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log crit; user root;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 0; keepalive_requests 1000000000; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    add_header ETag '"d41d8cd98f00b204e9800998ecf8427e"' always;
    location /azure {{
      add_header ETag '"0x8D4BCC2E4835CD0"' always;
      add_header Last-Modified 'Mon, 05 Jan 2026 00:00:00 GMT' always;
      if ($request_method = GET) {{ return 403 '{denied}'; }}
      return 201;
    }}
    location = / {{ return 200; }}
    location / {{
      if ($request_method = GET) {{ return 403 '{denied}'; }}
      return 200;
    }}
  }}
}}
"""


DENIED = '<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>write only</Message></Error>'


class Drain(asyncio.Protocol):
    """Reads requests by Content-Length or chunks, and answers each."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A new connection."""
        self._transport = transport
        self._buffer = bytearray()
        self._left = 0
        self._chunked = False
        self._answer = b""

    def data_received(self, data: bytes) -> None:
        """Count the body down; answer at its end."""
        while data:
            if self._left:
                taken = min(self._left, len(data))
                self._left -= taken
                data = data[taken:]
                if self._left == 0:
                    self._transport.write(self._answer)  # type: ignore[attr-defined]
            elif self._chunked:
                self._buffer = self._buffer[-4:] + data
                data = b""
                if self._buffer.endswith(b"0\r\n\r\n"):
                    self._chunked = False
                    self._buffer.clear()
                    self._transport.write(self._answer)  # type: ignore[attr-defined]
            else:
                self._buffer += data
                head, end, data = bytes(self._buffer).partition(b"\r\n\r\n")
                if not end:
                    return
                self._buffer.clear()
                self._begin(head)

    def _begin(self, head: bytes) -> None:
        lowered = head.lower()
        azure = b" /azure" in head[:20]
        status = b"201 Created" if azure else b"200 OK"
        body = b""
        if head.startswith(b"GET /") and not head.startswith(b"GET / "):
            status, body = b"403 Forbidden", DENIED.encode()
        self._answer = (
            b"HTTP/1.1 " + status + b'\r\nETag: "x"\r\nLast-Modified: Mon, 05 Jan 2026 00:00:00 GMT\r\n'
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        if b"100-continue" in lowered:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")  # type: ignore[attr-defined]
        self._chunked = b"transfer-encoding: chunked" in lowered
        _, _, length = lowered.partition(b"content-length:")
        self._left = int(length.split(b"\r\n")[0]) if length else 0
        if not self._left and not self._chunked:
            self._transport.write(self._answer)  # type: ignore[attr-defined]


async def serve(port: int) -> None:
    """Serve for ever."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Drain, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


@contextmanager
def null_receiver() -> Iterator[tuple[str, str]]:
    """Start the receiver; give its URL and its name."""
    port = free_port()
    with TemporaryDirectory(prefix="logstream-null-") as name:
        folder = Path(name)
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if nginx:
            (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, denied=DENIED))
            command, title = [nginx, "-p", name, "-c", str(folder / "nginx.conf")], "nginx"
        else:
            command, title = [sys.executable, "-m", "benchmarks.null", str(port)], "an asyncio server"
        process = Process(command, folder / "log")
        try:
            wait_for(f"http://127.0.0.1:{port}/", alive=process.alive)
            yield f"http://127.0.0.1:{port}", title
        finally:
            process.stop()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
