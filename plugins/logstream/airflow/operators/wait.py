"""`wait_for_closed_window`: nothing is read before nothing more can be added."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from logstream.airflow.operators.base import LEFT, LogstreamOperator, exporter, window_of
from logstream.errors import ConnectionNotFound, InputError, LogstreamError
from logstream.window import Window

if TYPE_CHECKING:
    import psycopg
    from airflow.sdk import Context

    from logstream.store.closing import ClosedWindow

LOOK_SECONDS = 0.5
AWAY_SECONDS = 10.0
REMIND_SECONDS = 60.0
WAIT_SECONDS = 900.0
MOST_SECONDS = 1e9
"""Thirty years: a limit is a date, and dates end."""
WAIT_VARIABLE = "LOGSTREAM_WAIT_SECONDS"


class WaitForClosedWindow(LogstreamOperator):
    """Succeeds when no transaction that could still add a row to the window is running (see `store/closing.py`).

    It looks once; if the window is open it waits in the triggerer and takes no worker's place. After the limit
    (`LOGSTREAM_WAIT_SECONDS`) the window is left to a later run: this task and the rest of the run are skipped, and the time is
    a gap that the ledger names until a run exports it.
    """

    def execute(self, context: Context) -> None:
        """Look once, else defer."""
        window = window_of(context)
        until = datetime.now(UTC) + timedelta(seconds=wait_seconds())
        with exporter() as engine:
            closing, connection = engine.store(engine.settings.current()).closed_window(window)
            with connection:
                closed = closing.look()
        if closed:
            self.log.info("The window %s is closed: no transaction writes to the log store any more.", window)
            return
        self.log.info("The window %s is open: %s. Waiting until %s UTC at the most.", window, why_open(closing),
                      f"{until:%H:%M:%S}")  # fmt: skip
        self.defer(
            trigger=WindowClosedTrigger(
                window.start.isoformat(), closing.until.isoformat(), closing.tables, until.isoformat()
            ),
            method_name="closed",
        )

    def closed(self, context: Context, event: dict[str, Any]) -> None:
        """Go on after the trigger."""
        if event.get("error"):
            raise AirflowException(
                f"the log store could not be looked at for {event['seconds']:.0f} s: {event['error']}"
            )
        if event.get("left"):
            self._leave(context, f"after {event['seconds']:.0f} s {event['left']}")
        self.log.info("The window %s is closed, after %.1f s.", window_of(context), event["seconds"])

    def _leave(self, context: Context, why: str) -> NoReturn:
        """Leave the window to a later run."""
        context["ti"].xcom_push(key=LEFT, value=why)
        window = window_of(context)
        self.log.warning(
            "The window %s is left to a later run: %s. It is a gap until then: `logstream owed` names it.", window, why
        )
        raise AirflowSkipException(f"the window {window} is left to a later run: {why}")


class WindowClosedTrigger(BaseTrigger):
    """Waits in the triggerer until a window is closed, or until `until` (ISO 8601, by the triggerer's clock).

    The limit is a time and not a duration, so that a triggerer that is started again does not begin to count afresh. The
    arguments hold no secret: the connection is read there.
    """

    def __init__(self, start: str, end: str, tables: list[str], until: str) -> None:
        super().__init__()
        self.start, self.end, self.tables, self.until = start, end, tables, until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {"start": self.start, "end": self.end, "tables": self.tables, "until": self.until}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look again and again. Where the database is away, begin afresh: that is only stricter."""
        from logstream.airflow.databases import store_database

        started = time.monotonic()
        window = Window(datetime.fromisoformat(self.start), datetime.fromisoformat(self.end))
        while True:
            try:
                # Airflow's connections are looked up in a thread: a secrets backend may take its time
                told = await self._wait(await asyncio.to_thread(store_database), window)
                break
            except LogstreamError as error:
                if self._over() or isinstance(error, ConnectionNotFound):
                    told = {"error": str(error)}
                    break
                self.log.warning("Cannot look at the log store: %s. Trying again.", error)
                await asyncio.sleep(AWAY_SECONDS)
        yield TriggerEvent({"seconds": time.monotonic() - started, **told})

    def _over(self) -> bool:
        return datetime.now(UTC) >= datetime.fromisoformat(self.until)

    async def _wait(self, dsn: str, window: Window) -> dict[str, str]:
        """Wait until the window is closed: nothing to tell; or until the limit: why it is left."""
        closing, connection = await asyncio.to_thread(_closed_window, dsn, window, self.tables)
        reminded = time.monotonic()
        try:
            while not await asyncio.to_thread(closing.look):
                if self._over():
                    return {"left": why_open(closing)}
                if time.monotonic() - reminded > REMIND_SECONDS:
                    reminded = time.monotonic()
                    self.log.warning("The window is open: %s.", why_open(closing))
                await asyncio.sleep(LOOK_SECONDS)
            return {}
        finally:
            connection.close()


def _closed_window(dsn: str, window: Window, tables: list[str]) -> tuple[ClosedWindow, psycopg.Connection]:
    from logstream.store.postgres import PostgresStore

    return PostgresStore(dsn).closed_window(window, tables)


def wait_seconds() -> float:
    """How long a run waits for its window to be closed: `LOGSTREAM_WAIT_SECONDS`, else a quarter of an hour.

    Raises `InputError` for what is no number of seconds.
    """
    text = os.environ.get(WAIT_VARIABLE, "").strip()
    try:
        seconds = float(text) if text else WAIT_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MOST_SECONDS:
        raise InputError(f"{WAIT_VARIABLE}={text!r} is no number of seconds")
    return seconds


def why_open(closing: ClosedWindow) -> str:
    """What keeps a window open, in words."""
    if not closing.past:
        return "it has not ended yet by the log store's clock"
    writers = [str(writer) for writer in closing.waiting]
    more = f" and {len(writers) - 5} more" if len(writers) > 5 else ""
    return f"{'; '.join(writers[:5])}{more} may still add to it"
