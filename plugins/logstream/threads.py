"""Threads for what blocks: a connection hook, a driver, a database that may never answer.

Python's own executors are waited for when the event loop or the process ends. A hook that hangs for an hour would hold up a task
that has long given it up; these threads are left behind instead, and end with the process.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from logstream.errors import ours
from logstream.tracebacks import words_of

T = TypeVar("T")

Call = tuple[Future[Any], Callable[[], Any]]
"""What is to be called, and who waits for it."""

ANSWER_SECONDS = 30.0
"""How long a statement of the ledger may take before the database is said to be silent."""


def _contained(error: BaseException) -> BaseException:
    """An exception that code in a thread may end with: others stop event loops, or never reach who waits for them."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration | StopAsyncIteration):
        return error
    made = RuntimeError(f"{type(error).__name__}: {words_of(error)}")
    made.__cause__ = error
    return made


def guarded(call: Callable[..., T], *args: Any) -> T:
    """Call other people's code in a thread: whatever it raises is an `Exception` that a future can hold."""
    try:
        return call(*args)
    except BaseException as error:
        raise _contained(error) from error


def is_from_outside(error: BaseException) -> bool:
    """Whether a coroutine is told to end, by its task being cancelled or by being closed; else what it called has raised this."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, GeneratorExit)


class LeftBehindThreads(ThreadPoolExecutor):
    """Up to `most` threads, made when they are needed, that hold up nothing when they are given up.

    A `ThreadPoolExecutor` by name alone: an event loop takes no other as its default.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._work: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._made = self._idle = 0

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See `Executor.submit`."""
        future: Future[T] = Future()
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._made < self._most:
                self._made += 1
                threading.Thread(target=self._run, name=f"{self._name} {self._made}", daemon=True).start()
        self._work.put((future, lambda: fn(*args, **kwargs)))
        return future

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(_contained(error))
            with self._lock:
                # the next call may count on this thread, unless work is waiting for it already
                if self._work.empty():
                    self._idle += 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end when they have nothing to do. Waits for none of them, whatever `wait` says."""
        for _ in range(self._made):
            self._work.put(None)


IDLE_SECONDS = 10.0
"""How long a thread of the pool waits for work before it ends."""


class _Pool:
    """This process' threads for what blocks: made when none is idle, and kept for a while."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def run(self, work: Callable[[], None]) -> None:
        """Have something done that raises nothing."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                threading.Thread(target=self._serve, name="logstream pool", daemon=True).start()
        self._work.put(work)

    def _serve(self) -> None:
        while True:
            try:
                work = self._work.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._idle:  # else what was just given counts on this thread
                        self._idle -= 1
                        return
                continue
            work()
            with self._lock:
                self._idle += 1


_pool_lock = threading.Lock()
_pools: dict[int, _Pool] = {}


def _pool() -> _Pool:
    with _pool_lock:
        # a process that was forked has its parent's memory, but not its threads
        if os.getpid() not in _pools:
            _pools.clear()
            _pools[os.getpid()] = _Pool()
        return _pools[os.getpid()]


class SharedThreads(Executor):
    """Up to `most` calls at once, in threads that all users in this process share. None waits for another user's.

    Thousands of destinations put a few objects each: with threads of their own there would be as many threads, long idle.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: deque[Call] = deque()
        self._lock = threading.Lock()
        self._running = 0

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See `Executor.submit`."""
        future: Future[T] = Future()
        with self._lock:
            self._calls.append((future, lambda: fn(*args, **kwargs)))
            if self._running >= self._most:
                return future
            self._running += 1
        _pool().run(self._serve)
        return future

    def _serve(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._running -= 1
                    return
                future, call = self._calls.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(_contained(error))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Give up what has not begun, if asked to. Waits for nothing, whatever `wait` says."""
        with self._lock:
            given_up = list(self._calls) if cancel_futures else []
            if cancel_futures:
                self._calls.clear()
        for future, _ in given_up:
            future.cancel()


class OutOfTime(TimeoutError):
    """What was waited for has not come in time. Where it has come, and was a `TimeoutError` of its own, it is none of these."""


async def within(seconds: float, awaited: Awaitable[T]) -> T:
    """Wait for something so long at the most. Raises `OutOfTime` after that.

    Who waits and is told to end, ends. Python 3.11's `asyncio.wait_for` forgets it where what is waited for has just come: a loop
    that asked the ledger every few seconds went on for ever, and a task that had delivered everything waited for it.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await asyncio.ensure_future(awaited)
    except TimeoutError:
        if limit.expired():
            raise OutOfTime from None
        raise


async def seen_through(awaited: Awaitable[T]) -> T:
    """Wait for something to its end. Who waits and is told to end meanwhile, ends then: it does not leave it half done."""
    running = asyncio.ensure_future(awaited)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


async def in_time(executor: Executor, seconds: float, call: Callable[..., T], /, *args: Any) -> T:
    """Call something that blocks, and wait for it so long at the most. Raises `OutOfTime` after that."""
    with ours():  # there may be no room for one more thread: of what is called nothing has run then
        called = asyncio.get_running_loop().run_in_executor(executor, call, *args)
    return await within(seconds, called)
