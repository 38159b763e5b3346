"""When a window is closed: the rule against writers that do their worst."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from logstream.database import connect
from logstream.errors import DatabaseError, InputError, WindowNotClosed
from logstream.store.closing import ClosedWindow, Watch, Writer, refuse_standby
from logstream.window import Window

from .databases import postgres  # noqa: F401 - on the oldest and the newest PostgreSQL

INSERT = "insert into events (workspace_id, kind, occurred_at, payload) values (1, 'job', now(), '{}')"


def writer(key: str) -> Writer:
    return Writer(key, prepared=key.startswith("-1/"), pid=None if key.startswith("-1/") else 1)


@pytest.mark.parametrize(
    ("looks", "closed"),
    [
        # each look lists who holds a writer's lock; the watch is closed from the first look where `closed` says so
        (["", ""], [True, True]),
        (["a", "a", ""], [False, False, True]),
        (["a", "b"], [False, True]),
        (["a b", "b c", "c d"], [False, False, True]),
        (["a", "", "a"], [False, True, True]),
        (["-1/9", "-1/9", ""], [False, False, True]),
        # prepared since the last look: it may be `a` under its new name
        (["a", "-1/9", "-1/9", ""], [False, False, False, True]),
        (["a", "a -1/9", "-1/9"], [False, False, True]),
        (["a b", "a -1/9", "-1/9 -1/10", "-1/10", ""], [False, False, False, False, True]),
        (["-1/8 a", "-1/8 -1/9", "-1/9", "-1/10"], [False, False, False, True]),
    ],
)
def test_who_is_waited_for(looks: list[str], closed: list[bool]) -> None:
    watch = Watch()
    assert [watch.observe([writer(key) for key in look.split()]) for look in looks] == closed


def test_standbys_are_refused() -> None:
    with pytest.raises(DatabaseError, match="standby"):
        refuse_standby(True)
    refuse_standby(False)


@pytest.fixture
def log_store(store: psycopg.Connection) -> psycopg.Connection:
    store.execute("insert into workspaces values (1, 'acme', 'Acme')")
    store.execute("create table elsewhere (id int)")
    return store


@contextmanager
def watched(store: psycopg.Connection, tables: tuple[str, ...] = ("events",)) -> Iterator[ClosedWindow]:
    """A watch over the window that has just ended."""
    (now,) = store.execute("select clock_timestamp()").fetchone()  # type: ignore[misc]
    with connect(store.info.dsn) as connection:
        yield ClosedWindow(connection, Window(now - timedelta(minutes=5), now), tables)


def test_a_window_that_has_not_ended(log_store: psycopg.Connection) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    with connect(log_store.info.dsn) as connection:
        closing = ClosedWindow(connection, Window(end - timedelta(minutes=5), end), ["events"])
        assert not closing.look() and not closing.past


@pytest.mark.parametrize(
    "statement",
    [
        INSERT,
        "insert into events (workspace_id, kind, occurred_at, payload) select 1, 'job', now(), '{}' where false",
        "lock table events in row exclusive mode",
        "lock table events in exclusive mode",
        "update events set kind = 'job' where false",
    ],
)
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_writers_are_waited_for(log_store: psycopg.Connection, statement: str, end: str) -> None:
    with psycopg.connect(log_store.info.dsn, application_name="the platform") as other:
        other.execute(statement)
        with watched(log_store) as closing:
            assert not closing.look()
            assert "the platform" in str(closing.waiting[0])
            # one who begins after the first look is not waited for
            with psycopg.connect(log_store.info.dsn) as later:
                getattr(other, end)()
                if "exclusive mode" not in statement:
                    later.execute(INSERT)
                assert closing.look()
                later.rollback()


@pytest.mark.parametrize(
    "statement",
    [
        "select count(*) from events",
        "select * from workspaces for update",
        "insert into elsewhere values (1)",
        "insert into workspaces values (2)",
        "create index on events (kind)",
        "lock table events in share update exclusive mode",
        "select pg_sleep(0)",
    ],
)
def test_nobody_else_delays(log_store: psycopg.Connection, statement: str) -> None:
    with psycopg.connect(log_store.info.dsn) as other:
        other.execute(statement)
        with watched(log_store) as closing:
            assert closing.look()
        other.rollback()


def test_partitions_and_savepoints(log_store: psycopg.Connection) -> None:
    log_store.execute(
        "create table parts (id int, recorded_at timestamptz default clock_timestamp()) partition by range (id)"
    )
    log_store.execute("create table part_1 partition of parts for values from (0) to (10) partition by range (id)")
    log_store.execute("create table part_1a partition of part_1 for values from (0) to (5)")
    with psycopg.connect(log_store.info.dsn) as other:
        other.execute("savepoint a")
        other.execute("insert into part_1a (id) values (1)")
        with watched(log_store, ("parts",)) as closing:
            assert not closing.look()
            other.execute("rollback to savepoint a")
            assert closing.look()
        other.execute("insert into part_1a (id) values (1)")
        other.execute("savepoint b")
        with watched(log_store, ("parts",)) as closing:
            other.execute("rollback to savepoint b")
            assert not closing.look()
            other.commit()
            assert closing.look()


def test_prepared_transactions(log_store: psycopg.Connection) -> None:
    with connect(log_store.info.dsn) as before:
        before.execute("begin")
        before.execute(INSERT)
        before.execute("prepare transaction 'before'")
        with watched(log_store) as closing:
            assert not closing.look()
            assert "prepared transaction" in str(closing.waiting[0])
            log_store.execute("commit prepared 'before'")
            assert closing.look()
        # prepared while the window is watched: the lock goes over to a record of another name
        before.execute("begin")
        before.execute(INSERT)
        with watched(log_store) as closing:
            assert not closing.look()
            before.execute("prepare transaction 'while'")
            assert not closing.look()
            log_store.execute("rollback prepared 'while'")
            assert closing.look()


def test_the_command_waits_reminds_and_gives_up(log_store: psycopg.Connection) -> None:
    from logstream.airflow.connections import AirflowConnections
    from logstream.export.exporter import Exporter

    (now,) = log_store.execute("select clock_timestamp()").fetchone()  # type: ignore[misc]
    window = Window(now - timedelta(minutes=1), now)
    with Exporter(log_store.info.dsn, log_store.info.dsn, AirflowConnections()) as engine:
        with psycopg.connect(log_store.info.dsn, application_name="slow") as other:
            other.execute(INSERT)
            with pytest.raises(WindowNotClosed, match="slow"):
                engine.wait_until_closed(window, timeout=0.6)
            threading.Timer(0.5, other.rollback).start()
            engine.wait_until_closed(window, timeout=30)
        with pytest.raises(InputError, match="ends in the future"):
            engine.wait_until_closed(Window(now, now + timedelta(hours=1)), timeout=1)


def test_no_window_changes_after_it_is_closed(log_store: psycopg.Connection) -> None:
    """Hostile writers: begin early, insert late, commit late, prepare, roll back to savepoints. No window may change."""
    stop = time.monotonic() + 8
    failures: list[BaseException] = []

    def write(seed: int) -> None:
        rng = random.Random(seed)
        try:
            with connect(log_store.info.dsn) as connection:
                number = 0
                while time.monotonic() < stop:
                    number += 1
                    connection.execute("begin")
                    time.sleep(rng.choice((0, 0, 0.02, 0.1)))
                    for _ in range(rng.randrange(1, 4)):
                        if rng.random() < 0.3:
                            connection.execute("savepoint s")
                            connection.execute(INSERT)
                            connection.execute("rollback to savepoint s")
                        connection.execute(INSERT)
                        time.sleep(rng.choice((0, 0, 0.005, 0.05)))
                    end = rng.random()
                    if end < 0.15:
                        connection.execute("rollback")
                    elif end < 0.4:
                        name = f"w{seed}_{number}"
                        connection.execute(f"prepare transaction '{name}'")
                        time.sleep(rng.choice((0, 0.03, 0.15)))
                        connection.execute(f"{rng.choice(('commit', 'commit', 'rollback'))} prepared '{name}'")
                    else:
                        connection.execute("commit")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    counted: list[tuple[Window, int]] = []
    count = "select count(*) from events where recorded_at >= %s and recorded_at < %s"
    with connect(log_store.info.dsn) as connection:
        (start,) = connection.execute("select clock_timestamp()").fetchone()  # type: ignore[misc]
        while time.monotonic() < stop:
            window = Window(start, start + timedelta(milliseconds=100))
            closing = ClosedWindow(connection, window, ["events"])
            while not closing.look():
                time.sleep(0.002)
            (found,) = connection.execute(count, (window.start, window.end)).fetchone()  # type: ignore[misc]
            counted.append((window, found))
            start = window.end
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert len(counted) > 20
    assert sum(found for _, found in counted) > 100
    for window, found in counted:
        assert log_store.execute(count, (window.start, window.end)).fetchone() == (found,), window
