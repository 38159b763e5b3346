"""Threads that many destinations share: few between them, and none waits for another's."""

from __future__ import annotations

import threading

import pytest

from logstream.threads import SharedThreads
from tests.test_small_windows import MANY


def test_users_of_shared_threads_have_few_between_them() -> None:
    names: set[str] = set()

    def call(number: int) -> int:
        names.add(threading.current_thread().name + str(threading.get_ident()))
        return number

    users = [SharedThreads(4) for _ in range(MANY)]
    assert [user.submit(call, number).result() for number, user in enumerate(users)] == list(range(MANY))
    assert len(names) < MANY // 3


def test_no_user_of_shared_threads_waits_for_another_and_none_has_more_than_its_share() -> None:
    go, running, most = threading.Event(), 0, 0
    lock = threading.Lock()

    def hang() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go.wait(60)
        with lock:
            running -= 1

    hung = SharedThreads(3)
    waiting = [hung.submit(hang) for _ in range(9)]
    others = [SharedThreads(1) for _ in range(50)]
    assert [other.submit(lambda: "there").result(30) for other in others] == ["there"] * 50
    given_up = hung.submit(hang)
    hung.shutdown(cancel_futures=True)
    assert given_up.cancelled()
    go.set()
    assert [future.result(30) for future in waiting if not future.cancelled()] == [None] * 3
    assert most == 3


def test_what_a_call_in_shared_threads_raises_is_given_to_its_caller() -> None:
    def broken() -> None:
        raise KeyError("x")

    def ending() -> None:
        raise SystemExit(3)

    threads = SharedThreads(1)
    with pytest.raises(KeyError):
        threads.submit(broken).result(30)
    with pytest.raises(RuntimeError, match="SystemExit"):
        threads.submit(ending).result(30)
    assert threads.submit(lambda: 1).result(30) == 1
