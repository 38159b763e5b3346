"""Addresses put together: a base that may hold a query, and what comes behind it."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def joined(base: str, path: str, query: str = "") -> str:
    """A base URL with a path behind its own; its query stays, and what `path` and `query` ask for comes after it.

    `https://host/api?code=x` and `/ingest?v=2` are `https://host/api/ingest?code=x&v=2`.
    """
    parts = urlsplit(base)
    path, _, asked = path.partition("?")
    whole = f"{parts.path.rstrip('/')}/{path.lstrip('/')}" if path.strip("/") else parts.path
    queries = "&".join(text for text in (parts.query, asked, query) if text)
    return urlunsplit((parts.scheme, parts.netloc, whole, queries, ""))


def at_endpoint(base: str, endpoint: str, query: str = "") -> str:
    """A base URL with a vendor's endpoint behind it, unless it ends with that already."""
    if urlsplit(base).path.rstrip("/").endswith(endpoint):
        return joined(base, "", query)
    return joined(base, endpoint, query)
