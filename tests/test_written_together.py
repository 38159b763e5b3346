"""What many deliveries write to the ledger is written together."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest

from logstream import clock
from logstream.destinations.parcel import Part
from logstream.events import Cursor
from logstream.ledger import checkpoints
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.lane_writes import Announcement, LaneWrite
from logstream.ledger.records import Lane, News, State
from logstream.threads import LeftBehindThreads
from tests.test_small_windows import WINDOW


class Turns(clock.Clock):
    """A clock by which who waits goes on when the test says so."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.waited: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        await self.go_on.wait()


class Book:
    """A ledger that notes what is written together."""

    def __init__(self) -> None:
        self.written: list[list[int]] = []

    def write(self, writes: list[LaneWrite]) -> set[tuple[int, int]]:
        self.written.append(sorted(write.key[0] for write in writes))
        return set()

    def announce(self, announcements: list[Announcement]) -> dict[int, int]:
        self.written.append(sorted(each.key[0] for each in announcements))
        return dict.fromkeys(range(len(announcements)), 1)


def lane_of(delivery: int) -> Lane:
    return Lane(delivery, 0, f"d{delivery}", WINDOW, 1, State.DELIVERING, Counter(), 0, position=Cursor(1, delivery))


@pytest.mark.parametrize("many", [True, False])
def test_what_many_deliveries_write_is_written_together(many: bool) -> None:
    """A transaction for each announcement and each end was a third of what thousands of small deliveries cost."""
    turns, book = Turns(), Book()
    deliveries = checkpoints.MANY if many else checkpoints.MANY - 1

    async def deliver() -> None:
        threads = LeftBehindThreads(1, "test")
        writer = LedgerWriter(book, "", threads)  # type: ignore[arg-type]
        with ExitStack() as under_way:
            for _ in range(deliveries):
                under_way.enter_context(writer.delivery())
            part = Part("a", 1, "", 1, "1")
            writes = [asyncio.create_task(writer.announce(lane_of(number), [part])) for number in range(2)]
            await asyncio.sleep(0.05)
            writes += [asyncio.create_task(writer.announce(lane_of(number), [part])) for number in range(2, 4)]
            await asyncio.sleep(0.05)
            turns.go_on.set()
            await asyncio.gather(*writes)
            turns.go_on.clear()
            ends = [asyncio.create_task(writer.finish(lane_of(number), News())) for number in range(3)]
            await asyncio.sleep(0.05)
            turns.go_on.set()
            await asyncio.gather(*ends)
        threads.shutdown()

    with clock.use(turns):
        asyncio.run(deliver())
    assert book.written == ([[0, 1, 2, 3], [0, 1, 2]] if many else [[0, 1], [2, 3], [0, 1, 2]])
    assert turns.waited == ([checkpoints.GATHER_SECONDS] * 2 if many else [])


def test_a_step_waits_for_no_other_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests one by one go no faster than their steps: among many small deliveries there may be a large one."""
    turns, steps = Turns(), list[int]()

    async def written(_: Any, writes: list[LaneWrite]) -> set[tuple[int, int]]:
        steps.extend(write.key[0] for write in writes)
        return set()

    monkeypatch.setattr(checkpoints.StepWriter, "write", written)

    async def deliver() -> None:
        writer = LedgerWriter(Book(), "", LeftBehindThreads(1, "test"))  # type: ignore[arg-type]
        with ExitStack() as under_way:
            for _ in range(100):
                under_way.enter_context(writer.delivery())
            await asyncio.wait_for(writer.step(lane_of(1)), 5)

    with clock.use(turns):
        asyncio.run(deliver())
    assert steps == [1] and not turns.waited
