"""Compression: gzip by igzip, or zstandard. The same input gives the same bytes, however it comes in."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import zstandard
from isal import isal_zlib

BLOCK = 1 << 18
"""Input is fed in blocks of exactly this many bytes: igzip's output depends on where its input is cut."""


class Compression(StrEnum):
    """The choices of the `compression` option."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


SUFFIX = {Compression.NONE: "", Compression.GZIP: ".gz", Compression.ZSTD: ".zst"}
MEDIA_TYPE = {Compression.GZIP: "application/gzip", Compression.ZSTD: "application/zstd"}


class _Compressor(Protocol):
    def compress(self, data: bytes | memoryview) -> bytes: ...

    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes | memoryview) -> bytes:
        return bytes(data)

    def flush(self) -> bytes:
        return b""


_NEW: dict[Compression, Callable[[], _Compressor]] = {
    Compression.NONE: _Plain,
    # wbits 31: a gzip header, with no time in it
    Compression.GZIP: lambda: isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31),
    Compression.ZSTD: lambda: zstandard.ZstdCompressor(level=3).compressobj(),
}


class Stream:
    """Compresses one object piece by piece. Releases the interpreter lock while it does.

    Up to the first whole block it holds no compressor: those have buffers of their own, and thousands of small objects may grow
    at once.
    """

    def __init__(self, compression: Compression) -> None:
        self._compression = compression
        self._compressor: _Compressor | None = None
        self._pending = bytearray()
        self._done: list[bytes] = []

    def write(self, data: bytes | memoryview) -> None:
        """Add input. It is copied or compressed when this returns."""
        view = memoryview(data)
        start = 0
        if self._pending:
            start = min(BLOCK - len(self._pending), len(view))
            self._pending += view[:start]
            if len(self._pending) < BLOCK:
                return
            self._compress(bytes(self._pending))
            self._pending = bytearray()
        while len(view) - start >= BLOCK:
            self._compress(view[start : start + BLOCK])
            start += BLOCK
        self._pending += view[start:]

    def _compress(self, block: bytes | memoryview) -> None:
        if self._compressor is None:
            self._compressor = _NEW[self._compression]()
        self._done.append(self._compressor.compress(block))

    def finish(self) -> bytes:
        """End the object; return all of its bytes."""
        self._compress(bytes(self._pending))
        assert self._compressor is not None  # noqa: S101 - made just now
        self._done.append(self._compressor.flush())
        return b"".join(self._done)


def compress(data: bytes, compression: Compression) -> bytes:
    """Compress one small text."""
    if compression is Compression.NONE:
        return data
    stream = Stream(compression)
    stream.write(data)
    return stream.finish()
