"""What is refused before a request is read: bodies of strangers, bodies without end, signs that no text holds.

FastAPI reads and parses a body before it asks who sent it; so this stands in front of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
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
"""Within this time a body must have arrived: meanwhile it holds one of its sender's turns, and no one else's."""

MOST_BODIES = 64
"""So many bodies of all users are arriving, or are worked on, at once: each is held in memory."""

PIECE_BYTES = 64 * 1024
"""What arrives in smaller pieces is passed on in pieces of at least so much."""

Answer = Callable[[Request, Exception], Awaitable[Response]]


class Door:
    """Lets a request in, or answers it by `refuse` with an `HTTPException`: 400, 401, 408, 413, 422 or 429.

    What changes or tries something out is let in when it is its user's turn.
    """

    def __init__(self, app: ASGIApp, refuse: Answer) -> None:
        self._app, self._refuse = app, refuse
        # what arrives slowly keeps no user but its sender from being worked for
        self._arriving, self._working = Turns(at_once=MOST_BODIES), Turns()

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
            name = str(user.get_id())
            async with self._arriving.turn(name):
                body = await _arrived(_limited(receive, most))
                async with self._working.turn(name):
                    await self._app(scope, _again(body, receive), send)
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

    async def counted() -> Message:
        nonlocal total
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"The request did not arrive within {BODY_SECONDS:.0f} s.") from None
        total += len(message.get("body", b""))
        _refuse_size(total, most)
        return message

    return counted


async def _arrived(receive: Receive) -> list[Message]:
    """The messages of a whole body, or up to that which says that the client went away meanwhile.

    Small ones are put together: a message takes much more memory than the byte that it may have.
    """
    messages: list[Message] = []
    while not messages or messages[-1].get("more_body", False):
        message = await receive()
        if messages and message["type"] == "http.request" and len(messages[-1]["body"]) < PIECE_BYTES:
            messages[-1]["body"] += message.get("body", b"")
            messages[-1]["more_body"] = message.get("more_body", False)
        elif message["type"] == "http.request":
            messages.append({**message, "body": bytearray(message.get("body", b""))})
        else:
            messages.append(message)
    return messages


def _again(messages: list[Message], receive: Receive) -> Receive:
    """Give what has arrived, then what comes after it: that the client went away, whenever that is."""
    left = deque(messages)

    async def again() -> Message:
        await asyncio.sleep(0)  # a large form is taken apart piece by piece, with room for others in between
        if not left:
            return await receive()
        message = left.popleft()
        return {**message, "body": bytes(message["body"])} if "body" in message else message

    return again
