"""Opening destinations: each once for all who need it, none of them able to hold up or break another."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any

from logstream.destinations import Destination, open_destination
from logstream.destinations.credentials import Connections
from logstream.errors import DeliveryError, InputError, LogstreamError
from logstream.settings.models import Settings
from logstream.threads import LeftBehindThreads, is_from_outside, within
from logstream.tracebacks import traceback_of

log = logging.getLogger("logstream")

OPEN_SECONDS = 60.0
"""How long a connection's hook, and what else opening takes, may need."""

OPENING_THREADS = 64


def give_up_slow_hooks() -> None:
    """Let what blocks in this event loop (`asyncio.to_thread`) hold up nothing when it is given up."""
    asyncio.get_running_loop().set_default_executor(LeftBehindThreads(OPENING_THREADS, "logstream opening"))


class Destinations:
    """Opens each destination once, when it is first needed; one that cannot be opened says so each time.

    Destinations of one connection are opened one after another: a hook that never answers costs one thread, not one for each
    of a thousand customers, and once it has been given up the others of its connection are told so at once.
    """

    def __init__(self, connections: Connections, stack: AsyncExitStack) -> None:
        self._connections, self._stack = connections, stack
        self._opening: dict[str, asyncio.Task[Destination[Any]]] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._silent: set[str] = set()

    async def get(self, name: str, settings: Settings) -> Destination[Any]:
        """A destination as these settings have it. Raises `LogstreamError`, and nothing else, if it cannot be opened."""
        if name not in settings.destinations:
            raise InputError(f'the settings have no destination named "{name}"')
        key = f"{name} {settings.destinations[name].model_dump_json()}"
        if key not in self._opening:
            self._opening[key] = asyncio.create_task(self._open(name, settings))
        return await asyncio.shield(self._opening[key])

    async def _open(self, name: str, settings: Settings) -> Destination[Any]:
        connection = str(settings.destinations[name].options.get("connection") or f"of {name}")
        async with self._turns.setdefault(connection, asyncio.Lock()):
            if connection in self._silent:
                raise _silence(connection)
            try:
                destination = await within(
                    OPEN_SECONDS, open_destination(name, settings.destinations[name], self._connections)
                )
            except TimeoutError:
                self._silent.add(connection)
                raise _silence(connection) from None
            except LogstreamError:
                raise
            except Exception as error:
                # a malformed key, a broken hook or plug-in: its text may quote a secret, and is not repeated
                log.debug("destination %s cannot be opened\n%s", name, traceback_of(error))
                raise InputError(
                    f"destination {name} cannot be opened ({type(error).__name__}): look at what connection "
                    f"`{connection}` holds"
                ) from None
        self._stack.push_async_callback(_close, destination)
        return destination


def _silence(connection: str) -> DeliveryError:
    return DeliveryError(f"connection `{connection}` has not answered for {OPEN_SECONDS:.0f} s")


async def _close(destination: Destination[Any]) -> None:
    try:
        await destination.close()
    except BaseException as error:  # everything that mattered is in the ledger by now
        if is_from_outside(error):
            raise
        log.warning("destination %s could not be closed\n%s", destination.name, destination.secrets.traceback(error))
