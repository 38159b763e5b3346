"""What receivers answer: read up to a limit, and unpacked where they packed it, whether or not they were asked to."""

from __future__ import annotations

import re
import zlib
from typing import Any

import aiohttp
import orjson
import zstandard

MAX_ANSWER_BYTES = 64 * 1024
EVENT_ANSWER_BYTES = 4 * 1024
"""More of an answer than the first, and the second for each event sent, is not read: receivers are not trusted either. A bulk
API answers with a status for each event, so what it may say grows with what it was sent."""

ACCEPTED_ENCODINGS = "gzip, deflate"


_TAG = re.compile(rb"<(?:!doctype\s+html|html|head|meta|title|script|body)\b", re.IGNORECASE)


def is_page(answer: bytes) -> bool:
    """Whether an answer is a page of HTML: no vendor's words, but those of a login wall or of another server."""
    # without marks of order and the zeros of UTF-16; markup of other kinds (`<ok/>`, SOAP) is a receiver's own affair
    text = answer.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n\f\v")
    return text.startswith(b"<") and _TAG.search(text[:8192]) is not None


async def read_answer(response: aiohttp.ClientResponse, events: int) -> bytes:
    """The answer to a request of so many events, unpacked, or its beginning where it is longer than can be meant.

    The rest is read only where that lets the connection be used again.
    """
    most = MAX_ANSWER_BYTES + EVENT_ANSWER_BYTES * events
    answer = await response.content.read(most)
    while not response.content.at_eof() and len(answer) < most:
        more = await response.content.read(most - len(answer))
        if not more:
            break
        answer += more
    if not response.content.at_eof():
        response.close()
    return unpacked(answer, response.headers.get("Content-Encoding", ""), most)


def object_in(answer: bytes) -> dict[str, Any]:
    """The JSON object that an answer is; empty where it is none, however it is none."""
    try:
        found = orjson.loads(answer)
    except ValueError:  # what is nested too deeply included
        return {}
    return found if isinstance(found, dict) else {}


def unpacked(answer: bytes, encoding: str, most: int) -> bytes:
    """The beginning of an answer without its compression; what is not packed as it says is returned as it is.

    At most `most` bytes come out: a small answer may unpack to gigabytes.
    """
    try:
        match encoding.strip().lower():
            case "gzip" | "x-gzip":
                return zlib.decompressobj(wbits=31).decompress(answer, most)
            case "deflate":
                # some servers send it without its header
                bits = 15 if answer[:1] and answer[0] & 0x0F == 8 else -15
                return zlib.decompressobj(wbits=bits).decompress(answer, most)
            case "zstd":
                return zstandard.ZstdDecompressor().stream_reader(answer).read(most)
            case _:
                return answer
    except (zlib.error, zstandard.ZstdError):
        return answer
