"""Where a destination may be. A customer's URL is hostile input: it must not reach what only this machine can reach.

Loopback, link-local (cloud metadata), private, shared, multicast and reserved addresses are refused (all of IANA's
special-purpose ones: special_addresses.py), after DNS resolution, unless the operator sets `LOGSTREAM_ALLOW_PRIVATE_ADDRESSES=1`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Sequence
from typing import Any

from yarl import URL

from logstream.destinations.transport.special_addresses import is_public
from logstream.errors import InputError

VARIABLE = "LOGSTREAM_ALLOW_PRIVATE_ADDRESSES"


def private_addresses_allowed() -> bool:
    """Whether the operator lets destinations be on loopback and private networks."""
    return os.environ.get(VARIABLE, "").strip().lower() in ("1", "true", "yes")


def refuse_address(address: str, host: str) -> None:
    """Raise `ForbiddenAddress` for an IP address that is not public."""
    if not is_public(ipaddress.ip_address(address.split("%", maxsplit=1)[0])):
        raise ForbiddenAddress(
            f"{host} is at {address}, which is not a public address; an operator can allow private ones with {VARIABLE}=1"
        )


class ForbiddenAddress(InputError, OSError):
    """The destination is at an address that customers' destinations may not have."""


def check_url(url: str) -> str:
    """Return the URL if it is http(s) with a host that may be tried; a literal IP address is checked here.

    Raises `InputError` otherwise. The URL may be a secret: only its host is ever in a message.
    """
    try:
        parts = URL(url)
        # as the client will read it: full-width and circled signs become what they stand for
        host, _ = parts.host, parts.port
    except (ValueError, TypeError) as error:
        raise InputError(f"the address is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise InputError("the address must begin with http:// or https:// and name a host")
    if not private_addresses_allowed():
        try:
            refuse_address(host, host)
        except ForbiddenAddress:
            raise
        except ValueError:
            pass  # a name: the code that connects checks what it resolves to
    return url


def resolve_and_check(url: str) -> None:
    """Resolve a URL's host and refuse it if any of its addresses is not public. Blocks while it resolves."""
    check_url(url)
    if private_addresses_allowed():
        return
    try:
        public_address(url)
    except ForbiddenAddress:
        raise
    except OSError:
        return  # not found: connecting says so better


def public_address(url: str) -> str:
    """An address of a URL's host, all of which are public. Raises `ForbiddenAddress`, and `OSError` for an unknown name."""
    host = URL(url).raw_host or ""
    found = [str(where[0]) for *_, where in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    for address in found:
        refuse_address(address, host)
    return found[0]


def public_connection(where: tuple[str, int], timeout: float, source: tuple[str, int] | None = None) -> socket.socket:
    """In the place of `socket.create_connection`: connects to the address of a name that is judged here. Blocks.

    Raises `ForbiddenAddress`, and `OSError` where there is no connection.
    """
    host, port = where
    if private_addresses_allowed():
        return socket.create_connection(where, timeout, source)
    found = [str(address[0]) for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in found:
        refuse_address(address, host)
    return socket.create_connection((found[0], port), timeout, source)


AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


def public_socket(address: AddressInfo) -> socket.socket:
    """A socket for an address that is about to be connected to, judged once more: literal ones are not resolved."""
    family, kind, protocol, _, where = address
    if not private_addresses_allowed():
        refuse_address(str(where[0]), str(where[0]))
    return socket.socket(family, kind, protocol)


async def public_addresses(host: str, port: int) -> Sequence[AddressInfo]:
    """What a name resolves to now, every address allowed. Raises `ForbiddenAddress`, and `OSError` for an unknown name."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not private_addresses_allowed():
        for *_, where in found:
            refuse_address(str(where[0]), host)
    return found
