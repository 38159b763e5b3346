"""Opening destinations: each once for all who need it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from logstream.destinations import Destination, open_destination
from logstream.destinations.credentials import Connections
from logstream.settings.models import Settings


class Destinations:
    """Opens each destination once, when it is first needed; one that cannot be opened says so each time."""

    def __init__(self, connections: Connections, stack: AsyncExitStack) -> None:
        self._connections, self._stack = connections, stack
        self._opening: dict[str, asyncio.Task[Destination[Any]]] = {}

    async def get(self, name: str, settings: Settings) -> Destination[Any]:
        """A destination as these settings have it."""
        key = f"{name} {settings.destinations[name].model_dump_json()}"
        if key not in self._opening:
            self._opening[key] = asyncio.create_task(self._open(name, settings))
        return await self._opening[key]

    async def _open(self, name: str, settings: Settings) -> Destination[Any]:
        destination = await open_destination(name, settings.destinations[name], self._connections)
        self._stack.push_async_callback(destination.close)
        return destination
