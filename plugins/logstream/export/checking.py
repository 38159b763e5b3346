"""Trying every destination out, so that an expired credential is found before it fails a window."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping

from logstream.destinations.credentials import Connections, SharedConnections
from logstream.destinations.registry import make_destination
from logstream.errors import LogstreamError
from logstream.settings.models import DestinationSettings
from logstream.threads import LeftBehindThreads, is_from_outside, within

log = logging.getLogger("logstream")

CHECK_SECONDS = 60.0
"""How long the check of one destination may take."""

AT_ONCE = 16
"""So many are tried out at a time: 1,000 of which each takes its whole time are an hour."""


def check_all(
    destinations: Mapping[str, DestinationSettings], connections: Connections, held: Collection[str] = ()
) -> dict[str, str | None]:
    """Check destinations, each for `CHECK_SECONDS` at the most; say of each the first step that failed, `None` if none did.

    One that is `held` gets nothing, not even a test event, and is left out. Whatever goes wrong with one is that one's result.
    """
    names = [name for name in destinations if name not in held]
    shared = SharedConnections(connections)

    async def run() -> list[str | None]:
        # a hook that hangs keeps its thread, and all destinations of its connection wait for it in theirs: the others find one
        threads = LeftBehindThreads(2 * len(names) + AT_ONCE, "logstream check")
        asyncio.get_running_loop().set_default_executor(threads)
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> str | None:
            async with turns:
                return await _check(name, destinations[name], shared)

        return await asyncio.gather(*map(one, names))

    return dict(zip(names, asyncio.run(run()), strict=True))


async def _check(name: str, settings: DestinationSettings, connections: Connections) -> str | None:
    async def steps() -> str | None:
        destination = await asyncio.to_thread(make_destination, name, settings, connections)
        async for step in destination.run_check():
            if not step.ok:
                return str(step)
        return None

    try:
        return await within(CHECK_SECONDS, steps())
    except TimeoutError:
        return f"the check did not end within {CHECK_SECONDS:.0f} s"
    except LogstreamError as error:
        return str(error)
    except BaseException as error:
        if is_from_outside(error):
            raise
        # a plug-in may raise anything, and its words may hold what it was given
        log.warning("the check of destination %s broke off (%s)", name, type(error).__name__)
        return f"the check broke off ({type(error).__name__}): the destination's plug-in is at fault"
