"""The places that events are read from and written to, by the names under which lineage tools know them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class DataSet:
    """A table, a folder of objects, an index of a receiver: named by OpenLineage's rules, so that it meets the same data set of
    other jobs. Neither part holds a secret.

    https://openlineage.io/docs/spec/naming
    """

    namespace: str
    """The server, bucket or container, as `postgres://db.example:5432` or `s3://audit`."""
    name: str
    """What it is called there, as `events.public.events` or `logs/acme`. Never empty."""


def of_table(host: str, port: int, database: str, schema: str, table: str) -> DataSet:
    """A table of PostgreSQL. A socket's folder, or no host at all, is this machine."""
    host = "localhost" if not host or host.startswith("/") else host
    return DataSet(f"postgres://{f'[{host}]' if ':' in host else host}:{port}", f"{database}.{schema}.{table}")


def of_objects(namespace: str, prefix: str) -> DataSet:
    """What lies under a prefix of a bucket or container; without one, all of it."""
    return DataSet(namespace, prefix.strip("/") or "/")


def of_requests(url: str, name: str) -> DataSet:
    """What a receiver keeps under a name. Of its address only scheme, host and port: the rest may be a secret."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return DataSet(f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}", name)
