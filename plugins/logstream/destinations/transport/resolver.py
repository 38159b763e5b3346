"""Resolving names for aiohttp. A module of its own: who sends by obstore needs no aiohttp."""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from logstream.destinations.transport.addresses import private_addresses_allowed, refuse_address


class PublicResolver(AbstractResolver):
    """Resolves names for aiohttp and refuses those of forbidden addresses: what is checked is what is connected to."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host, every one of them allowed."""
        found = await self._resolver.resolve(host, port, family)
        if not private_addresses_allowed():
            for item in found:
                refuse_address(item["host"], host)
        return found

    async def close(self) -> None:
        """Close the resolver."""
        await self._resolver.close()
