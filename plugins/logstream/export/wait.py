"""`wait`: nothing is read before nothing more can be added."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from logstream import clock
from logstream.errors import InputError, WindowNotClosed
from logstream.export.deployment import Deployment
from logstream.store.closing import Writer
from logstream.window import Window

LOOK_SECONDS = 0.25


def wait_until_closed(
    deployment: Deployment, window: Window, *, timeout: float, remind: Callable[[Sequence[Writer]], None] | None = None
) -> None:
    """Wait until no writer can add to the window.

    `remind` is called with the writers that are waited for, about once a minute. Raises `InputError` for a window that
    ends in the future, by the database's clock, and `WindowNotClosed` after `timeout` seconds.
    """
    closing, connection = deployment.store(deployment.settings.current()).closed_window(window)
    started = reminded = clock.monotonic()
    with connection:
        while not closing.look():
            if not closing.past:
                raise InputError(f"the window {window} ends in the future")
            now = clock.monotonic()
            if now - started > timeout:
                raise WindowNotClosed(f"still writing to the window {window}: {_names(closing.waiting)}")
            if remind and now - reminded > 60:
                reminded = now
                remind(closing.waiting)
            clock.pause(LOOK_SECONDS)


def _names(writers: Sequence[Writer]) -> str:
    return "; ".join(map(str, writers[:3])) + (f" and {len(writers) - 3} more" if len(writers) > 3 else "")
