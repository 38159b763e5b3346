"""What is refused before a request is read: bodies of strangers, bodies without end, signs that no text holds.

FastAPI reads and parses a body before it asks who sent it; so this stands in front of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from fastapi import HTTPException, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from logstream.console.access import SAFE_METHODS
from logstream.settings.characters import CONTROL

MAX_BODY_BYTES = 20_000_000
"""A settings.yaml of ten thousand workspaces is a few million."""

Answer = Callable[[Request, Exception], Awaitable[Response]]


class Door:
    """Lets a request in, or answers it by `refuse` with an `HTTPException`: 401, 413 or 422."""

    def __init__(self, app: ASGIApp, refuse: Answer) -> None:
        self._app, self._refuse = app, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may come in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            _refuse_control_characters(scope)
            if request.method not in SAFE_METHODS:
                await get_user(request, None, await bearer_scheme(request))
                _refuse_size(int(request.headers.get("Content-Length", "0") or 0))
                receive = _limited(receive)
        except HTTPException as error:
            response = await self._refuse(request, error)
            await response(scope, receive, send)
            return
        except ValueError:
            response = await self._refuse(request, HTTPException(400, "The Content-Length is no number."))
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _refuse_control_characters(scope: Scope) -> None:
    query = unquote(scope.get("query_string", b"").decode("latin-1"))
    if CONTROL.search(scope["path"] + query):
        raise HTTPException(422, "The address holds a control character.")


def _refuse_size(count: int) -> None:
    if count > MAX_BODY_BYTES:
        raise HTTPException(413, f"The request is larger than {MAX_BODY_BYTES:,} bytes.")


def _limited(receive: Receive) -> Receive:
    """The same, for bodies that do not say how long they are: the reading ends with 413."""
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        _refuse_size(total)
        return message

    return counted
