"""Why a request of obstore got no answer: what its text says deep inside, in words.

Its first line says "error sending request" of all of them. Behind that is what Rust prints of the error for programmers, with the
cause: the system's own words, a name that is not known, a limit on time that passed.
"""

from __future__ import annotations

import os
import re
import socket

from yarl import URL

_SYSTEM = re.compile(r'Os \{\s*code: -?\d+,\s*kind: \w+,\s*message: "([^"]+)"')
_DNS = re.compile(r"failed to lookup address information: ([^\"\\]+)")
_CONNECTING = re.compile(r"kind: Connect\b|\(\s*Connect,\s")
_TIMED_OUT = re.compile(r"\bTimedOut\b|kind: Timeout\b")
_BROKEN_OFF = re.compile(r"\bIncompleteMessage\b|\bUnexpectedEof\b|kind: Interrupted\b")
_TUNNEL = re.compile(r"\bTunnelUnsuccessful\b")

_REQUEST = re.compile(
    r"Error performing [A-Z]+ (?P<server>https?://[^\s/?#]+)\S* in .*? - "
    r"(?:(?P<none>HTTP error: )|Server returned non-2xx status code: (?P<status>\d{3}))"
)
"""obstore's own words, before any of the server's: that there was no answer, or the status of one that it does not like."""

NO_TUNNEL = "it was not connected to"
"""What is said where a proxy that was reached makes no connection."""


def unanswered(text: str, *, seconds: float | None = None, connect_seconds: float | None = None) -> str | None:
    """Why a request got no answer; `None` if it got one, or if the cause cannot be told.

    `seconds` is how long a request may take, `connect_seconds` how long a connection may: where that is known, it is said.
    """
    request = _REQUEST.search(text)
    if request is None or request["none"] is None:
        return None
    source = text[request.end() :]
    connecting = _CONNECTING.search(source) is not None
    if _TUNNEL.search(source):
        return NO_TUNNEL
    if "dns error" in source:
        found = _DNS.search(source)
        return unknown_name(found.group(1) if found else "")
    if _TIMED_OUT.search(source):
        limit = connect_seconds if connecting else seconds
        within = f" within {limit:g} s" if limit is not None else " in time"
        return f"cannot connect{within}" if connecting else f"no answer{within}"
    if found := _SYSTEM.search(source):
        return f"cannot connect: {found.group(1)}" if connecting else f"it ended the connection: {found.group(1)}"
    return "it ended the connection without an answer" if _BROKEN_OFF.search(source) else None


def server_in(text: str, url: str) -> str:
    """Host and port of the request that obstore's text is of: those of `url`, the server, or of one that gives tokens."""
    request = _REQUEST.search(text)
    try:
        parts = URL(request["server"] if request else url)
        host, port = parts.host or "", parts.port
    except ValueError:  # no address of ours: it was not obstore that wrote this
        return server_in("", url)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def status_in(text: str) -> int | None:
    """The status of the answer that obstore's text is of; `None` if there was none, or it cannot be told."""
    request = _REQUEST.search(text)
    return int(request["status"]) if request and request["status"] else None


def unconnected(error: OSError) -> str:
    """The same of an error of Python's, met while a connection was made."""
    if isinstance(error, socket.gaierror):
        return unknown_name(error.strerror or "")
    if isinstance(error, TimeoutError):
        return "cannot connect in time"
    # asyncio says "Connect call failed", and the address
    return f"cannot connect: {os.strerror(error.errno) if error.errno else error}"


def unknown_name(why: str) -> str:
    """What is said of a host whose name cannot be looked up, with the resolver's words."""
    return f"cannot connect: its name cannot be resolved{f' ({why.strip()})' if why.strip() else ''}"
