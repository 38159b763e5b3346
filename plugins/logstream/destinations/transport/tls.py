"""A port that speaks TLS where plain HTTP was asked for, or the other way round, and a server that ends our TLS with an alert.

All are told as that, and not tried again.
"""

from __future__ import annotations

import re
import ssl

from yarl import URL

from logstream.destinations.transport.addresses import public_connection
from logstream.destinations.transport.network import chain

LOOK_SECONDS = 5.0

NO_TLS = "{host} speaks no TLS at port {port}: write http:// into the address, or the port that speaks TLS"
ONLY_TLS = "{host} speaks TLS at port {port}: write https:// into the address, or the port for plain HTTP"

REFUSES_CERTIFICATE = (
    "{host} wants a client certificate, and refuses what it gets ({alert}): a connection of type http has it in "
    "`client_certificate`; object stores and Azure Monitor are shown none"
)
NONE_IN_COMMON = (
    "{host} and we have no TLS in common ({alert}): it must speak TLS 1.2 or newer, and may want a client certificate (a "
    "connection of type http has it in `client_certificate`)"
)

_REFUSES_CERTIFICATE = {
    "BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "CERTIFICATE_REVOKED", "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN",
    "CERTIFICATE_REQUIRED", "UNKNOWN_CA", "ACCESS_DENIED",
}  # fmt: skip
_NONE_IN_COMMON = {"HANDSHAKE_FAILURE", "PROTOCOL_VERSION", "INSUFFICIENT_SECURITY"}
_ALERT = re.compile(r"_ALERT_([A-Z_]+)$")
"""How OpenSSL names an alert of the server's: `TLSV13_ALERT_CERTIFICATE_REQUIRED`."""

_ALERT_OF_OBSTORE = re.compile(r"AlertReceived\(\s*(\w+)")

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


def ended_by_alert(url: str, error: Exception) -> str | None:
    """What is said of an error of Python's TLS that is the server's alert, and does not pass by itself; `None` for any other."""
    reasons = [str(getattr(one, "reason", "")) for one in chain(error) if isinstance(one, ssl.SSLError)]
    alerts = [found.group(1) for reason in reasons if (found := _ALERT.search(reason))]
    return next(filter(None, (_alert_worded(url, alert) for alert in alerts)), None)


def _alert_worded(url: str, alert: str) -> str | None:
    words = (
        REFUSES_CERTIFICATE if alert in _REFUSES_CERTIFICATE else NONE_IN_COMMON if alert in _NONE_IN_COMMON else None
    )
    return words.format(host=URL(url).host, alert=alert.replace("_", " ").lower()) if words else None


def trouble_of_obstore(url: str, text: str) -> str | None:
    """The same of obstore's errors, in either direction. Blocks where a look at the server is needed."""
    if url.startswith("https://"):
        if (alert := _ALERT_OF_OBSTORE.search(text)) is not None:  # `UnknownCA`, `CertificateRequired`
            return _alert_worded(url, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", alert.group(1)).upper())
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
