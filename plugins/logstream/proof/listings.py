"""What was delivered, object by object and request by request: kept with each checkpoint, listed in the manifest.

A line of NDJSON each: `{"name", "bytes", "sha256", "events", "ids"}`, as `Part` has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import zstandard

from logstream.destinations.parcel import Part


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
