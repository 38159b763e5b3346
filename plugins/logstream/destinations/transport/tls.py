"""A port that speaks TLS where plain HTTP was asked for, or the other way round: told as that, and not tried again."""

from __future__ import annotations

import re
import ssl

from yarl import URL

from logstream.destinations.transport.addresses import public_connection
from logstream.destinations.transport.network import chain

LOOK_SECONDS = 5.0

NO_TLS = "{host} speaks no TLS at port {port}: write http:// into the address, or the port that speaks TLS"
ONLY_TLS = "{host} speaks TLS at port {port}: write https:// into the address, or the port for plain HTTP"

_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)
"""What OpenSSL says of an answer that is no TLS."""

_NO_TLS_OF_OBSTORE = re.compile(r"InvalidMessage\(\s*InvalidContentType")
_SAYS_TLS = re.compile(
    rb"plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server|combination of host and port requires TLS"
    rb"|speaking plain HTTP to an SSL-enabled server port",
    re.IGNORECASE,
)
"""How nginx, Go, Tomcat and Apache say it, with status 400."""

_BROKEN_OFF = re.compile(r"IncompleteMessage|Parse\(|ConnectionReset")
"""What obstore says of an answer that is none, or cut off: TLS servers end the connection, or answer in TLS."""


def refuses_plain_http(url: str, answer: bytes) -> str | None:
    """What is said of an answer to plain HTTP by a server that wants TLS; `None` for any other."""
    return _worded(ONLY_TLS, url) if url.startswith("http://") and _SAYS_TLS.search(answer) else None


def spoken_to_in_tls(url: str, error: Exception) -> str | None:
    """What is said of an error of Python's TLS that comes from a server without; `None` for any other."""
    reasons = {getattr(one, "reason", None) for one in chain(error) if isinstance(one, ssl.SSLError)}
    return _worded(NO_TLS, url) if reasons & _NO_TLS else None


def trouble_of_obstore(url: str, text: str) -> str | None:
    """The same of obstore's errors, in either direction. Blocks where a look at the server is needed."""
    if url.startswith("https://"):
        return _worded(NO_TLS, url) if _NO_TLS_OF_OBSTORE.search(text) else None
    return refuses_plain_http(url, text.encode()) or (wants_tls(url) if _BROKEN_OFF.search(text) else None)


def wants_tls(url: str) -> str | None:
    """What is said of a server that broke plain HTTP off, if it speaks TLS at that port; else `None`. Blocks for some seconds.

    Its certificate is not looked at, and nothing is sent to it.
    """
    if not url.startswith("http://"):
        return None
    parts = URL(url)
    # without the machine's authorities: to read them takes 20 ms, and none of them is asked
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with public_connection((parts.raw_host or "", parts.port or 80), LOOK_SECONDS) as plain:
            plain.settimeout(LOOK_SECONDS)
            with context.wrap_socket(plain, server_hostname=parts.raw_host):
                return _worded(ONLY_TLS, url)
    except (OSError, ValueError):
        return None


def _worded(words: str, url: str) -> str:
    parts = URL(url)
    return words.format(host=parts.host, port=parts.port)
