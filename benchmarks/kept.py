"""An object store in memory that speaks enough of S3: put, get, head, list and delete. It answers as fast as Python can.

The receiver of `null.py` keeps nothing, so nothing can be read back from it: manifests are, and `verify` reads everything.
"""

from __future__ import annotations

import asyncio
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from logstream.testing.servers import Process, free_port, wait_for

_PAGE = 1_000
_ABSENT = b"<Error><Code>NoSuchKey</Code></Error>"

objects: dict[str, bytes] = {}
_sorted: list[str] = []
"""The paths of all objects in order, made when a listing is asked for; emptied by every change."""


class Store(asyncio.Protocol):
    """Serves one connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A new connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is there whole."""
        buffer = self._buffer
        buffer += data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(buffer[:end])
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            whole = end + 4 + length
            if len(buffer) < whole:
                return
            body = bytes(buffer[end + 4 : whole])
            del buffer[:whole]
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            path, _, query = target.partition("?")
            self._answer(method, unquote(path), query, body, new=b"if-none-match" in head.lower())

    def _answer(self, method: str, path: str, query: str, body: bytes, *, new: bool) -> None:
        if method == "PUT":
            if new and path in objects:
                self._say("412 Precondition Failed")
                return
            objects[path] = body
            _sorted.clear()
            self._say("200 OK")
        elif method == "DELETE":
            objects.pop(path, None)
            _sorted.clear()
            self._say("204 No Content")
        elif "list-type" in query:
            self._say("200 OK", _listing(path.strip("/"), query))
        elif path in objects:
            self._say("200 OK", objects[path], head=method == "HEAD")
        elif path == "/":
            self._say("200 OK")
        else:
            self._say("404 Not Found", _ABSENT, head=method == "HEAD")

    def _say(self, status: str, body: bytes = b"", *, head: bool = False) -> None:
        answer = (
            f'HTTP/1.1 {status}\r\nETag: "d41d8cd98f00b204e9800998ecf8427e"\r\n'
            f"Last-Modified: Mon, 05 Jan 2026 00:00:00 GMT\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(answer.encode() + (b"" if head else body))


def _listing(bucket: str, query: str) -> bytes:
    """A page of `ListObjectsV2`."""
    given = {name: values[0] for name, values in parse_qs(query).items()}
    prefix, after = given.get("prefix", ""), given.get("continuation-token", given.get("start-after", ""))
    root = f"/{bucket}/"
    if not _sorted:
        _sorted.extend(sorted(objects))
    first = bisect_right(_sorted, root + after) if after > prefix else bisect_left(_sorted, root + prefix)
    below = takewhile(lambda path: path.startswith(root + prefix), islice(_sorted, first, None))
    left = [path.removeprefix(root) for path in islice(below, _PAGE + 1)]
    page = left[:_PAGE]
    rows = "".join(
        f"<Contents><Key>{escape(name)}</Key><LastModified>2026-01-05T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;x&quot;</ETag><Size>{len(objects[root + name])}</Size></Contents>"
        for name in page
    )
    more = len(left) > len(page)
    token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
    text = (
        f"<ListBucketResult><Name>{bucket}</Name><KeyCount>{len(page)}</KeyCount>"
        f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{token}{rows}</ListBucketResult>"
    )
    return text.encode()


async def serve(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Store, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


@contextmanager
def object_store() -> Iterator[str]:
    """Start an empty store; give its URL."""
    port = free_port()
    with TemporaryDirectory(prefix="logstream-kept-") as name:
        process = Process([sys.executable, "-m", "benchmarks.kept", str(port)], Path(name) / "log")
        try:
            wait_for(f"http://127.0.0.1:{port}/", alive=process.alive)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stop()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
