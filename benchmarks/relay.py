"""Counts what a client reads from PostgreSQL: a relay between them, in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Relay:
    """Hands on what comes on a port of this machine to a server's Unix socket. `read`: bytes that went to clients."""

    def __init__(self, dsn: str) -> None:
        given = conninfo_to_dict(dsn)
        self._socket = f"{given['host']}/.s.PGSQL.{given.get('port') or 5432}"
        self._loop = asyncio.new_event_loop()
        self.read = 0
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._socket)
        await asyncio.gather(
            self._pass(reader, to_server, count=False),
            self._pass(from_server, writer, count=True),
            return_exceptions=True,
        )

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, count: bool) -> None:
        try:
            while piece := await source.read(1 << 18):
                self.read += len(piece) if count else 0
                target.write(piece)
                await target.drain()
        finally:
            target.close()

    def stop(self) -> None:
        """Take no more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


@contextmanager
def relay(dsn: str) -> Iterator[Relay]:
    """A relay to the server of a DSN."""
    made = Relay(dsn)
    try:
        yield made
    finally:
        made.stop()
