"""All receivers, in one loopback server: buckets that speak S3, and log services that take requests.

They are strict where the real ones are (an object is there whole or not at all; a service takes a request whole, in part or
not at all) and hostile as the script says: down, slow, cut off before or after they have taken what was sent, answering
garbage, refusing, asking to wait.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import threading
from collections import deque
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape

from aiohttp import web

FAULTS = ("down", "slow", "cut_before", "cut_after", "garbage", "busy", "denied")
POISON = "POISON"


class Receiver:
    """What one destination has taken, and how it behaves. Of the server's thread, but for reading in calm."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.objects: dict[str, bytes] = {}
        self.taken: list[tuple[str, list[bytes]]] = []
        """Requests in the order in which they were taken: key, and the messages that were."""
        self.weather: deque[str] = deque()
        """What befalls the next requests."""
        self.always: str | None = None
        """What befalls every request."""
        self.requests = 0
        self.changed_repetitions = 0
        self._bodies: dict[str, bytes] = {}

    def fault(self) -> str | None:
        """What befalls this request."""
        self.requests += 1
        if self.weather:
            return self.weather.popleft()
        return self.always

    def note_body(self, key: str, body: bytes) -> None:
        """One key stands for one body, however often it comes."""
        self.changed_repetitions += self._bodies.setdefault(key, body) != body


class Receivers:
    """The server."""

    def __init__(self) -> None:
        self._by_name: dict[str, Receiver] = {}
        self._loop = asyncio.SelectorEventLoop()
        self._ready = threading.Event()
        self.url = ""
        threading.Thread(target=self._run, name="receivers", daemon=True).start()
        self._ready.wait()

    def new(self, name: str) -> Receiver:
        """A receiver, empty and in good weather."""
        self._by_name[name] = Receiver(name)
        return self._by_name[name]

    def forget(self, name: str) -> None:
        """It is gone."""
        self._by_name.pop(name, None)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self) -> None:
        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_route("*", "/s3/{name}{key:(/.*)?}", self._bucket)
        application.router.add_post("/hook/{name}", self._hook)
        application.router.add_post("/splunk/{name}/services/collector/event", self._splunk)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=False)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _befall(self, receiver: Receiver, fault: str | None, request: web.Request) -> web.Response | None:
        """What a fault answers before anything is taken; `None` if the request goes through."""
        if fault == "down":
            return web.Response(status=503, text="down")
        if fault == "busy":
            return web.Response(status=429, headers={"Retry-After": "0"})
        if fault == "denied":
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        if fault == "slow":
            await asyncio.sleep(0.02)
        if fault == "cut_before":
            _cut(request)
            return web.Response()
        return None

    async def _hook(self, request: web.Request) -> web.StreamResponse:
        receiver = self._by_name.get(request.match_info["name"])
        if receiver is None:
            return web.Response(status=404)
        body = await request.read()
        fault = receiver.fault()
        if (answer := await self._befall(receiver, fault, request)) is not None:
            return answer
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        key = request.headers["Idempotency-Key"]
        receiver.note_body(key, body)
        if POISON in body.decode():
            return web.Response(status=422, text="an event is not valid")
        receiver.taken.append((key, body.splitlines()))
        if fault == "cut_after":
            _cut(request)
        return web.Response(text="ok")

    async def _splunk(self, request: web.Request) -> web.StreamResponse:
        """As Splunk's HTTP event collector: events before the first bad one are taken, and its number is told."""
        receiver = self._by_name.get(request.match_info["name"])
        if receiver is None:
            return web.Response(status=404)
        body = await request.read()
        fault = receiver.fault()
        if (answer := await self._befall(receiver, fault, request)) is not None:
            return answer
        if fault == "garbage":
            return web.Response(text="<html>Welcome</html>")
        key = request.headers["Idempotency-Key"]
        receiver.note_body(key, body)
        lines = body.splitlines()
        bad = next((index for index, line in enumerate(lines) if POISON in line.decode()), None)
        taken = lines if bad is None else lines[:bad]
        if taken:
            receiver.taken.append((key, taken))
        if fault == "cut_after":
            _cut(request)
        if bad is not None:
            document = {"text": "Invalid data format", "code": 6, "invalid-event-number": bad}
            return web.json_response(document, status=400)
        return web.json_response({"text": "Success", "code": 0})

    async def _bucket(self, request: web.Request) -> web.StreamResponse:
        receiver = self._by_name.get(request.match_info["name"])
        if receiver is None:
            return _xml("<Error><Code>NoSuchBucket</Code></Error>", 404)
        key = request.match_info["key"].removeprefix("/")
        body = await request.read()
        if request.method == "GET" and not key:
            return _listing(receiver, request.query.get("prefix", ""))
        if request.method in ("GET", "HEAD"):
            if key not in receiver.objects:
                return _xml("<Error><Code>NoSuchKey</Code></Error>", 404)
            return web.Response(body=receiver.objects[key], headers=_stamps(receiver.objects[key]))
        if request.method == "DELETE":
            receiver.objects.pop(key, None)
            return web.Response(status=204)
        fault = receiver.fault()
        if (answer := await self._befall(receiver, fault, request)) is not None:
            return answer
        if request.headers.get("If-None-Match") == "*" and key in receiver.objects:
            return _xml("<Error><Code>PreconditionFailed</Code></Error>", 412)
        receiver.objects[key] = body
        if fault == "cut_after":
            _cut(request)
        return web.Response(headers=_stamps(body))


def _cut(request: web.Request) -> None:
    """Cut the connection: the sender learns nothing."""
    if request.transport is not None:
        request.transport.close()


def _xml(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="application/xml")


def _stamps(body: bytes) -> dict[str, str]:
    mark = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return {"ETag": f'"{mark}"', "Last-Modified": "Sun, 01 Mar 2026 00:00:00 GMT"}


def _listing(receiver: Receiver, prefix: str) -> web.Response:
    items = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-03-01T00:00:00.000Z</LastModified>"
        f'<ETag>"x"</ETag><Size>{len(body)}</Size><StorageClass>STANDARD</StorageClass></Contents>'
        for key, body in sorted(receiver.objects.items())
        if key.startswith(prefix)
    )
    return _xml(f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>")


def messages_of(receiver: Receiver) -> list[tuple[str, bytes]]:
    """What a receiver holds: (object or first request of that key, message). A repeated key counts once."""
    found: list[tuple[str, bytes]] = []
    for key, body in receiver.objects.items():
        if "_manifests/" in key:
            continue
        plain = gzip.decompress(body) if key.endswith(".gz") else body
        found += [(key, line) for line in (plain.splitlines() if ".ndjson" in key else [plain])]
    once: dict[str, list[bytes]] = {}
    for key, lines in receiver.taken:
        once.setdefault(key, lines)
    return found + [(key, line) for key, lines in once.items() for line in lines]


def plain(message: bytes) -> Any:
    """A message as plain data; no number is rounded."""
    return json.loads(message, parse_float=Decimal)
