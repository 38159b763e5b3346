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


COMPRESSOR_BYTES = {Compression.NONE: 0, Compression.GZIP: 300 * 1024, Compression.ZSTD: 4 * 1024 * 1024}
"""What a compressor takes once it has begun: igzip's tables (measured), zstandard's window and tables at level 3, at the most."""

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
    """Compresses one object piece by piece. Releases the interpreter lock while it does."""

    def __init__(self, compression: Compression) -> None:
        self._compression = compression
        self._compressor: _Compressor | None = None
        """Made for the first whole block: thousands of objects are begun at once that have less."""
        self._pending: list[bytes] = []
        self._size = 0
        self._done: list[bytes] = []
        self._made = 0

    @property
    def held(self) -> int:
        """About how many bytes it holds."""
        begun = COMPRESSOR_BYTES[self._compression] if self._compressor is not None else 0
        return self._size + self._made + begun

    def write(self, data: bytes) -> None:
        """Add input."""
        self._pending.append(data)
        self._size += len(data)
        if self._size < BLOCK:
            return
        together = memoryview(b"".join(self._pending) if len(self._pending) > 1 else data)
        whole, compressor = self._size // BLOCK * BLOCK, self._begun()
        for start in range(0, whole, BLOCK):
            done = compressor.compress(together[start : start + BLOCK])
            self._done.append(done)
            self._made += len(done)
        self._pending = [bytes(together[whole:])]
        self._size -= whole

    def finish(self) -> bytes:
        """End the object; return all of its bytes."""
        compressor = self._begun()
        self._done += [compressor.compress(b"".join(self._pending)), compressor.flush()]
        return b"".join(self._done)

    def _begun(self) -> _Compressor:
        if self._compressor is None:
            self._compressor = _NEW[self._compression]()
        return self._compressor


def compress(data: bytes, compression: Compression) -> bytes:
    """Compress one small text."""
    if compression is Compression.NONE:
        return data
    stream = Stream(compression)
    stream.write(data)
    return stream.finish()
