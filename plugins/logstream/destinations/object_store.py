"""The object-store transport: puts to S3, Azure Blob and their like through obstore (Rust's `object_store`)."""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, ClassVar, NamedTuple, TypeVar

import obstore
from obstore import exceptions as refused

from logstream.destinations.base import Step
from logstream.destinations.credentials import SharedConnections
from logstream.destinations.object_options import StoreOptions
from logstream.destinations.objects import ObjectDestination, ReadError, TooLarge
from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Retry
from logstream.destinations.transport.network import Network
from logstream.destinations.transport.refusals import Refusal, is_denied, refusal_of, status_of, summary
from logstream.destinations.transport.secrets import Secrets
from logstream.destinations.transport.unanswered import unanswered
from logstream.destinations.transport.way import Way

BUCKET = "bucket"
"""The kind of container that S3 and Google have in common."""


@dataclass(slots=True)
class Trust:
    """Whether the server of a client has shown that it keeps what is put into it."""

    proven: bool = False
    lock: Lock = field(default_factory=Lock)


class Client(NamedTuple):
    """What destinations of one connection and container share."""

    store: Any
    way: Way | None
    secrets: Secrets
    """Those that are noted as the client is given them."""
    trust: Trust


O = TypeVar("O", bound=StoreOptions)  # noqa: E741 - the options


class ObjectStoreDestination(ObjectDestination[O]):
    """A destination in an object store. A vendor's class makes the client and puts refusals into words."""

    _store: Any = None
    _way: Way | None = None
    _trust: Trust

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

    def _shared_store(self) -> Client:
        """The client, which those of one connection and container share."""
        if isinstance(self.connections, SharedConnections):
            return self.connections.client(self._shared_key, self._made)
        return self._made()

    @property
    def _shared_key(self) -> tuple[object, ...]:
        return self.type, *self.client_key

    def _made(self) -> Client:
        return Client(self.make_store(), self._way, self.secrets, Trust())

    async def open(self) -> None:
        """Get credentials and make the client."""
        await super().open()
        if isinstance(self.connections, SharedConnections) and self.connections.has(self._shared_key):
            shared = self._shared_store()
        else:  # it may block
            shared = await asyncio.to_thread(self._shared_store)
        self._store, self._way, self.secrets, self._trust = shared
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
        try:
            self._put(key, body, media_type)
        except Exception as error:
            return self._believed(self.read_error(error), key, body)
        return self._believed(Delivered(), key, body)

    def create_now(self, key: str, body: bytes, media_type: str | None = None) -> Outcome:
        """Put one object where none is (`If-None-Match: *` and its like, where the server knows that)."""
        try:
            self._put(key, body, media_type, mode="create")
        except Exception as error:
            if refusal_of(error).code not in {*self.causes, *self.passing} and _is_taken(error):
                return GiveUp(f"there is an object {key} already")
            if isinstance(error, refused.NotSupportedError | NotImplementedError) or status_of(error) == 501:
                return self.put_now(key, body, media_type)
            return self._believed(self.read_error(error), key, body)
        return self._believed(Delivered(), key, body)

    def _put(self, key: str, body: bytes, media_type: str | None, **how: Any) -> None:
        attributes = self._attributes if media_type is None else {**self._attributes, "Content-Type": media_type}
        obstore.put(self._store, key, body, attributes=attributes, tags=self._tags, use_multipart=False, **how)

    def _believed(self, outcome: Outcome, key: str, body: bytes) -> Outcome:
        """A success, once the server is known to be a store: the first object of a client is read back.

        A login page, too, answers a put with status 200, and may send an `ETag`; it cannot give the object back.
        """
        if not isinstance(outcome, Delivered) or self._trust.proven:
            return outcome
        with self._trust.lock:
            doubt = None if self._trust.proven else self._doubt(key, body)
            self._trust.proven = doubt is None
        return outcome if doubt is None else doubt

    def _doubt(self, key: str, body: bytes) -> GiveUp | Retry | None:
        """Why an object that was put is not taken to be stored; `None` if it is there. Blocks."""
        try:
            found = asyncio.run(self.read(key, len(body)))
        except FileNotFoundError:
            what = "it is not there"
        except TooLarge:
            what = "other bytes come back"
        except Exception as error:
            trouble, refusal = self._trouble(error), refusal_of(error)
            if trouble is not None:
                return GiveUp(trouble)
            if refusal.code and refusal.code not in self.passing:
                # only a store refuses in these words: the connection may write alone, or the object is archived
                return None
            return Retry(f"an object that {self.place} took cannot be read back: {self._said(error)}")
        else:
            if found == body:
                return None
            what = "other bytes come back"
        where = f"{self._way.host}, " if self._way is not None else ""
        return GiveUp(
            f"{where}which connection `{self.options.connection}` leads to, answered that object {key} is stored in "
            f"{self.place}, but {what}: it is no object store (a login page or a proxy answers so); correct the address there"
        )

    causes: ClassVar[Mapping[str, str]] = {}
    """The vendor's codes of refusals that trying again cannot help, and what to do. `{place}`, `{where}` and `{name}` stand for
    the bucket, the connection and the destination."""

    passing: ClassVar[Mapping[str, str]] = {}
    """The vendor's codes of refusals that pass, and what they mean."""

    @abstractmethod
    def remedy(self, refusal: Refusal) -> str | None:
        """What to do about a refusal for which `causes` has no words; `None` if it may pass. May block."""

    def read_error(self, error: Exception) -> Outcome:
        """What a failed put means: the way to the server first, then the vendor's code, its words, the status.

        Blocks: a vendor may have to be asked.
        """
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
        if found.status is not None and 300 <= found.status < 400:
            return GiveUp(
                f"{self.place} answers with a redirect ({found.status}), which is not followed: correct the address, or the "
                f"region, of connection `{self.options.connection}`"
            )
        if found.permanent:
            return GiveUp(f"{self.place} refuses the request, and would again: {summary(error)}")
        return Retry(self._said(error))

    def _unanswered(self, error: Exception) -> str | None:
        """Why a request got no answer; `None` if it got one, or if that cannot be told."""
        return self._way.unanswered(error) if self._way is not None else unanswered(str(error))

    def _said(self, error: Exception) -> str:
        """An error in one line: why there was no answer, else what the store or the client says."""
        return self._unanswered(error) or summary(error)

    def _trouble(self, error: Exception) -> str | None:
        return self._way.trouble(error) if self._way is not None else None

    def absent_now(self, key: str) -> bool:
        """Whether the store says that it has no such object."""
        try:
            obstore.get(self._store, key)  # its body is not read
        except FileNotFoundError:
            return True
        except Exception:
            return False
        return False

    async def get(self, key: str) -> bytes:
        """Read one object."""
        return await self._get(key, None)

    async def get_within(self, key: str, most: int) -> bytes:
        """Read one object, if it has no more than so many bytes: the store says so before it sends any."""
        return await self._get(key, most)

    async def _get(self, key: str, most: int | None) -> bytes:
        try:
            return await self.read(key, most)
        except (FileNotFoundError, ReadError):
            raise
        except Exception as error:
            raise self._unreadable(error) from None

    async def read(self, key: str, most: int | None = None) -> bytes:
        """Read one object; errors are the client's own, but for `TooLarge`."""
        found = await obstore.get_async(self._store, key)
        if most is not None and found.meta["size"] > most:
            raise TooLarge(key, most)
        return bytes(await found.bytes_async())

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
        remedy = self._trouble(error) or denied or self._said(error)
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
                outcome = await asyncio.to_thread(self.read_error, error)
                yield Step(f"{self.place} exists", False, "", outcome.reason)  # type: ignore[union-attr]
                return
        except Exception as error:
            trouble = self._trouble(error)
            if trouble is not None:
                yield Step(f"{self.place} can be reached", False, "", trouble)
                return
            outcome = await asyncio.to_thread(self.read_error, error)
            if isinstance(outcome, GiveUp) and not isinstance(error, refused.PermissionDeniedError):
                yield Step(f"{self.place} can be reached", False, summary(error), outcome.reason)
                return
            why = self._unanswered(error)
            if isinstance(outcome, Retry) and (why is not None or _NO_ANSWER in str(error)):
                remedy = (
                    f"see that the address in connection `{self.options.connection}` is right (left out, the vendor's own), that "
                    "the server runs and takes requests, and that it can be reached from here: proxies, firewalls, DNS"
                )
                yield Step(f"{self.place} can be reached", False, why or summary(error), remedy)
                return
        async for step in self.check_writing(f"Grant this connection the right to write to {self.place}"):
            yield step

    def missing(self, error: Exception) -> bool:
        """Whether an error says that the bucket, not the object, is not there."""
        return bool(re.search(r"NoSuchBucket|ContainerNotFound|bucket does not exist", str(error)))


_NO_ANSWER = "HTTP error: "
"""What obstore writes where there was no answer; of one that it does not like it writes the status."""


def _is_taken(error: Exception) -> bool:
    """Whether a put was refused because there is an object: 409 or 412, by the vendor."""
    return isinstance(error, refused.AlreadyExistsError | refused.PreconditionError)
