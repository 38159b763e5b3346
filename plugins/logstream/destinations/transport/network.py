"""How a server is reached: through which proxy, and by whose certificates.

A connection says it (`Network`); what it leaves open, the environment says as it does for every other program there:
`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`, and `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` or `SSL_CERT_FILE`.
"""

from __future__ import annotations

import base64
import http.client
import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from logstream.destinations.transport.addresses import public_connection
from logstream.errors import InputError

BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name a file with certificates (PEM) which are trusted: the first that is set."""

PROXY_SECONDS = 5.0
PORTS = {"http": 80, "https": 443}

CERTIFICATE_REMEDY = (
    "if an authority of your own signs it, or a proxy that looks into TLS, name its certificates to the connection (see "
    "docs/connections.md) or in REQUESTS_CA_BUNDLE"
)
FORM_REMEDY = (
    "Python from 3.13 on takes only certificates that are made as RFC 5280 wants, and this one, or one of its authorities, "
    "is not: have it issued anew"
)
_OF_FORM = range(80, 95)
"""OpenSSL's codes for what is refused with `X509_V_FLAG_X509_STRICT` alone (its `x509_vfy.h`): the authority is known, and has
signed it."""

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
    from requests.utils import get_environ_proxies, select_proxy  # a command that sends nothing needs it not

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


def refused_by_proxy(proxy: Proxy, url: str) -> str | None:
    """Why a proxy does not let us through, and the remedy; `None` if it does, or if it may later. Blocks for some seconds.

    It is asked for a tunnel, whatever is wanted of it: a client that sends a body sees no answer where the proxy refuses that
    and closes, and the answer to another request may be the server's. Some proxies say 401 where they mean 407 (tinyproxy).
    """
    status = _tunnel_status(proxy, url)
    where = f"(on the way to {urlsplit(url).hostname})"
    if status in (401, 407):
        return f"{PROXY_REFUSES} {where}"
    if urlsplit(url).scheme == "https" and status is not None and 400 <= status < 500 and status not in (408, 429):
        return f"the proxy answered {status} {where}: let it through there, or name the host in NO_PROXY"
    return None


def _tunnel_status(proxy: Proxy, url: str) -> int | None:
    way, target = urlsplit(proxy.url), urlsplit(url)
    headers = {}
    if way.username is not None:
        pair = f"{unquote(way.username)}:{unquote(way.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    host = f"[{target.hostname}]" if ":" in (target.hostname or "") else target.hostname
    kind = http.client.HTTPSConnection if way.scheme == "https" else http.client.HTTPConnection
    connection = kind(way.hostname or "", way.port, timeout=PROXY_SECONDS)
    if not proxy.operators:
        # a name that was public when the proxy was used may be this machine's now
        connection._create_connection = public_connection  # type: ignore[attr-defined]
    try:
        connection.request("CONNECT", f"{host}:{target.port or PORTS.get(target.scheme)}", headers=headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


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


class RefusedCertificate(NamedTuple):
    """Why a server's certificate was refused, in a few words, and whether for its form alone."""

    why: str
    of_form: bool

    def told(self, remedy: str = CERTIFICATE_REMEDY) -> str:
        """The reason, and what helps: `remedy`, unless it is a matter of form."""
        return f"({self.why}): {FORM_REMEDY if self.of_form else remedy}"


def refused_certificate(error: BaseException) -> RefusedCertificate | None:
    """Why a server's certificate was refused; `None` if the error is another."""
    found = [one for one in chain(error) if isinstance(one, ssl.SSLCertVerificationError)]
    # aiohttp's own error of this class has no words but those of the one that it holds
    words = [str(one.verify_message) for one in found if getattr(one, "verify_message", "")]
    if not found:
        return None
    of_form = any(getattr(one, "verify_code", None) in _OF_FORM for one in found)
    return RefusedCertificate((words or ["it is not valid"])[0], of_form)
