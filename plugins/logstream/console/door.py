"""What is refused before a request is read: bodies of strangers, bodies without end, signs that no text holds.

FastAPI reads and parses a body before it asks who sent it; so this stands in front of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from fastapi import HTTPException, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from logstream.console.access import MAX_FORM_BYTES, SAFE_METHODS
from logstream.console.turns import Turns
from logstream.settings.characters import CONTROL

MAX_BODY_BYTES = 1_000_000
"""A form with a template of each kind, or an event to preview, is a tenth of that."""

WHOLE_SETTINGS = frozenset({"/history", "/api/v1/settings", "/api/v1/settings.yaml"})
"""Where all settings are sent at once: up to `MAX_FORM_BYTES`."""

FORM = "application/x-www-form-urlencoded"
"""How small forms are sent. To take it apart is slow, and not a thread's work: a large one would hold up all requests."""

BODY_SECONDS = 60.0
"""Within this time a body must have arrived: meanwhile it holds one of its sender's turns."""

Answer = Callable[[Request, Exception], Awaitable[Response]]


class Door:
    """Lets a request in, or answers it by `refuse` with an `HTTPException`: 400, 401, 408, 413, 422 or 429.

    What changes or tries something out is let in when it is its user's turn.
    """

    def __init__(self, app: ASGIApp, refuse: Answer) -> None:
        self._app, self._refuse = app, refuse
        self._turns = Turns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may come in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            _refuse_control_characters(scope)
            if request.method in SAFE_METHODS:
                await self._app(scope, receive, send)
                return
            user = await get_user(request, None, await bearer_scheme(request))
            request.state.logstream_user = user  # for the page that says what is wrong
            most = _most_bytes(request)
            _refuse_size(_length(request), most)
            async with self._turns.turn(str(user.get_id())):
                await self._app(scope, _limited(receive, most), send)
        except HTTPException as error:
            response = await self._refuse(request, error)
            await response(scope, receive, send)


def _refuse_control_characters(scope: Scope) -> None:
    query = unquote(scope.get("query_string", b"").decode("latin-1"))
    if CONTROL.search(scope["path"] + query):
        raise HTTPException(422, "The address holds a control character.")


def _length(request: Request) -> int:
    text = request.headers.get("Content-Length", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise HTTPException(400, "The Content-Length is no number.")
    return int(text)


def _most_bytes(request: Request) -> int:
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    small = request.headers.get("Content-Type", "").startswith(FORM)
    return MAX_FORM_BYTES if path in WHOLE_SETTINGS and not small else MAX_BODY_BYTES


def _refuse_size(count: int, most: int) -> None:
    if count > most:
        raise HTTPException(413, f"The request is larger than {most:,} bytes.")


def _limited(receive: Receive, most: int) -> Receive:
    """The same, for bodies that do not say how long they are, or do not end: the reading stops with 413 or 408."""
    total, deadline = 0, asyncio.get_running_loop().time() + BODY_SECONDS
    ended = False

    async def counted() -> Message:
        nonlocal total, ended
        if ended:  # the next message says that the client went away, whenever that is
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"The request did not arrive within {BODY_SECONDS:.0f} s.") from None
        total += len(message.get("body", b""))
        ended = not message.get("more_body", False)
        _refuse_size(total, most)
        return message

    return counted
