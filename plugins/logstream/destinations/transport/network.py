"""How a server is reached: through which proxy, and by whose certificates.

A connection says it (`Network`); what it leaves open, the environment says as it does for every other program there:
`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`, and `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` or `SSL_CERT_FILE`.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

from logstream.errors import InputError

BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name a file with certificates (PEM) which are trusted: the first that is set."""

CERTIFICATE_REMEDY = (
    "if an authority of your own signs it, or a proxy that looks into TLS, name its certificates to the connection (see "
    "docs/connections.md) or in REQUESTS_CA_BUNDLE"
)


PROXY_REFUSES = "the proxy wants credentials, or refuses those that it gets: put user and password into its address"


@dataclass(frozen=True, slots=True)
class Network:
    """What a connection says of how its server is reached."""

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Addresses by scheme (`http`, `https`, `all`), as `requests` has them; before those of the environment."""
    environment: bool = True
    """Whether the environment's proxies and certificates are looked at."""
    authority: str | None = field(default=None, repr=False)
    """Certificates, PEM, by which the server's is judged, where no public authority signs it."""
    verify: bool = True
    """Whether the server's certificate is judged at all."""
    timeout: float | None = None
    """Seconds that a request may take."""
    connect_timeout: float | None = None
    """Seconds until a connection stands."""
    retries: int | None = None
    """Repetitions of a request within the client (object stores)."""


class Proxy(NamedTuple):
    """A proxy, and who chose it."""

    url: str
    operators: bool
    """Whether the operator's environment names it. A connection's own is judged like any address of a connection."""


def proxy_of(url: str, network: Network) -> Proxy | None:
    """The proxy for an address, `None` if it is reached directly. Raises `InputError` for what is no proxy's address."""
    own = select_proxy(url, dict(network.proxies)) if network.proxies else None
    if own:
        return Proxy(_proxy_url(own, "its connection"), operators=False)
    if not network.environment:
        return None
    found = select_proxy(url, get_environ_proxies(url))
    return Proxy(_proxy_url(found, "the environment"), operators=True) if found else None


def _proxy_url(text: str, who: str) -> str:
    whole = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(whole)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise InputError(f"the proxy that {who} names is no address that begins with http:// or https://")
    return whole


def authorities(network: Network) -> str | None:
    """The certificates to trust, PEM: the connection's, else those that the environment names; `None`: the machine's own.

    Raises `InputError` naming the variable whose file cannot be read.
    """
    if network.authority:
        return network.authority
    name = next((name for name in BUNDLES if os.environ.get(name)), None) if network.environment else None
    if name is None:
        return None
    try:
        return Path(os.environ[name]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the certificates that {name} names cannot be read: {type(error).__name__}") from None


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        causes = (getattr(one, name, None) for name in ("reason", "certificate_error", "os_error", "inner_exception"))
        found = [one.__cause__, one.__context__, *causes, *one.args]
        todo += [cause for cause in found if isinstance(cause, BaseException)]


def refused_certificate(error: BaseException) -> str | None:
    """Why a server's certificate was refused, in a few words; `None` if the error is another."""
    found = [one for one in chain(error) if isinstance(one, ssl.SSLCertVerificationError)]
    # aiohttp's own error of this class has no words but those of the one that it holds
    words = [str(one.verify_message) for one in found if getattr(one, "verify_message", "")]
    return (words or ["it is not valid"])[0] if found else None
