"""Reading what blocks without holding up what does not."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

T = TypeVar("T")


AT_ONCE = 512


async def aside(items: Iterator[T]) -> AsyncIterator[T]:
    """Iterate over what blocks, some hundreds at a time in a thread. A few are one turn of it."""
    more = True
    while more:
        some = await asyncio.to_thread(lambda: list(itertools.islice(items, AT_ONCE)))
        for item in some:
            yield item
        more = len(some) == AT_ONCE
