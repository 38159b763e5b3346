"""What was delivered, object by object and request by request: kept with each checkpoint, listed in the manifest.

A line of NDJSON each: `{"name", "bytes", "sha256", "events", "ids"}`, as `Part` has them.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator

import msgspec
import zstandard

from logstream.destinations.parcel import Part

LISTING_BYTES = 256 * 1024 * 1024
"""More than the lines of a listing ever have: its 50,000 names take some 1 kB each at the most."""


BESIDE_BYTES = 64 * 1024 * 1024
"""More than a file beside the data ever has: a manifest, its signature, a listing as it is put."""


class NoListing(ValueError):
    """What is where a listing should be is none: why, in words."""


def lines_beside(body: bytes) -> bytes:
    """The lines of a listing, from its file. Raises `NoListing`.

    The store is the customer's: a file of a few MB may be made that becomes many GB when it is unpacked.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            lines = file.read(LISTING_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise NoListing("it is no gzip") from None
    if len(lines) > LISTING_BYTES:
        raise NoListing("it is longer than any listing")
    return lines


class _Line(msgspec.Struct):
    name: str
    bytes: int
    sha256: str
    events: int
    ids: str


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)


def lines_of(parts: Iterable[Part]) -> bytes:
    """Parts as NDJSON."""
    return b"".join([_encoder.encode(_Line(*part)) + b"\n" for part in parts])


def parts_in(lines: bytes) -> Iterator[Part]:
    """Parts from NDJSON. Raises `msgspec.MsgspecError` for anything else."""
    for line in lines.splitlines():
        found = _decoder.decode(line)
        yield Part(found.name, found.bytes, found.sha256, found.events, found.ids)


def pack(parts: Iterable[Part]) -> bytes:
    """For the ledger."""
    return zstandard.compress(lines_of(parts), 3)


def unpack(entries: bytes) -> Iterator[Part]:
    """From the ledger."""
    return parts_in(zstandard.decompress(entries))
