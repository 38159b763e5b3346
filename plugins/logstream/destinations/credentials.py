"""Credentials as plain data: what the hooks make of Airflow connections, and destinations use. Never printed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol, TypeVar

from logstream.destinations.transport.network import Network


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """For S3: a provider of (renewed) keys, and where the service is."""

    provider: Callable[[], Mapping[str, Any]] = field(repr=False)
    """Returns `access_key_id`, `secret_access_key`, `token`, `expires_at` (as obstore takes them)."""
    region: str | None = None
    endpoint: str | None = None
    virtual_hosts: bool = False
    """Whether the bucket is part of the host name, not of the path."""
    anonymous: bool = False
    network: Network = field(default_factory=Network)


@dataclass(frozen=True, slots=True)
class AzureBlobCredentials:
    """For Azure Blob: the account's address and one of a key, a SAS query or a provider of tokens."""

    account_url: str
    account_name: str
    account_key: str | None = field(default=None, repr=False)
    sas: str | None = field(default=None, repr=False)
    token_provider: Callable[[], Mapping[str, Any]] | None = field(default=None, repr=False)
    network: Network = field(default_factory=Network)


@dataclass(frozen=True, slots=True)
class HttpCredentials:
    """For HTTP: the base address (which may itself be a secret), basic auth and headers."""

    base_url: str = field(repr=False)
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    signing_secret: str | None = field(default=None, repr=False)
    """Of signed webhooks: `whsec_` and base64, as the Standard Webhooks specification has it."""
    client_certificate: str | None = field(default=None, repr=False)
    """Of mutual TLS: certificate chain and private key, PEM."""
    network: Network = field(default_factory=Network)


@dataclass(frozen=True, slots=True)
class GcsCredentials:
    """For Google Cloud Storage: a service account's key (its JSON), or the environment's own credentials."""

    key: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    anonymous: bool = False
    network: Network = field(default_factory=Network)


class Connections(Protocol):
    """Gives credentials by the id of an Airflow connection.

    Every method raises `ConnectionNotFound` naming the connection, and what is missing in it.
    """

    def aws(self, connection: str) -> AwsCredentials:
        """From a connection of type `aws`."""

    def azure_blob(self, connection: str) -> AzureBlobCredentials:
        """From a connection of type `wasb`."""

    def http(self, connection: str, default_url: str | None = None) -> HttpCredentials:
        """From a connection of type `http`. `default_url` is the base where the connection names no host."""

    def gcs(self, connection: str) -> GcsCredentials:
        """From a connection of type `google_cloud_platform`."""

    def azure_token(self, connection: str) -> Callable[[str], str]:
        """From a connection of type `azure`: a function from a scope to a bearer token, renewed as needed."""


T = TypeVar("T")


class SharedConnections:
    """Connections that are read once a run, and clients made once, however many destinations use them. Thread-safe.

    Five hundred customers with prefixes in one bucket share one client; reading a connection and making a client take
    milliseconds each.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._lock = Lock()
        self._made: dict[Hashable, Future[Any]] = {}

    def client(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returned, or raised, for the first who asked by this key."""
        with self._lock:
            ours = key not in self._made
            future: Future[T] = self._made.setdefault(key, Future())
        if ours:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def has(self, key: Hashable) -> bool:
        """Whether `client` gives what it has for a key at once, without waiting for anything."""
        with self._lock:
            return key in self._made and self._made[key].done()

    def aws(self, connection: str) -> AwsCredentials:
        """See `Connections`."""
        return self.client(("aws", connection), lambda: self._connections.aws(connection))

    def azure_blob(self, connection: str) -> AzureBlobCredentials:
        """See `Connections`."""
        return self.client(("azure_blob", connection), lambda: self._connections.azure_blob(connection))

    def http(self, connection: str, default_url: str | None = None) -> HttpCredentials:
        """See `Connections`."""
        key = "http", connection, default_url
        return self.client(key, lambda: self._connections.http(connection, default_url))

    def gcs(self, connection: str) -> GcsCredentials:
        """See `Connections`."""
        return self.client(("gcs", connection), lambda: self._connections.gcs(connection))

    def azure_token(self, connection: str) -> Callable[[str], str]:
        """See `Connections`."""
        return self.client(("azure_token", connection), lambda: self._connections.azure_token(connection))
