"""What receivers answer: read up to a limit, and unpacked where they packed it, whether or not they were asked to."""

from __future__ import annotations

import email.utils
import re
import zlib
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson
import zstandard

from logstream import clock

MAX_ANSWER_BYTES = 64 * 1024
EVENT_ANSWER_BYTES = 4 * 1024
"""More of an answer than the first, and the second for each event sent, is not read: receivers are not trusted either. A bulk
API answers with a status for each event, so what it may say grows with what it was sent."""

ACCEPTED_ENCODINGS = "gzip, deflate"


_TAG = re.compile(rb"<(?:!doctype\s+html|html|head|meta|title|script|body)\b", re.IGNORECASE)


_MARKUP = re.compile(rb"<[a-z!/?]", re.IGNORECASE)

_HTML = ("text/html", "application/xhtml+xml")


def says_html(headers: Mapping[str, str]) -> bool:
    """Whether an answer calls itself HTML."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower() in _HTML


def is_page(answer: bytes, *, html: bool = False) -> bool:
    """Whether an answer is a page of HTML: no vendor's words, but those of a login wall or of another server.

    `html`: it says so itself; then any markup makes a page of it.
    """
    # without marks of order and the zeros of UTF-16; markup of other kinds (`<ok/>`, SOAP) is a receiver's own affair
    text = answer.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n\f\v")
    if html:
        return _MARKUP.search(text) is not None
    return text.startswith(b"<") and _TAG.search(text[:8192]) is not None


def names_no_error(answer: bytes, *errors: str) -> bool:
    """Whether an answer says nothing at all, or is an object in which none of these members tells of an error."""
    text = answer.strip()
    found = object_in(text)
    return text in (b"", b"{}") or (bool(found) and not any(found.get(name) for name in errors))


async def read_answer(response: aiohttp.ClientResponse, events: int) -> bytes | None:
    """The answer to a request of so many events, unpacked, or its beginning where it is longer than can be meant; `None` where
    it cannot be unpacked.

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


def unpacked(answer: bytes, encoding: str, most: int) -> bytes | None:
    """The beginning of an answer without its compressions, the last one first; `None` where it cannot be unpacked.

    A text that is not packed as it says is returned as it is. At most `most` bytes come out: a small answer may unpack to
    gigabytes.
    """
    for name in reversed(encoding.lower().split(",")):
        try:
            answer = _without(name.strip(), answer, most)
        except (zlib.error, zstandard.ZstdError, LookupError):
            return answer if _is_text(answer) else None
    return answer[:most]


def _without(encoding: str, answer: bytes, most: int) -> bytes:
    """Without one compression. Raises `LookupError` for one that is not known here."""
    match encoding:
        case "" | "identity":
            return answer
        case "gzip" | "x-gzip":
            return _gunzipped(answer, most)
        case "deflate":
            # some servers send it without its header
            bits = 15 if answer[:1] and answer[0] & 0x0F == 8 else -15
            return zlib.decompressobj(wbits=bits).decompress(answer, most)
        case "zstd":
            return zstandard.ZstdDecompressor().stream_reader(answer, read_across_frames=True).read(most)
    raise LookupError(encoding)


def _gunzipped(answer: bytes, most: int) -> bytes:
    """All members of a gzip file (RFC 1952, section 2.2), the empty ones included."""
    found, is_whole = b"", len(answer) < most
    while answer and len(found) < most:
        member = zlib.decompressobj(wbits=31)
        found += member.decompress(answer, most - len(found))
        answer = member.unused_data
        if is_whole and not member.eof and len(found) < most:
            raise zlib.error("its end is missing")
    return found


def _is_text(answer: bytes) -> bool:
    try:
        text = answer.decode()
    except UnicodeDecodeError:
        return False
    return all(sign.isprintable() or sign.isspace() for sign in text)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from a `Retry-After` header (seconds or a date), `None` without a usable one."""
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - clock.time_ns() / 1e9) if text else None
    except (ValueError, TypeError):
        return None
