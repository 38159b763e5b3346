"""Objects: what the object stores and the file destination share. How events become objects, and keys."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import ClassVar, TypeVar, final

from logstream.destinations.base import Destination, Limits, Step
from logstream.destinations.object_options import ObjectOptions, Packaging
from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Retry
from logstream.destinations.parcel import (
    Bundle,
    LaneRef,
    Packer,
    Parcel,
)
from logstream.destinations.transport import parquet
from logstream.destinations.transport.compression import MEDIA_TYPE, SUFFIX, Compression
from logstream.destinations.transport.keys import (
    check_key,
    manifest_pattern,
)
from logstream.destinations.transport.object_packing import BatchPacker, EventPacker
from logstream.destinations.transport.parquet import Codec, ParquetPacker
from logstream.destinations.transport.patterns import Pattern, pattern_of
from logstream.destinations.transport.secrets import LONGEST_REASON
from logstream.errors import DeliveryError, LogstreamError
from logstream.threads import SharedThreads, guarded
from logstream.tracebacks import words_of
from logstream.units import counted
from logstream.window import Window

MIB = 1024 * 1024

TROUBLES = 3
"""Puts of a bundle that may fail before the rest of it is left for later."""


class ReadError(DeliveryError):
    """Objects cannot be read back: why, and what to do."""


class TooLarge(ReadError):
    """An object has more bytes than it may have, and is not read."""

    def __init__(self, key: str, most: int) -> None:
        super().__init__(f"{key} has more than {counted(most, 'byte')}")


O = TypeVar("O", bound=ObjectOptions)  # noqa: E741 - the options


class ObjectDestination(Destination[O]):
    """A destination that keeps objects under deterministic keys; putting one again replaces it."""

    replaces = True
    _threads: SharedThreads | None = None

    @property
    def prefix(self) -> str:
        """What stands before every key."""
        return getattr(self.options, "prefix", "")

    @property
    def place(self) -> str:
        """What keys are in: the bucket, the container, the folder. Two destinations with equal ones share it."""
        return self.name

    def location(self, key: str) -> str:
        """Where the object of a key is: the same text for all destinations that mean the same object."""
        return f"{self.type} {self.place}/{key}"

    place_option: ClassVar[str] = "prefix"
    """The option that gives a destination a place of its own in `container`."""

    @property
    def container(self) -> tuple[str, str]:
        """What keys are in, on some server: two destinations write to one place only where this is equal."""
        return self.type, self.place

    @property
    def root(self) -> str:
        """The text before every key in `container`."""
        return self.prefix

    def server(self) -> str:
        """Whose `container` it is: an endpoint or an account. Blocks. Raises `InputError` where it cannot be told."""
        return ""

    def patterns(self) -> list[Pattern]:
        """Every key in `container` that it may ever write, those of manifests and of `check` included."""
        layout, suffix = self.options.layout, SUFFIX[self.options.compression]
        if self.options.packaging is Packaging.FILE:
            keys = [[*pieces, suffix] for pieces in layout.event_patterns(self.name)]
        else:
            ending = parquet.SUFFIX if self.options.packaging is Packaging.PARQUET else f".ndjson{suffix}"
            keys = [[*layout.batch_pattern(self.name), ending]]
        if self.options.manifests:
            keys.append(manifest_pattern(self.name))
        keys.append([check_key(self.name)])
        return [pattern_of([self.root, *pieces]) for pieces in keys]

    @property
    def limits(self) -> Limits:
        """Objects may be of any size we make; a put at a time is slow, so many at once."""
        return Limits(concurrency=32 if self.options.packaging is Packaging.FILE else 4)

    def packer(self, lane: LaneRef, part: int) -> Packer:
        """One object an event, or batches."""
        layout, compression = self.options.layout, self.options.compression
        if self.options.packaging is Packaging.FILE:
            return EventPacker(self.prefix, compression, lane, layout, self.limits.concurrency)
        size = self.options.object_mb * MIB if self.options.object_mb else None
        if self.options.packaging is Packaging.PARQUET:
            codec = Codec.GZIP if compression is Compression.GZIP else Codec.ZSTD
            return ParquetPacker(
                self.prefix, codec, lane, part, layout, columns=self.options.columns, object_bytes=size
            )
        return BatchPacker(self.prefix, compression, lane, part, layout, size)

    @property
    def needs_external_ids(self) -> bool:
        """Where the key template has them, or a column."""
        return self.options.packaging is Packaging.PARQUET or "{external_id}" in (self.options.key or "")

    def folder_of(self, window: Window) -> str:
        """The folder that holds a window's batches, for verification; with a template it may hold others', too."""
        folder = self.options.layout.batch_folder(self.name, window)
        return f"{self.prefix}{folder}/" if folder else self.prefix

    @property
    def content_type(self) -> str:
        """The media type of the objects; a compressed object is what its bytes are."""
        if self.options.packaging is Packaging.PARQUET:
            return parquet.MEDIA_TYPE
        plain = "application/json" if self.options.packaging is Packaging.FILE else "application/x-ndjson"
        return MEDIA_TYPE.get(self.options.compression, plain)

    @abstractmethod
    def put_now(self, key: str, body: bytes, media_type: str | None = None) -> Outcome:
        """The same, in a thread: blocks until the object is stored or refused."""

    def create_now(self, key: str, body: bytes, media_type: str | None = None) -> Outcome:
        """Put one object where none is; `GiveUp` where one is. A store that cannot tell puts it all the same."""
        return self.put_now(key, body, media_type)

    async def open(self) -> None:
        """Get a share of the threads that put."""
        self._threads = SharedThreads(self.limits.concurrency)

    async def close(self) -> None:
        """Give up what has not begun."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def put(self, key: str, body: bytes, media_type: str | None = None, *, new: bool = False) -> Outcome:
        """Store one object, replacing one of the same key. Never raises for what a store may do.

        `media_type` is given where it is not that of the destination's events. With `new`, see `create_now`.
        """
        put = self.create_now if new else self.put_now
        try:
            outcome = await asyncio.get_running_loop().run_in_executor(
                self._threads, guarded, put, key, body, media_type
            )
        except Exception as error:
            outcome = self._broke(error)
        return self.secrets.outcome(outcome)

    def absent_now(self, key: str) -> bool:
        """Whether it is known that nothing is at a key; false, too, where that is not to be told so. Blocks."""
        return False

    async def put_new(self, last: str, files: Callable[[], Iterable[tuple[str, bytes, str]]]) -> bool:
        """Whether each of some files is stored, where none was: looked for, made and stored in one turn of a thread.

        They are given as key, bytes and media type; nothing may be at the key of the `last` one before. Ends with the first
        that is not stored: `put` tells why.
        """

        def put() -> bool:
            return self.absent_now(last) and all(isinstance(self.create_now(*file), Delivered) for file in files())

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, guarded, put)
        except Exception:
            return False

    async def send(self, parcel: Parcel) -> Outcome:
        """Put the parcel's object, or its objects one after another."""
        if isinstance(parcel, Bundle):
            return await asyncio.get_running_loop().run_in_executor(self._threads, guarded, self._put_all, parcel)
        return await self.put(parcel.name, parcel.body)

    @property
    def sends_by_put_now(self) -> bool:
        """Whether its parcels are sent by `put_now`, and in no way of its own."""
        own = type(self)
        return own.send is ObjectDestination.send and own.put is ObjectDestination.put

    def send_now(self, parcel: Parcel) -> Outcome:
        """`deliver`, in a thread of the caller's, which puts for many destinations: blocks, and never raises."""
        try:
            outcome = self._put_all(parcel) if isinstance(parcel, Bundle) else self.put_now(parcel.name, parcel.body)
        except BaseException as error:
            outcome = self._broke(error)
        return self.secrets.outcome(outcome)

    def _broke(self, error: BaseException) -> Retry:
        return Retry(f"sending to {self.name} broke: {type(error).__name__}: {words_of(error)}")

    def _put_all(self, bundle: Bundle) -> Outcome:
        failed: list[int] = []
        trouble: Retry | None = None
        for index, (key, body) in enumerate(bundle.objects):
            if len(failed) >= TROUBLES:
                failed.append(index)  # the store is in trouble: what is left comes later
                continue
            outcome = self.put_now(key, body)
            if isinstance(outcome, Retry):
                failed.append(index)
                trouble = outcome
            elif not isinstance(outcome, Delivered):
                return outcome
        return Delivered() if trouble is None else Retry(trouble.reason, trouble.after, tuple(failed))

    def subset(self, parcel: Parcel, indexes: tuple[int, ...]) -> Parcel:
        """Some of a bundle's objects."""
        if not isinstance(parcel, Bundle):
            return super().subset(parcel, indexes)
        return replace(parcel, objects=[parcel.objects[index] for index in indexes])

    @final
    async def fetch(self, key: str, most: int | None = None) -> bytes:
        """`get`, or `get_within` so many bytes, whose errors hold no secrets."""
        try:
            return await (self.get(key) if most is None else self.get_within(key, most))
        except FileNotFoundError:
            raise FileNotFoundError(key) from None
        except TooLarge:
            raise
        except Exception as error:
            raise self._no_secrets(error) from None

    @final
    async def listed(self, prefix: str) -> AsyncIterator[str]:
        """`keys`, whose errors hold no secrets."""
        try:
            async for key in self.keys(prefix):
                yield key
        except Exception as error:
            raise self._no_secrets(error) from None

    def _no_secrets(self, error: Exception) -> ReadError:
        broke = f"reading from {self.name} broke: {type(error).__name__}: {words_of(error)}"
        text = str(error) if isinstance(error, LogstreamError) else broke
        return ReadError(self.secrets.excerpt(text, LONGEST_REASON))

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove one object: what `check` made, or what a newer export has replaced under another name."""

    @abstractmethod
    async def get(self, key: str) -> bytes:
        """Read one object, for verification. Raises `FileNotFoundError` if it is not there, `ReadError` if it cannot be told."""

    async def get_within(self, key: str, most: int) -> bytes:
        """`get` for an object of at most so many bytes. Raises `TooLarge`.

        The place is the customer's, and what lies there may be larger than memory. A store that can tell sizes, or read a
        part, overrides this and reads no more than it is asked for.
        """
        body = await self.get(key)
        if len(body) > most:
            raise TooLarge(key, most)
        return body

    @abstractmethod
    def keys(self, prefix: str) -> AsyncIterator[str]:
        """The keys that begin with a prefix (a whole number of parts), for verification. Raises `ReadError`."""

    async def check_writing(self, remedy: str) -> AsyncIterator[Step]:
        """The last steps of every check: a small object is written, manifests are looked for, and the object is removed again."""
        key = f"{self.prefix}{check_key(self.name)}"
        outcome = await self.put(key, b"{}")
        if not isinstance(outcome, Delivered):
            if isinstance(outcome, GiveUp):  # its reason says what to do
                yield Step("may write", False, "", outcome.reason)
            else:
                yield Step("may write", False, getattr(outcome, "reason", ""), remedy)
            return
        yield Step("may write", True, key)
        if self.options.manifests:
            yield await self._check_looking(f"{key}.none")
        try:
            await self.delete(key)
        except Exception as error:  # being unable to delete is no fault: exports never do
            yield Step("test object removed", True, f"it stays: {type(error).__name__}")
        else:
            yield Step("test object removed", True)

    async def _check_looking(self, key: str) -> Step:
        """A manifest is put where nothing is, so the store must say that there is nothing: without the right it denies access."""
        name = "may look for manifests"
        try:
            await self.get_within(key, 1)
        except (FileNotFoundError, TooLarge):
            return Step(name, True)
        except ReadError as error:
            return Step(name, False, "", f"{error}, or set `manifests: false`")
        return Step(name, True)
