"""In which region an S3 bucket is, asked of the server itself.

obstore gives neither body nor headers of an answer 301 (S3's `PermanentRedirect`), in which S3 names the region. S3 names it in a
header of every answer to `HEAD` on the bucket, too, without asking for a signature:
https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
"""

from __future__ import annotations

import asyncio
import re

import aiohttp

from logstream.destinations.transport.network import Network
from logstream.destinations.transport.session import reach
from logstream.errors import LogstreamError

SECONDS = 10.0
_REGION = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+){1,5}")
_LONGEST = 40


async def bucket_region(url: str, network: Network) -> str:
    """The region of the bucket that a URL names; empty where the server names none, or cannot be asked.

    The request is not signed, and goes by the connection's proxy and certificates to an address that is judged.
    """
    try:
        way = (await asyncio.to_thread(reach, url, network))._replace(timeout=SECONDS)
        async with (
            way.session({"User-Agent": "logstream"}) as session,
            session.head(url, allow_redirects=False) as answer,
        ):
            named = answer.headers.get("x-amz-bucket-region", "")
    except (LogstreamError, aiohttp.ClientError, OSError, ValueError):  # the refusal is told all the same
        return ""
    return named if len(named) <= _LONGEST and _REGION.fullmatch(named) else ""
