"""The way of an obstore client to its server: through the gate, a proxy or neither, and by whose certificates."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from yarl import URL

from logstream.destinations.transport.addresses import (
    check_url,
    private_addresses_allowed,
    public_address,
    resolve_and_check,
)
from logstream.destinations.transport.gate import UNREACHED, Pass, gate
from logstream.destinations.transport.network import (
    CERTIFICATE_REMEDY,
    Network,
    Proxy,
    authorities,
    proxy_of,
    refused_by_proxy,
)
from logstream.destinations.transport.secrets import Secrets
from logstream.destinations.transport.tls import trouble_of_obstore
from logstream.destinations.transport.unanswered import NO_TUNNEL, server_in, status_in, unanswered

TIMEOUT_SECONDS = 60.0
CONNECT_SECONDS = 5.0
RETRIES = 2

METADATA = "169.254.169.254,169.254.170.2,metadata.google.internal"
"""Where machines of the clouds get credentials: never by a proxy."""

_NO_PROXY = {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": "*,0.0.0.0/0,::/0"}
"""A proxy for no host at all: without one, the client would look for those of the environment by itself."""

_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_UNANSWERED = re.compile(r"error sending request|request or response body error|status code: 40[17]")
"""What obstore says of a request that got no answer, a proxy's refusal among the reasons."""


class Way:
    """How one client reaches one server."""

    def __init__(self, url: str, network: Network, *, chosen: bool) -> None:
        """`chosen`: whether the connection chose the address, or it is the vendor's own.

        Raises `ForbiddenAddress`, or `InputError` for what is no address, no proxy or no file of certificates.
        """
        self.url = check_url(url) if chosen else url
        self._network = network
        self._proxy = proxy_of(url, network)
        self._pass: Pass | None = None
        if chosen:
            resolve_and_check(url)
            if self._proxy is None and not private_addresses_allowed():
                self._pass = gate().admit(url)

    @property
    def host(self) -> str:
        """The server's name."""
        return URL(self.url).host or "the server"

    def keep_secret(self, secrets: Secrets) -> None:
        """Note what of it must be in no text."""
        for one in (self._proxy, self._pass):
            if one is not None:
                secrets.add_url(one.url)

    @property
    def proxy_url(self) -> str | None:
        """What the client is given as its proxy: the gate, or a proxy; `None` for neither. A secret."""
        if self._pass is not None:
            return self._pass.url
        return self._proxy_address(self._proxy) if self._proxy is not None else None

    @property
    def _seconds(self) -> float:
        return self._network.timeout or TIMEOUT_SECONDS

    @property
    def _connect_seconds(self) -> float:
        return self._network.connect_timeout or CONNECT_SECONDS

    def client_options(self) -> dict[str, Any]:
        """Options for obstore's HTTP client."""
        network = self._network
        options: dict[str, Any] = {
            "timeout": timedelta(seconds=self._seconds),
            "connect_timeout": timedelta(seconds=self._connect_seconds),
            "allow_http": self.url.startswith("http://"),
        }
        if not network.verify:
            options["allow_invalid_certificates"] = True
        trusted = authorities(network)
        if trusted:
            options["root_certificate"] = trusted
        if self.proxy_url is not None:
            options["proxy_url"] = self.proxy_url
        if self._pass is None and self._proxy is not None:
            options["proxy_excludes"] = METADATA
            if options["allow_http"]:
                # many proxies close the connection behind an answer that does not say so (tinyproxy)
                options["pool_max_idle_per_host"] = "0"
        elif self._pass is None:
            options |= _NO_PROXY
        return options

    def retry_config(self) -> Any:
        """How obstore tries again on its own, for what passes in a moment; all else is answered in export/send.py."""
        retries = RETRIES if self._network.retries is None else self._network.retries
        return {
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=10),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2.0},
        }

    @staticmethod
    def _proxy_address(proxy: Proxy) -> str:
        """A proxy's address; one that a connection chose is pinned to the address that is judged here."""
        if proxy.operators or private_addresses_allowed():
            return proxy.url
        parts = urlsplit(proxy.url)
        address = public_address(proxy.url)
        if parts.scheme == "https":
            return proxy.url  # its certificate is judged by its name: no other server can have it
        user, at, _ = parts.netloc.rpartition("@")
        host = f"[{address}]" if ":" in address else address
        return urlunsplit(parts._replace(netloc=f"{user}{at}{host}:{parts.port or 80}"))

    def trouble(self, error: Exception) -> str | None:
        """What stands in the way and does not pass by itself; `None` if an error is of another kind."""
        if self._pass is not None and self._pass.refused is not None:
            return str(self._pass.refused)
        text = str(error)
        found = _CERTIFICATE.search(text)
        if found:
            return f"the certificate of {self.host} is refused ({found.group(1)}): {CERTIFICATE_REMEDY}"
        if self._proxy is None and (mismatch := trouble_of_obstore(self.url, text)) is not None:
            return mismatch
        if self._proxy is not None and _UNANSWERED.search(text):
            return refused_by_proxy(self._proxy, self.url)
        return None

    def unanswered(self, error: Exception) -> str | None:
        """Why a request got no answer, and by whom; `None` if it got one, or if the cause cannot be told."""
        text = str(error)
        why = unanswered(text, seconds=self._seconds, connect_seconds=self._connect_seconds)
        server = server_in(text, self.url)
        if self._pass is not None and (why == NO_TUNNEL or status_in(text) == UNREACHED):
            # the gate, which made no connection, knows why; another request may have got through meanwhile
            return f"{server}: {self._pass.trouble or 'cannot connect'}"
        if self._proxy is not None and why is not None:
            reached = why == NO_TUNNEL or not why.startswith("cannot connect")
            proxy = "the proxy" if reached else f"the proxy {URL(self._proxy.url).host}"
            return f"{server}, by {proxy}: {why}"
        return f"{server}: {why}" if why is not None else None
