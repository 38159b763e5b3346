"""The object-store transport: puts to S3, Azure Blob and their like through obstore (Rust's `object_store`)."""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore import exceptions as refused
from pydantic import Field

from logstream.destinations.base import ConnectionOptions, Step
from logstream.destinations.credentials import SharedConnections
from logstream.destinations.objects import ObjectDestination, ObjectOptions, Prefix, ReadError
from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Retry
from logstream.destinations.transport.network import Network
from logstream.destinations.transport.refusals import Refusal, is_denied, refusal_of, status_of, summary
from logstream.destinations.transport.secrets import Secrets
from logstream.destinations.transport.way import Way

Text = Annotated[str, Field(max_length=256, pattern=r"^[ -~]*$")]


StorageClass = str | None
STORAGE_CLASS: Any = Field(
    default=None,
    pattern=r"^[A-Za-z_]{1,40}$",
    description="The storage class or access tier of the objects.",
    examples=["STANDARD_IA"],
)
Metadata = dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")], Text]
METADATA: Any = Field(
    default={}, max_length=20, description="User metadata of every object.", examples=[{"team": "audit"}]
)
Tags = dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9 +=._:/@-]{1,128}$")], Text]
TAGS: Any = Field(
    default={}, max_length=10, description="Tags of every object (not at Google).", examples=[{"retention": "7y"}]
)


class StoreOptions(ObjectOptions, ConnectionOptions):
    """Options of all object stores."""

    prefix: Prefix = Field(default="")
    storage_class: StorageClass = STORAGE_CLASS
    metadata: Metadata = METADATA
    tags: Tags = TAGS


O = TypeVar("O", bound=StoreOptions)  # noqa: E741 - the options


class ObjectStoreDestination(ObjectDestination[O]):
    """A destination in an object store. A vendor's class makes the client and puts refusals into words."""

    _store: Any = None
    _way: Way | None = None

    @abstractmethod
    def make_store(self) -> Any:
        """The obstore client. Runs in a thread: getting credentials may block."""

    @property
    @abstractmethod
    def place(self) -> str:
        """The bucket or container, for messages."""

    @property
    def client_key(self) -> tuple[object, ...]:
        """What a client depends on: destinations with the same share one."""
        return self.options.connection, self.place

    def way(self, url: str, network: Network, *, chosen: bool) -> Way:
        """How the client reaches its server: `chosen`, if the connection names the address. `make_store` asks for it."""
        self._way = Way(url, network, chosen=chosen)
        self._way.keep_secret(self.secrets)
        return self._way

    def _shared_store(self) -> tuple[Any, Way | None, Secrets]:
        """The client, its way, and the secrets that are noted as it is given them."""
        if isinstance(self.connections, SharedConnections):
            return self.connections.client((self.type, *self.client_key), self._made)
        return self._made()

    def _made(self) -> tuple[Any, Way | None, Secrets]:
        return self.make_store(), self._way, self.secrets

    async def open(self) -> None:
        """Get credentials and make the client."""
        await super().open()
        self._store, self._way, self.secrets = await asyncio.to_thread(self._shared_store)
        self._attributes = dict(self.attributes)
        self._tags = dict(self.options.tags) or None

    @property
    def attributes(self) -> Mapping[str, str]:
        """Attributes every object gets."""
        attributes = {"Content-Type": self.content_type, **self.options.metadata}
        if self.options.storage_class:
            attributes["Storage-Class"] = self.options.storage_class
        return attributes

    def put_now(self, key: str, body: bytes, media_type: str | None = None) -> Outcome:
        """Put one object and read the answer."""
        attributes = self._attributes if media_type is None else {**self._attributes, "Content-Type": media_type}
        try:
            obstore.put(self._store, key, body, attributes=attributes, tags=self._tags, use_multipart=False)
        except Exception as error:
            return self.read_error(error)
        return Delivered()

    def create_now(self, key: str, body: bytes, media_type: str | None = None) -> Outcome:
        """Put one object where none is (`If-None-Match: *` and its like, where the server knows that)."""
        attributes = self._attributes if media_type is None else {**self._attributes, "Content-Type": media_type}
        try:
            obstore.put(
                self._store, key, body, attributes=attributes, tags=self._tags, use_multipart=False, mode="create"
            )
        except Exception as error:
            if refusal_of(error).code not in {*self.causes, *self.passing} and _is_taken(error):
                return GiveUp(f"there is an object {key} already")
            if isinstance(error, refused.NotSupportedError | NotImplementedError) or status_of(error) == 501:
                return self.put_now(key, body, media_type)
            return self.read_error(error)
        return Delivered()

    causes: ClassVar[Mapping[str, str]] = {}
    """The vendor's codes of refusals that trying again cannot help, and what to do. `{place}`, `{where}` and `{name}` stand for
    the bucket, the connection and the destination."""

    passing: ClassVar[Mapping[str, str]] = {}
    """The vendor's codes of refusals that pass, and what they mean."""

    @abstractmethod
    def remedy(self, refusal: Refusal) -> str | None:
        """What to do about a refusal for which `causes` has no words; `None` if it may pass."""

    def read_error(self, error: Exception) -> Outcome:
        """What a failed put means: the way to the server first, then the vendor's code, its words, the status."""
        trouble = self._trouble(error)
        if trouble is not None:
            return GiveUp(trouble)
        found = refusal_of(error)
        if found.code in self.passing:
            return Retry(f"{self.passing[found.code]} ({found.words})")
        remedy = self.causes.get(found.code)
        if remedy is not None:
            remedy = remedy.format(place=self.place, where=f"connection `{self.options.connection}`", name=self.name)
            return GiveUp(f"{remedy} ({found.words})")
        remedy = self.remedy(found)
        if remedy is not None:
            return GiveUp(remedy)
        if found.permanent:
            return GiveUp(f"{self.place} refuses the request, and would again: {summary(error)}")
        return Retry(summary(error))

    def _trouble(self, error: Exception) -> str | None:
        return self._way.trouble(error) if self._way is not None else None

    async def get(self, key: str) -> bytes:
        """Read one object."""
        try:
            found = await obstore.get_async(self._store, key)
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            raise
        except Exception as error:
            raise self._unreadable(error) from None

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """The keys below a prefix, a page at a time."""
        try:
            async for page in obstore.list(self._store, prefix or None):
                for item in page:
                    yield item["path"]
        except Exception as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> ReadError:
        denied = f"grant this connection the right to read and list {self.place}" if is_denied(error) else None
        remedy = self._trouble(error) or denied or summary(error)
        return ReadError(f"{self.place} cannot be read: {remedy}")

    async def delete(self, key: str) -> None:
        """Remove an object."""
        await obstore.delete_async(self._store, key)

    async def check(self) -> AsyncIterator[Step]:
        """The bucket exists, and may be written to."""
        try:
            await obstore.head_async(self._store, f"{self.prefix}_logstream_check/none")
        except FileNotFoundError as error:
            if self.missing(error):
                yield Step(f"{self.place} exists", False, "", self.read_error(error).reason)  # type: ignore[union-attr]
                return
        except Exception as error:
            trouble = self._trouble(error)
            if trouble is not None:
                yield Step(f"{self.place} can be reached", False, "", trouble)
                return
            outcome = self.read_error(error)
            if isinstance(outcome, GiveUp) and not isinstance(error, refused.PermissionDeniedError):
                yield Step(f"{self.place} can be reached", False, summary(error), outcome.reason)
                return
        async for step in self.check_writing(f"Grant this connection the right to write to {self.place}"):
            yield step

    def missing(self, error: Exception) -> bool:
        """Whether an error says that the bucket, not the object, is not there."""
        return bool(re.search(r"NoSuchBucket|ContainerNotFound|bucket does not exist", str(error)))


def origin(url: str) -> str:
    """A server's address in one form: equal for URLs that name the same one."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{(parts.hostname or '').rstrip('.')}:{port}{parts.path.rstrip('/')}"


def _is_taken(error: Exception) -> bool:
    """Whether a put was refused because there is an object: 409 or 412, by the vendor."""
    return isinstance(error, refused.AlreadyExistsError | refused.PreconditionError)
