"""Sessions of aiohttp with one server: judged addresses, proxies, certificates, and what is said of those that fail."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from logstream.destinations.outcome import GiveUp, Outcome, Retry
from logstream.destinations.transport.addresses import (
    ForbiddenAddress,
    check_url,
    public_socket,
    resolve_and_check,
)
from logstream.destinations.transport.network import (
    Network,
    Proxy,
    authorities,
    chain,
    proxy_of,
    refused_by_proxy,
    refused_certificate,
)
from logstream.destinations.transport.resolver import PublicResolver
from logstream.destinations.transport.tls import ended_by_alert, spoken_to_in_tls, wants_tls
from logstream.errors import InputError

TIMEOUT_SECONDS = 60.0
CONNECT_SECONDS = 10.0


_BROKEN_OFF = (aiohttp.ServerDisconnectedError, aiohttp.ClientResponseError, aiohttp.ClientOSError)
"""What comes of plain HTTP at a port for TLS: the server ends the connection, or answers in TLS."""


class Reach(NamedTuple):
    """How a server is reached: settled before a session is opened. `reach` makes it."""

    url: str
    proxy: Proxy | None
    tls: ssl.SSLContext
    timeout: float
    """Seconds a request may take."""

    @property
    def host(self) -> str:
        """The server's name."""
        return URL(self.url).host or "the server"

    def session(self, headers: Mapping[str, str]) -> aiohttp.ClientSession:
        """A session that sends these headers with every request. It must be made, and closed, in a running loop.

        Addresses are judged as they are connected to. A proxy that the operator's environment names may be anywhere.
        """
        connector: dict[str, Any] = {"limit": 0, "ttl_dns_cache": 60, "ssl": self.tls}
        if self.proxy is None or not self.proxy.operators:
            connector |= {"resolver": PublicResolver(), "socket_factory": public_socket}
        if self.proxy is not None and self.url.startswith("http://"):
            # many proxies close the connection behind an answer that does not say so (tinyproxy)
            connector["force_close"] = True
        return aiohttp.ClientSession(
            headers=headers,
            proxy=self.proxy.url if self.proxy is not None else None,
            timeout=aiohttp.ClientTimeout(total=self.timeout, connect=CONNECT_SECONDS),
            auto_decompress=False,
            trust_env=False,
            connector=aiohttp.TCPConnector(**connector),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def failure(self, error: Exception) -> Outcome:
        """What it means that a request got no answer."""
        for one in chain(error):
            if isinstance(one, ForbiddenAddress):
                return GiveUp(str(one))
        if isinstance(error, aiohttp.InvalidURL):
            return GiveUp(f"the address cannot be used: {error}")
        refused = refused_certificate(error)
        if refused is not None:
            return GiveUp(f"the server's certificate is not valid for {self.host} {refused.told()}")
        mismatch = spoken_to_in_tls(self.url, error) or ended_by_alert(self.url, error)
        if mismatch is None and self.proxy is None and isinstance(error, _BROKEN_OFF):
            mismatch = await asyncio.to_thread(wants_tls, self.url)
        if mismatch is not None:
            return GiveUp(mismatch)
        return await self.refused_by_proxy() or Retry(f"{self.host}: {self._reason(error)}")

    async def refused_by_proxy(self) -> GiveUp | None:
        """What the proxy, if there is one, has against us."""
        if self.proxy is None:
            return None
        said = await asyncio.to_thread(refused_by_proxy, self.proxy, self.url)
        return GiveUp(said) if said is not None else None

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            return f"cannot connect to the proxy: {error.os_error.strerror or error.os_error}"
        if isinstance(error, aiohttp.ClientConnectorError):
            return f"cannot connect: {error.os_error.strerror or error.os_error}"
        if isinstance(error, TimeoutError):
            return f"no answer within {self.timeout:.0f} s"
        return type(error).__name__ + (f": {error}" if str(error) else "")


def reach(url: str, network: Network, client_certificate: str | None = None) -> Reach:
    """Settle how a server is reached. Blocks while a name is resolved.

    Raises `ForbiddenAddress`, and `InputError` for what is no address, no proxy or no PEM.
    """
    check_url(url)
    proxy = proxy_of(url, network)
    if proxy is not None:
        # the proxy resolves the name, and the operator's rules for it hold; what is known here to be forbidden is so
        resolve_and_check(url)
    tls = tls_context(network, client_certificate)
    return Reach(url, proxy, tls, network.timeout or TIMEOUT_SECONDS)


def tls_context(network: Network, client_certificate: str | None = None) -> ssl.SSLContext:
    """Whom to trust, and certificates of our own. Raises `InputError` for what is no PEM."""
    trusted = authorities(network)
    make = _context if client_certificate is None else _context.__wrapped__
    try:
        context = make(trusted)
    except (ssl.SSLError, ValueError):
        whose = "`ca` in its extra holds" if network.authority else "the file that the environment names for them holds"
        raise InputError(f"{whose} no certificates (PEM)") from None
    if client_certificate:
        # the library reads files only: one that no other user may read, for as long as it takes
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(_pem(client_certificate))
            file.flush()
            try:
                context.load_cert_chain(file.name)
            except (ssl.SSLError, ValueError):
                raise InputError(
                    "`client_certificate` in its extra must hold a certificate and its private key (PEM)"
                ) from None
    return context


@lru_cache(maxsize=32)
def _context(trusted: str | None) -> ssl.SSLContext:
    """Shared by all that trust the same: reading a machine's authorities takes 20 ms, and there may be 1,000 destinations."""
    return ssl.create_default_context(cadata=_pem(trusted) if trusted else None)


def _pem(text: str) -> str:
    """A PEM text; in JSON and in environment variables its line breaks are often written as `\\n`."""
    return text.replace("\\n", "\n")
