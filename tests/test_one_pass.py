"""One pass for many destinations: what each gets is what it would get alone, however slow others and it itself are."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.destinations.base import Destination
from logstream.destinations.outcome import Outcome, Retry
from logstream.destinations.parcel import Parcel
from logstream.errors import DatabaseError
from logstream.export import one_pass, pipeline
from logstream.export.one_pass import Member, Passes
from logstream.export.window_reader import WindowReader
from logstream.store.postgres import PostgresStore
from logstream.testing.servers import LogSink

from .test_same_bytes import DESTINATIONS, KEPT, fill, made_of

WITH_EVENTS = 13
"""Workspaces that have events in the window."""


@pytest.fixture
def filled(store: psycopg.Connection) -> psycopg.Connection:
    """The store of `test_same_bytes`."""
    fill(store)
    return store


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The number of workspaces of each statement that read the window."""
    found: list[int] = []
    real = PostgresStore.read

    def noted(self: PostgresStore, window: Any, filters: Any, *arguments: Any, **options: Any) -> Any:
        found.append(sum(len(each.workspace_ids) for each in filters))
        return real(self, window, filters, *arguments, **options)

    monkeypatch.setattr(PostgresStore, "read", noted)
    monkeypatch.setattr(pipeline, "CHUNK_EVENTS", 150)
    yield found


def expected() -> dict[str, Any]:
    """What is kept, without the requests that lanes took: what is cut short is sent again."""
    return without_requests(json.loads(KEPT.read_text()))


def without_requests(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "requests of lanes"}


@pytest.mark.parametrize("seed", range(4))
def test_slow_destinations_leave_and_get_the_same(
    seed: int, filled: psycopg.Connection, tmp_path: Path, sink: LogSink, reads: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    choose = random.Random(seed)
    slow = {name: choose.choice((0.0, 0.02, 0.3)) for name in DESTINATIONS}
    real, leave, left = Destination.deliver, Member.leave, []

    async def late(self: Destination[Any], parcel: Parcel) -> Outcome:
        await asyncio.sleep(slow[self.name] * choose.random())
        if choose.random() < slow[self.name]:
            return Retry("busy")
        return await real(self, parcel)

    monkeypatch.setattr(Destination, "deliver", late)
    monkeypatch.setattr(Member, "leave", lambda self: (left.append(self), leave(self)))
    monkeypatch.setattr(one_pass, "PATIENCE_SECONDS", 0.01)
    assert without_requests(made_of(filled, tmp_path / "out", sink)) == expected()
    assert max(reads) == WITH_EVENTS, "all destinations are read for at once"
    assert left, "those that are slow leave"


def test_one_statement_reads_for_all(
    filled: psycopg.Connection,
    tmp_path: Path,
    sink: LogSink,
    reads: list[int],
) -> None:
    assert made_of(filled, tmp_path / "out", sink) == json.loads(KEPT.read_text())
    # 4,300 events, 300 at once, the last statement finds none
    assert set(reads) == {WITH_EVENTS} and len(reads) < 20


def test_a_fault_in_the_pass_is_that_of_one_destination(
    filled: psycopg.Connection,
    tmp_path: Path,
    sink: LogSink,
    reads: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = WindowReader.chunk

    def broken(self: WindowReader, *arguments: Any) -> Any:
        if len(self._works) > 4:
            raise ZeroDivisionError("a plug-in's packer")
        return real(self, *arguments)

    monkeypatch.setattr(WindowReader, "chunk", broken)
    assert without_requests(made_of(filled, tmp_path / "out", sink)) == expected()


def test_a_log_store_that_is_away_stops_all(
    filled: psycopg.Connection,
    tmp_path: Path,
    sink: LogSink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(self: WindowReader, *arguments: Any) -> Any:
        raise DatabaseError("the log store is away")

    monkeypatch.setattr(WindowReader, "chunk", away)
    with pytest.raises(AssertionError, match="the log store is away"):
        made_of(filled, tmp_path / "out", sink)


def test_a_workspace_is_read_for_once_in_a_pass() -> None:
    """Two deliveries of one window may name the same workspace where its route has changed."""

    class Lane:
        def __init__(self, *workspaces: int) -> None:
            self.lane, self.workspace_ids = self, workspaces

    class Pipeline:
        def __init__(self, *lanes: Lane) -> None:
            self.works = lanes

    async def apart() -> list[bool]:
        pipelines = [Pipeline(Lane(1, 2), Lane(3)), Pipeline(Lane(4)), Pipeline(Lane(5), Lane(3)), Pipeline(Lane(5))]
        members = [Member(each) for each in pipelines]  # type: ignore[arg-type]
        assert one_pass._apart(members) == [member for member in members if not member.left]
        return [member.left for member in members]

    assert asyncio.run(apart()) == [False, False, True, False]


def test_those_who_are_expected_and_do_not_come_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_pass, "GATHER_SECONDS", 3_600.0)

    class Pipeline:
        works: tuple[()] = ()
        streamings: dict[int, Any] = {}

    async def gather() -> None:
        passes = Passes(None)  # type: ignore[arg-type]
        began = []

        async def begun(members: list[Member], *_: Any) -> None:
            began.append(len(members))

        monkeypatch.setattr(passes, "_run", begun)
        place: Any = ("window", 1)
        passes._expected[place] = 3
        joining = [asyncio.create_task(passes.join(place, Pipeline(), None, None)) for _ in range(2)]  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert began == []
        passes.withdraw(place)
        await asyncio.gather(*joining)
        assert began == [2]

    asyncio.run(gather())
