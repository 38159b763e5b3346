"""Without the wire: receivers in the place of the two libraries that the transports send with, for speed.

What is replaced is `aiohttp.ClientSession` below the HTTP transport and `obstore` below the object stores; everything above
them is the product's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import aiohttp
from obstore import exceptions as refused

from logstream.destinations import object_store, s3
from tests.simulation.receivers import Answer, Receiver, Receivers

URL = "http://127.0.0.1:9"


class Content:
    """An answer's body, read at once."""

    def __init__(self, body: bytes) -> None:
        self._body, self._read = body, False

    async def read(self, most: int) -> bytes:
        """All of it."""
        self._read = True
        return self._body

    def at_eof(self) -> bool:
        """Whether it was read."""
        return self._read


class MemorySession:
    """In the place of `aiohttp.ClientSession`: what is posted reaches its receiver by a call."""

    receivers: Receivers

    def __init__(self, *, headers: Mapping[str, str], connector: Any = None, **_: object) -> None:
        self._headers = headers

    @asynccontextmanager
    async def post(self, url: str, *, data: bytes, headers: Mapping[str, str], **_: object) -> AsyncIterator[Any]:
        """Post a request. `url` is `URL/post/WORLD-NAME...`."""
        receiver = self.receivers.find(url.split("/")[4])
        sent = {**self._headers, **headers}
        if receiver is None:
            answer = Answer(404)
        elif receiver.stalls:
            answer = await asyncio.to_thread(receiver.post, sent, data)
        else:
            answer = receiver.post(sent, data)
        await asyncio.sleep(answer.seconds)
        if answer.cut:
            raise aiohttp.ServerDisconnectedError
        yield SimpleNamespace(status=answer.status, headers=answer.headers, content=Content(answer.body))

    async def close(self) -> None:
        """There is nothing to close."""


class MemoryObjects:
    """In the place of the module `obstore`: a store is its receiver."""

    @staticmethod
    def put(store: Receiver, key: str, body: bytes, *, mode: str = "overwrite", **_: object) -> None:
        """Put an object."""
        answer = store.put(key, bytes(body), only_new=mode == "create")
        time.sleep(answer.seconds)  # as slow as over the wire
        if answer.cut:
            raise refused.GenericError("connection closed")
        if answer.status == 412:
            raise refused.AlreadyExistsError(key)
        _raise(answer)

    @staticmethod
    def get(store: Receiver, key: str) -> Any:
        """Look for an object."""
        if store.get(key).status == 404:
            raise FileNotFoundError(key)

    @staticmethod
    async def get_async(store: Receiver, key: str) -> Any:
        """Get an object."""
        answer = store.get(key)
        if answer.status == 404:
            raise FileNotFoundError(key)

        async def body() -> bytes:
            return answer.body

        return SimpleNamespace(bytes_async=body, meta={"size": len(answer.body)})

    @staticmethod
    async def list(store: Receiver, prefix: str | None) -> AsyncIterator[list[dict[str, str]]]:
        """List keys: below whole parts of keys, as obstore does."""
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        yield [{"path": key} for key in store.keys(folder)]

    @staticmethod
    async def delete_async(store: Receiver, key: str) -> None:
        """Remove an object."""
        store.delete(key)


def _raise(answer: Answer) -> None:
    if answer.status == 403:
        raise refused.PermissionDeniedError("AccessDenied")
    if answer.status >= 400:
        raise refused.GenericError(f"status {answer.status}")


@contextmanager
def without_wire(receivers: Receivers) -> Iterator[str]:
    """Replace the two libraries; gives the URL that connections must name."""

    def store(bucket: str, **_: object) -> Receiver:
        found = receivers.find(bucket)
        if found is None:
            raise refused.GenericError("NoSuchBucket")
        return found

    MemorySession.receivers = receivers
    with (
        patch.object(aiohttp, "ClientSession", MemorySession),
        patch.object(object_store, "obstore", MemoryObjects),
        patch.object(s3, "S3Store", store),
    ):
        yield URL
