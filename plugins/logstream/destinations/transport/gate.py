"""The way of object stores to addresses that a connection names: every connection is judged where it is made.

obstore resolves names itself, each time it connects: an address that was public when it was judged may be this machine's when it
is used. So obstore is given a proxy: this one, in this process, on the loopback interface. It resolves a name once for each
connection, refuses addresses that are not public, and connects to those that it has judged (docs/adr/0020). TLS goes
through it unopened.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import threading
from contextlib import suppress
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import aiohappyeyeballs
from yarl import URL

from logstream.destinations.transport.addresses import ForbiddenAddress, public_addresses, public_socket
from logstream.destinations.transport.unanswered import unconnected

HEAD_BYTES = 64 * 1024
BLOCK = 256 * 1024
UNREACHED = 523
"""The status that the gate answers then: no other that a server has is so rare, and the client's error tells no more of an answer
to HEAD."""

CONNECT_SECONDS = 10.0
STAGGER_SECONDS = 0.25
"""Until the next address of a name is tried beside the one before (RFC 8305)."""


class Pass:
    """The right of one client to connect to one server through the gate."""

    def __init__(self, host: str, port: int, gate_port: int) -> None:
        self.host, self.port = host, port
        self.refused: ForbiddenAddress | None = None
        """Why the last connection was not made, if the address was at fault."""
        self.trouble: str | None = None
        """Why it was not made, in words; `None` if it was."""
        self._key = secrets.token_urlsafe(24)
        self.url = f"http://logstream:{self._key}@127.0.0.1:{gate_port}"
        """The proxy's address, for the client."""

    @property
    def credentials(self) -> str:
        """What the client sends as `Proxy-Authorization`."""
        return "Basic " + base64.b64encode(f"logstream:{self._key}".encode()).decode()


class Gate:
    """An HTTP proxy for this process alone: a client needs a pass, and a pass is for one server."""

    def __init__(self) -> None:
        self._passes: WeakValueDictionary[str, Pass] = WeakValueDictionary()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self._run, args=(ready,), name="logstream gate", daemon=True).start()
        ready.wait()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_BYTES, backlog=256)
        )
        self._port: int = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()

    def admit(self, url: str) -> Pass:
        """A pass for the server of an address."""
        parts = URL(url)
        made = Pass((parts.raw_host or "").lower(), parts.port or 80, self._port)
        self._passes[made.credentials] = made
        return made

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            head = _Head(await reader.readuntil(b"\r\n\r\n"))
            found = self._passes.get(head.credentials)
            if found is None or head.server != (found.host, found.port):
                await _answer(writer, 407, "this way is another client's")
                return
            try:
                theirs, upstream = await self._connect(found)
            except OSError as error:
                found.trouble = unconnected(error)
                await _answer(writer, 403 if found.refused else UNREACHED, "the server cannot be reached")
                return
            back = asyncio.ensure_future(_copy(theirs, writer))
            try:
                if head.is_tunnel:
                    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    await _copy(reader, upstream)
                else:
                    await _requests(head, reader, upstream, found)
                await back
            finally:
                back.cancel()
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            return  # one of the two has gone, or does not speak HTTP: the other sees its connection end
        finally:
            for one in (writer, upstream):
                if one is not None:
                    one.close()

    async def _connect(self, found: Pass) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to an address of the pass's server that was judged just now."""
        async with asyncio.timeout(CONNECT_SECONDS):
            try:
                addresses = await public_addresses(found.host, found.port)
                sock = await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=STAGGER_SECONDS, socket_factory=public_socket
                )
            except ForbiddenAddress as error:
                found.refused = error
                raise
        found.refused = found.trouble = None
        return await asyncio.open_connection(sock=sock)


class _Head:
    """The head of a request to a proxy. Raises `ValueError` for what is none."""

    def __init__(self, data: bytes) -> None:
        self._line, *lines = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        self.method, self.target, self._version = self._line.split(" ")
        pairs = [line.split(":", 1) for line in lines]
        self._headers = [(name.strip(), value.strip()) for name, value in pairs]

    def header(self, name: str) -> str:
        """The value of a header; empty if it is not there."""
        return next((value for key, value in self._headers if key.lower() == name), "")

    @property
    def credentials(self) -> str:
        """What the client proves its pass with."""
        return self.header("proxy-authorization")

    @property
    def is_tunnel(self) -> bool:
        """Whether the client wants bytes carried, which is what it wants for TLS."""
        return self.method == "CONNECT"

    @property
    def server(self) -> tuple[str, int]:
        """Host and port that it is for."""
        parts = urlsplit(f"//{self.target}" if self.is_tunnel else self.target)
        return (parts.hostname or "").lower(), parts.port or 80

    @property
    def length(self) -> int:
        """Bytes of its body. Raises `ValueError` for a body without a length: object stores want one."""
        if self.header("transfer-encoding"):
            raise ValueError("a body without length")
        return int(self.header("content-length") or 0)

    def forwarded(self) -> bytes:
        """The head for the server: a path for an address, nothing that is for proxies."""
        parts = urlsplit(self.target)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        kept = [f"{name}: {value}" for name, value in self._headers if not name.lower().startswith("proxy-")]
        return "\r\n".join([f"{self.method} {path} {self._version}", *kept, "", ""]).encode("latin-1")


async def _requests(head: _Head, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, found: Pass) -> None:
    """Forward the requests of one connection, one after another, each by its own length, until it ends with an `EOFError`."""
    while True:
        if head.server != (found.host, found.port) or head.is_tunnel:
            raise ValueError("a request for another server")
        upstream.write(head.forwarded())
        left = head.length
        while left:
            block = await reader.read(min(left, BLOCK))
            if not block:
                raise EOFError
            left -= len(block)
            upstream.write(block)
            await upstream.drain()
        await upstream.drain()
        head = _Head(await reader.readuntil(b"\r\n\r\n"))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes until one side ends."""
    with suppress(OSError):
        while block := await reader.read(BLOCK):
            writer.write(block)
            await writer.drain()
    writer.close()


async def _answer(writer: asyncio.StreamWriter, status: int, text: str) -> None:
    body = text.encode()
    writer.write(f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    await writer.drain()


_lock = threading.Lock()
_gates: dict[int, Gate] = {}


def gate() -> Gate:
    """This process' gate; it is made when it is first asked for, and ends with the process."""
    with _lock:
        # a process that was forked has its parent's memory, but not its threads
        if os.getpid() not in _gates:
            _gates.clear()
            _gates[os.getpid()] = Gate()
        return _gates[os.getpid()]
