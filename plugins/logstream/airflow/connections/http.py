"""Connections of type `http`: base URL, credentials, headers, certificates, proxies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from logstream.airflow.connections.fields import truth
from logstream.airflow.connections.lookup import find, flag, pem_file, proxies, seconds, wrong
from logstream.airflow.connections.tables import HTTP
from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.transport.network import Network
from logstream.destinations.transport.urls import joined
from logstream.errors import ConnectionNotFound

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.6.2."""

_OWN_HEADERS = frozenset({
    "connection", "content-encoding", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "idempotency-key", "webhook-id", "webhook-signature", "webhook-timestamp",
})  # fmt: skip
"""What is said of one request: how it goes over its connection, which one it is, and that it is from us."""


def http_credentials(connection: str, default_url: str | None = None) -> HttpCredentials:
    """What an `http` connection gives. `default_url` is the base where the connection names no host."""
    return http_credentials_of(find(connection, "http", "https"), connection, default_url)


def http_credentials_of(found: Any, connection: str, default_url: str | None = None) -> HttpCredentials:
    """The same of a connection that was found. Raises `ConnectionNotFound` naming what in it cannot be used."""
    extra = HTTP.check(found)
    return HttpCredentials(
        base_url=default_url if default_url and not found.host else base_url(found, connection),
        login=found.login or None,
        password=found.password or None,
        headers=_headers(connection, extra),
        signing_secret=extra.get("webhook_secret") or None,
        client_certificate=extra.get("client_certificate") or _client_certificate(connection, extra.get("cert")),
        network=_network(connection, extra),
    )


def _headers(connection: str, extra: Mapping[str, Any]) -> dict[str, str]:
    headers = extra.get("headers")
    others = {key: value for key, value in extra.items() if key not in HTTP.extras}
    if headers is None:
        headers = others
    elif others:
        raise wrong(connection, min(others), "is unknown; headers belong into `headers`")
    if not isinstance(headers, dict):
        raise wrong(connection, "headers", "must be an object")
    names = set[str]()
    for name, value in headers.items():
        _check_header(connection, name, value)
        if name.lower() in names:
            raise wrong(connection, f"headers.{name}", "is there twice, in other letters; keep one of them")
        names.add(name.lower())
    return {str(name): str(value) for name, value in headers.items()}


def _check_header(connection: str, name: str, value: object) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise wrong(connection, f"headers.{name}", "is no header's name: letters, digits and hyphens, without spaces")
    if name.lower() in _OWN_HEADERS:
        raise wrong(connection, f"headers.{name}", "is a header that is made for each request; leave it out")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong(connection, f"headers.{name}", "must be a text")
    if any(sign in str(value) for sign in "\r\n\0"):
        raise wrong(connection, f"headers.{name}", "holds a line break")


def _client_certificate(connection: str, cert: object) -> str | None:
    """`cert` as `requests` has it: the path of a file with certificate and key, or the paths of both."""
    if not cert:
        return None
    paths = cert if isinstance(cert, list) else [cert]
    if len(paths) not in (1, 2):
        raise wrong(connection, "cert", "must be the path of a file, or a list of two")
    return "\n".join(pem_file(connection, "cert", path) for path in paths)


def _network(connection: str, extra: Mapping[str, Any]) -> Network:
    authority = extra.get("ca") or None
    for name in ("verify", "verify_ssl"):
        value = extra.get(name)
        if value in (None, "") or truth(value) is True:
            continue
        if truth(value) is False:
            raise wrong(
                connection, name, "is not supported as false: certificates are always verified; put those of your own "
                "authority into `ca`, or name their file",
            )  # fmt: skip
        if authority:
            raise wrong(connection, name, "names certificates, and `ca` holds others; keep one of them")
        authority = pem_file(connection, name, value)
    trust = extra.get("trust_env")
    return Network(
        proxies={
            **proxies(connection, "proxy", extra.get("proxy")),
            **proxies(connection, "proxies", extra.get("proxies")),
        },
        environment=trust in (None, "") or flag(connection, "trust_env", trust),
        authority=authority,
        timeout=seconds(connection, "timeout", extra.get("timeout")),
    )


def base_url(found: Any, connection: str) -> str:
    """The address that host, port, schema and type of a connection make. Raises `ConnectionNotFound`."""
    host, schema = found.host or "", found.schema or ""
    if not host:
        raise ConnectionNotFound(f"connection `{connection}` has no host; put the base URL there")
    if "://" in host:
        base = host
    else:
        if ":" in host and not host.startswith("["):
            host = _bracketed(host)
        scheme = schema if schema in ("http", "https") else found.conn_type if found.conn_type == "https" else "http"
        base = f"{scheme}://{host}"
    if found.port and urlsplit(base).port is None:
        parts = urlsplit(base)
        base = urlunsplit((parts.scheme, f"{parts.netloc}:{found.port}", parts.path, parts.query, ""))
    if schema and schema not in ("http", "https"):
        base = joined(base, schema)
    if "#" in base:
        raise ConnectionNotFound(
            f"connection `{connection}`: its address holds a fragment (from # on), which is never sent; write %23 for #"
        )
    return base


def _bracketed(host: str) -> str:
    """An IPv6 address as it stands in URLs; Airflow takes the brackets off. A host with its port stays as it is."""
    try:
        return f"[{IPv6Address(host)}]"
    except ValueError:
        return host
