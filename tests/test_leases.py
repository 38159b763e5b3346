"""Leases: two attempts of one task alive at once end with books that add up; leases cost no lock and no session."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event

from logstream.destinations.file import FileDestination
from logstream.destinations.outcome import Outcome
from logstream.destinations.parcel import EventRef, Part
from logstream.destinations.request import RequestDestination
from logstream.errors import DatabaseAway
from logstream.export import deliver as delivering
from logstream.ledger import leases
from logstream.ledger.lane_writes import LaneWrite
from logstream.ledger.records import News, Rejection, State
from logstream.settings.repository import SettingsRepository
from logstream.testing.servers import LogSink
from logstream.threads import LeftBehindThreads, in_time
from tests.stage import PROJECT
from tests.test_engine import WINDOW, Make, canonical, engine, files, filled, override, stored

__all__ = ["engine", "filled"]  # fixtures


class Frozen:
    """An attempt in a process of its own that stops, alive, right after its `send`-th sending (SIGSTOP)."""

    def __init__(self, send: int, method: tuple[type, str], work: Callable[[], object]) -> None:
        self.pid = os.fork()
        if not self.pid:
            try:
                owner, name = method
                original, seen = getattr(owner, name), 0

                async def counted(destination: Any, *arguments: Any) -> Outcome:
                    nonlocal seen
                    outcome: Outcome = await original(destination, *arguments)
                    seen += 1
                    if seen == send:
                        os.kill(os.getpid(), signal.SIGSTOP)
                    return outcome

                setattr(owner, name, counted)
                work()
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "it ended before it could be stopped"

    def thaw(self) -> int:
        """Let it go on, wait for its end; return its exit code."""
        os.kill(self.pid, signal.SIGCONT)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("moment", [1, 64, 700])
def test_an_attempt_that_was_taken_for_dead_and_wakes_up(
    engine: Make, filled: psycopg.Connection, sink: LogSink, moment: int
) -> None:
    """Everything arrives under its one key, and the ledger counts it once, whatever the zombie still sends."""
    document = override({"type": "http", "connection": "sink", "concurrency": 4, "lanes": 1})
    exporter = engine(document)
    planned = exporter.plan(WINDOW)
    keys = [key for share in planned.shares for key in share.lanes]
    zombie = Frozen(moment, (RequestDestination, "send"), lambda: engine(document).deliver(keys))
    results = exporter.deliver(keys)
    assert [result.error for result in results] == [None]
    (before,) = exporter.seal(planned.delivery_ids)
    assert (before.state, before.events) == (State.DELIVERED, 1_500)
    assert zombie.thaw() == 0, "it gives up by itself"
    (after,) = exporter.seal(planned.delivery_ids)
    assert (after.state, after.events, after.requests, after.bytes) == (
        before.state, before.events, before.requests, before.bytes
    )  # fmt: skip
    assert len(sink.keys) == 1_500 and sink.changed_repetitions == 0
    assert set(canonical(sink.events())) == set(stored(filled))
    assert sum(times - 1 for times in sink.keys.values()) <= 2 * 4, "no more than what was under way is repeated"


@pytest.mark.parametrize("moment", [1, 2])
@pytest.mark.parametrize("thawed", ["before it is sealed", "after it is sealed"])
def test_a_zombie_at_a_folder_leaves_manifest_and_listings_that_add_up(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int, thawed: str
) -> None:
    from logstream.destinations.transport import object_packing

    monkeypatch.setattr(object_packing, "OBJECT_BYTES", 100_000)
    target = {"type": "file", "path": str(tmp_path / "out"), "packaging": "batch", "compression": "gzip", "lanes": 2,
              "manifests": True}  # fmt: skip
    document = override(target)
    exporter = engine(document)
    planned = exporter.plan(WINDOW)
    keys = [key for share in planned.shares for key in share.lanes]
    zombie = Frozen(moment, (FileDestination, "put"), lambda: engine(document).deliver(keys))
    exporter.deliver(keys)
    if thawed == "before it is sealed":
        zombie.thaw()
    (report,) = exporter.seal(planned.delivery_ids)
    assert (report.state, report.events, report.error) == (State.DELIVERED, 1_500, None)
    if thawed != "before it is sealed":
        # it may have been stopped while it wrote a file that has no name of its own yet
        before = {name: body for name, body in files(tmp_path / "out").items() if "/.part-" not in name}
        zombie.thaw()
        assert files(tmp_path / "out") == before
    script = [sys.executable, str(PROJECT / "docs/verify_manifests.py"), str(tmp_path / "out")]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_lane_is_not_taken_while_its_attempt_lives_however_slow_it_is(
    engine: Make, filled: psycopg.Connection, sink: LogSink
) -> None:
    document = override({"type": "http", "connection": "sink", "format": "array", "max_events": 300, "lanes": 1,
                         "concurrency": 1})  # fmt: skip
    exporters = [engine(document) for _ in range(2)]
    planned = exporters[0].plan(WINDOW)
    keys = [key for share in planned.shares for key in share.lanes]

    def fail(number: int) -> None:
        time.sleep(leases.LEASE_SECONDS * 0.7)

    sink.fail = fail  # type: ignore[assignment]
    results: list[list[Any]] = []
    threads = [threading.Thread(target=lambda e=e: results.append(e.deliver(keys))) for e in exporters]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [[result.error for result in each] for each in results] == [[None], [None]]
    assert canonical(sink.events()) == stored(filled)
    assert set(sink.keys.values()) == {1}


def test_what_an_old_attempt_writes_changes_nothing(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    exporter = engine(override({"type": "file", "path": str(tmp_path), "lanes": 1}))
    ledger = exporter.ledger
    (key,) = [key for share in exporter.plan(WINDOW).shares for key in share.lanes]
    assert ledger.take([key], "a", 1) == {key}
    (old,) = ledger.lanes([key])
    assert ledger.take([key], "b", 2) == set(), "it is leased"
    filled.execute("update logstream.lanes set leased_until = clock_timestamp()")
    assert ledger.take([key], "b", 2) == {key}
    (new,) = ledger.lanes([key])
    assert new.attempt > old.attempt
    assert new.now_ns == old.now_ns == 1, "the instant of a lane is that of its first attempt"
    assert ledger.renew([old], "a") == set()
    old.delivered[(100, "job")] = 7
    old.part = 1
    news = News([Rejection(EventRef(1, 100, "job"), "no")], [Part("x", 1, "", 1, "1")])
    for write in (LaneWrite.checkpoint(old, news), LaneWrite.fail(old, news, "why", permanent=True),
                  LaneWrite.finish(old, news)):  # fmt: skip
        assert ledger.write([write]) == {key}
    ledger.release([old], "a")
    (now,) = ledger.lanes([key])
    assert (now.attempt, now.leased_by, now.state) == (new.attempt, "b", State.DELIVERING)
    assert not now.delivered and now.last_error is None
    assert ledger.rejected() == [] and list(ledger.parts([key[0]])) == []
    assert ledger.write([LaneWrite.finish(new, News())]) == set()
    (ended,) = ledger.lanes([key])
    assert (ended.state, ended.leased_by) == (State.DELIVERED, None)


def test_attempts_are_never_numbered_twice_though_a_lane_is_planned_anew(engine: Make, tmp_path: Path) -> None:
    exporter = engine(override({"type": "file", "path": str(tmp_path), "lanes": 1}))
    (key,) = [key for share in exporter.plan(WINDOW).shares for key in share.lanes]
    exporter.ledger.take([key], "a", 1)
    (old,) = exporter.ledger.lanes([key])
    other = engine(override({"type": "file", "path": str(tmp_path), "lanes": 1}, message='{"e": {{{log_message}}}}'))
    assert [key for share in other.plan(WINDOW).shares for key in share.lanes] == [key], "a new lane of the same name"
    other.ledger.take([key], "b", 1)
    assert exporter.ledger.write([LaneWrite.finish(old, News())]) == {key}


def test_thirty_thousand_lanes_cost_no_lock(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    """Advisory locks, one a lane, exhausted the server's shared memory at 24,000 and shut everyone out."""
    exporter = engine(override({"type": "file", "path": str(tmp_path)}))
    snapshot = exporter.settings.current().id
    filled.execute(
        "insert into logstream.deliveries (window_start, window_end, destination, snapshot_id, state)"
        " select %s, %s, 'd' || n, %s, 'planned' from generate_series(1, 30000) n",
        (datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 2, tzinfo=UTC), snapshot),
    )
    filled.execute(
        "insert into logstream.lanes (delivery_id, lane, fingerprint, state, planned, planned_bytes)"
        " select id, 0, '', 'planned', '{}', 1 from logstream.deliveries"
    )
    keys = [(row[0], 0) for row in filled.execute("select delivery_id from logstream.lanes")]
    before = filled.execute("select count(*) from pg_locks").fetchone()
    assert exporter.ledger.take(keys, "a", 1) == set(keys)
    lanes = exporter.ledger.lanes(keys)
    assert exporter.ledger.renew(lanes, "a") == set(keys)
    after = filled.execute("select count(*) from pg_locks").fetchone()
    assert before is not None and after is not None and after[0] <= before[0] + 20
    exporter.ledger.release(lanes, "a")
    assert filled.execute("select count(*) from logstream.lanes where leased_by is not null").fetchone() == (0,)


@pytest.mark.parametrize("taken_over", [False, True])
def test_a_lane_that_has_just_ended_is_not_said_to_be_taken_over(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_over: bool
) -> None:
    """A renewal may come between a lane's last write and the moment at which its task knows that this is written."""
    exporter = engine(override({"type": "file", "path": str(tmp_path), "lanes": 1}))
    said: list[str] = []
    monkeypatch.setattr(leases.log, "warning", lambda *words: said.append(words[0] % words[1:]))

    async def ends() -> None:
        threads = LeftBehindThreads(2, "test")
        keeper = leases.LeaseKeeper(exporter.ledger, "a", threads)
        (lane,) = await keeper.take([key for share in exporter.plan(WINDOW).shares for key in share.lanes])
        if taken_over:
            filled.execute("update logstream.lanes set leased_until = clock_timestamp()")
            assert exporter.ledger.take([lane.key], "b", 2) == {lane.key}
        else:
            assert exporter.ledger.write([LaneWrite.finish(lane, News())]) == set()
        keeper._fresh_until = 0.0  # it is time to renew
        await keeper._renew(leases.LEASE_SECONDS)
        await keeper.close()
        threads.shutdown()

    asyncio.run(ends())
    assert len(said) == taken_over and all("was taken over by another attempt" in words for words in said)


class _AnsweredByHand(Executor):
    """Calls that end when the test says so."""

    def __init__(self) -> None:
        self.calls: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.calls.append(Future())
        return self.calls[-1]


def test_a_task_does_not_wait_for_lanes_that_it_has_itself(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run dies, and the control database fails once just when its lanes are taken up: they are taken again."""
    exporter = engine(override({"type": "file", "path": str(tmp_path / "out"), "lanes": 2}))
    planned = exporter.plan(WINDOW)
    keys = [key for share in planned.shares for key in share.lanes]
    assert exporter.ledger.take(keys, "a run that dies", 0) == set(keys)
    get, asked = SettingsRepository.get, list[int]()

    def away_once(self: SettingsRepository, number: int) -> Any:
        asked.append(number)
        if len(asked) == 1:
            raise DatabaseAway("reading the settings: the server has closed the connection")
        return get(self, number)

    monkeypatch.setattr(SettingsRepository, "get", away_once)
    monkeypatch.setattr(delivering, "LANE_WAIT_SECONDS", 15.0)
    assert {result.error for result in exporter.deliver(keys)} == {None}
    assert len(asked) == 2


@pytest.mark.parametrize("turns", range(8))
def test_who_asks_again_and_again_ends_when_told_to_in_whatever_moment(turns: int) -> None:
    """Told to end while an answer was on its way, renewing leases went on for ever, and the task that waited for its end with it."""

    async def told_to_end() -> None:
        ledger = _AnsweredByHand()

        async def ask_for_ever() -> None:
            while True:
                await in_time(ledger, 30, lambda: None)

        asking = asyncio.create_task(ask_for_ever())
        await asyncio.sleep(0)
        ledger.calls[0].set_result(None)
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        done, _ = await asyncio.wait({asking}, timeout=2)
        assert done and asking.cancelled()

    asyncio.run(told_to_end())


def test_many_dead_letters_of_one_write_enter_the_ledger_by_few_statements(engine: Make, tmp_path: Path) -> None:
    """Row by row, half a million of them before one request took longer than a write may."""
    exporter = engine(override({"type": "file", "path": str(tmp_path), "lanes": 1}))
    (key,) = [key for share in exporter.plan(WINDOW).shares for key in share.lanes]
    exporter.ledger.take([key], "a", 1)
    (lane,) = exporter.ledger.lanes([key])
    letters = [Rejection(EventRef(number, 100, "job"), f"reason\0{number}") for number in range(20_001)]
    letters.append(Rejection(EventRef(20_000, 100, "job"), "the later of two with one id"))
    statements: list[bool] = []

    def executed(*given: Any) -> None:
        if "rejections" in given[2]:
            statements.append(given[5])

    event.listen(exporter.engine, "before_cursor_execute", executed)
    assert exporter.ledger.write([LaneWrite.checkpoint(lane, News(letters))]) == set()
    event.remove(exporter.engine, "before_cursor_execute", executed)
    assert statements == [False] * 3, "none is executed for each row"
    found = {letter.event_id: letter.reason for letter in exporter.ledger.rejected()}
    assert len(found) == 20_001
    assert (found[7], found[20_000]) == ("reason 7", "the later of two with one id")
