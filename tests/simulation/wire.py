"""The wire: one loopback server that plays all receivers, over real HTTP and with the S3 protocol."""

from __future__ import annotations

import asyncio
import re
import threading
from xml.sax.saxutils import unescape

from aiohttp import web

from tests.simulation.receivers import Answer, Receiver, Receivers


class Wire:
    """The server. It runs in a thread of its own."""

    def __init__(self, receivers: Receivers) -> None:
        self._receivers = receivers
        self._loop = asyncio.SelectorEventLoop()
        self._ready = threading.Event()
        self.url = ""
        threading.Thread(target=self._run, name="receivers", daemon=True).start()
        self._ready.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self) -> None:
        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_route("*", "/s3/{name}{key:(/.*)?}", self._bucket)
        application.router.add_post("/post/{name}{path:(/.*)?}", self._post)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=False)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _post(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        receiver = self._receivers.find(request.match_info["name"])
        if receiver is None:
            return web.Response(status=404)
        if receiver.stalls:
            return await _told(request, await asyncio.to_thread(receiver.post, request.headers, body))
        return await _told(request, receiver.post(request.headers, body))

    async def _bucket(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        receiver = self._receivers.find(request.match_info["name"])
        if receiver is None:
            return await _told(request, Answer(404, b"<Error><Code>NoSuchBucket</Code></Error>"))
        if receiver.stalls:
            return await _told(request, await asyncio.to_thread(_s3, receiver, request, body))
        return await _told(request, _s3(receiver, request, body))


def _s3(receiver: Receiver, request: web.Request, body: bytes) -> Answer:
    key = request.match_info["key"].removeprefix("/")
    match request.method:
        case "GET" if not key:
            return receiver.listing(request.query.get("prefix", ""))
        case "GET" | "HEAD":
            return receiver.get(key)
        case "DELETE":
            return receiver.delete(key)
        case "POST":  # `?delete`, of many keys at once
            for found in re.findall(r"<Key>(.*?)</Key>", body.decode()):
                receiver.delete(unescape(found))
            return Answer(200, b"<DeleteResult></DeleteResult>", {"Content-Type": "application/xml"})
        case _:
            return receiver.put(key, body, only_new=request.headers.get("If-None-Match") == "*")


async def _told(request: web.Request, answer: Answer) -> web.Response:
    if answer.seconds:
        await asyncio.sleep(answer.seconds)
    if answer.cut and request.transport is not None:
        request.transport.close()
    return web.Response(status=answer.status, body=answer.body, headers=dict(answer.headers))
