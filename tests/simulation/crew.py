"""Several processes let worlds happen side by side, each in a universe of its own over one PostgreSQL."""

from __future__ import annotations

import gc
import multiprocessing
import os
import queue
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from logstream.testing.statements import share_statements
from tests.simulation.author import script_of
from tests.simulation.script import Script
from tests.simulation.shrink import Shrinker, story
from tests.simulation.universe import Universe, server, universe
from tests.simulation.world import live

LOOK_SECONDS = 1.0
"""How often to look whether a process has died."""


@dataclass(frozen=True, slots=True)
class Order:
    """Which worlds are wanted. Of a bad one up to `shrink` smaller ones happen, to cut it down."""

    windows: int | None = None
    workspaces: int | None = None
    wire: bool = True
    shrink: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """What a world came to. `told` is its story, if it was bad and cut down, and `wrong_in_the_end` what is wrong in that."""

    seed: int
    wrong: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    wrong_in_the_end: tuple[str, ...] = ()


def worlds(seeds: Iterable[int], order: Order, jobs: int, dsn: str | None = None) -> Iterator[Found]:
    """Let the worlds of some seeds happen, as many at once as there are `jobs`; gives each when it has been judged.

    `dsn` is that of a `server` for worlds, if one is there already. A world that breaks is a bad one. To stop early, close the iterator. Raises `RuntimeError` when a process dies.
    """
    processes = multiprocessing.get_context("fork")  # before anything here has a thread
    todo, done = processes.Queue(), processes.Queue()
    left = 0
    for seed in seeds:
        todo.put(seed)
        left += 1
    with server() if dsn is None else nullcontext(dsn) as place:
        crew = [processes.Process(target=_work, args=(place, order, todo, done), daemon=True) for _ in range(jobs)]
        for process in crew:
            process.start()
        try:
            while left:
                with suppress(queue.Empty):
                    yield done.get(timeout=LOOK_SECONDS)
                    left -= 1
                    continue
                if any(process.exitcode is not None for process in crew):
                    raise RuntimeError("a process that lets worlds happen has died")
        finally:
            for process in crew:
                process.kill()
                process.join()


def _work(dsn: str, order: Order, todo: Any, done: Any) -> None:
    gc.freeze()  # what is imported stays: it need not be looked through again and again
    share_statements()
    with universe(dsn, wire=order.wire) as place:
        while True:
            done.put(happen(place, todo.get(), order))


def happen(place: Universe, seed: int, order: Order) -> Found:
    """Let one world happen. One that breaks is a bad one."""

    def judged(script: Script) -> list[str]:
        try:
            return live(place, script)
        except Exception as error:
            return [f"the world broke by {error!r}"]

    script = script_of(seed, windows=order.windows, workspaces=order.workspaces)
    wrong = judged(script)
    if not wrong or not order.shrink:
        return Found(seed, tuple(wrong))
    shrinker = Shrinker(judged, wrong, order.shrink)
    smallest = shrinker.shrink(script)
    return Found(seed, tuple(wrong), tuple(story(smallest)), tuple(shrinker.wrong))


def processors() -> int:
    """How many processes this machine can run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
