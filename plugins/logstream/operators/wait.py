"""`wait_for_closed_window`: nothing is read before nothing more can be added."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from logstream.errors import InputError, LogstreamError
from logstream.hooks.databases import store_database
from logstream.operators.base import exporter, window_of
from logstream.store.postgres import PostgresStore
from logstream.window import Window

if TYPE_CHECKING:
    from airflow.sdk import Context

LOOK_SECONDS = 0.5
REMIND_SECONDS = 60.0
STRAGGLER_VARIABLE = "LOGSTREAM_STRAGGLER_SECONDS"


class WaitForClosedWindow(BaseOperator):
    """Succeeds when no transaction that could still add a row to the window is running (see `store/closing.py`).

    It looks once; if the window is open it waits in the triggerer and takes no worker's place.
    """

    def execute(self, context: Context) -> None:
        """Look once, else defer."""
        window = window_of(context)
        with exporter() as engine:
            snapshot = engine.settings.current()
            closing, connection = engine.store(snapshot).closed_window(window)
            with connection:
                closed = closing.look()
        if closed:
            self.log.info("The window %s is closed: nobody is writing to the log store.", window)
            return
        if closing.past:
            self.log.info("The window %s is open, waiting for %s.", window, "; ".join(map(str, closing.waiting)))
        else:
            self.log.info("The window %s has not ended yet by the log store's clock; waiting.", window)
        self.defer(
            trigger=WindowClosedTrigger(
                window.start.isoformat(), closing.until.isoformat(), closing.tables, straggler_seconds()
            ),
            method_name="closed",
        )

    def closed(self, context: Context, event: dict[str, Any]) -> None:
        """Go on after the trigger."""
        if "watch" in event:
            with exporter() as engine:
                engine.ledger.note_open(window_of(context), event["watch"])
            self.log.warning(
                "The window %s is still open after %.0f s: %s. It is exported all the same, and again when they have ended.",
                window_of(context),
                event["seconds"],
                event["waiting"],
            )
            return
        self.log.info("The window %s is closed, after %.1f s.", window_of(context), event["seconds"])


class WindowClosedTrigger(BaseTrigger):
    """Waits in the triggerer until a window is closed. Its arguments hold no secret: the connection is read there."""

    def __init__(self, start: str, end: str, tables: list[str], straggler: float = 0.0) -> None:
        super().__init__()
        self.start, self.end, self.tables, self.straggler = start, end, tables, straggler

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {
            "start": self.start, "end": self.end, "tables": self.tables, "straggler": self.straggler
        }  # fmt: skip

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look again and again. Where the database is away, begin afresh: that is only stricter."""
        started = time.monotonic()
        window = Window(datetime.fromisoformat(self.start), datetime.fromisoformat(self.end))
        dsn = await store_database()
        left: dict[str, Any] = {}
        while True:
            try:
                left = await self._wait(dsn, window)
                break
            except LogstreamError as error:
                self.log.warning("Cannot look at the log store: %s. Trying again.", error)
                await asyncio.sleep(10)
        yield TriggerEvent({"seconds": time.monotonic() - started, **left})

    async def _wait(self, dsn: str, window: Window) -> dict[str, Any]:
        """Wait until the window is closed, or its stragglers have had their time: then what was seen of them."""
        closing, connection = await asyncio.to_thread(PostgresStore(dsn).closed_window, window, self.tables)
        reminded, past = time.monotonic(), None
        try:
            while not await asyncio.to_thread(closing.look):
                if closing.past:
                    past = past or time.monotonic()
                    if self.straggler and time.monotonic() - past > self.straggler:
                        return {"watch": closing.watch.as_json(), "waiting": "; ".join(map(str, closing.waiting))}
                if closing.past and time.monotonic() - reminded > REMIND_SECONDS:
                    reminded = time.monotonic()
                    self.log.warning("Still waiting for %s.", "; ".join(map(str, closing.waiting)))
                await asyncio.sleep(LOOK_SECONDS)
            return {}
        finally:
            connection.close()


def straggler_seconds() -> float:
    """After how long a window is exported though it is open: `LOGSTREAM_STRAGGLER_SECONDS`; 0, the default, for never.

    Raises `InputError` for what is no number.
    """
    text = os.environ.get(STRAGGLER_VARIABLE, "").strip() or "0"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InputError(f"{STRAGGLER_VARIABLE}={text!r} is no number of seconds")
    return seconds
