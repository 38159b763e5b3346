"""Reading what blocks without holding up what does not."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

T = TypeVar("T")


async def aside(items: Iterator[T]) -> AsyncIterator[T]:
    """Iterate over what blocks, some hundreds at a time in a thread."""
    while some := await asyncio.to_thread(lambda: list(itertools.islice(items, 512))):
        for item in some:
            yield item
