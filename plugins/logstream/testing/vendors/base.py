"""What the vendors' fakes share."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.client import responses
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote

from logstream.testing.servers import LogSink, decoded

Answer = tuple[int, bytes]


class Refused(Exception):
    """A request that the vendor refuses: status and answer."""

    def __init__(self, status: int, answer: object = "") -> None:
        super().__init__(status)
        self.status, self.answer = status, answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()


class Vendor(LogSink):
    """What the fakes share."""

    path: str
    accepted = 200
    max_bytes = 1_000_000

    def __init__(self, token: str = "vendor-token-0123456789") -> None:
        super().__init__(token=token)
        self.bad: Callable[[Any], bool] = lambda _: False
        self.poison: Callable[[bytes], int | None] = lambda _: None
        """A status by which a whole body is refused for what is in it, by a gateway or by the vendor; `None` to take it."""
        self.taken: list[Any] = []

    @property
    def connection(self) -> str:
        """An Airflow connection to it: the password is the token."""
        return f"http://:{quote(self.token)}@127.0.0.1:{self.port}"

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """Whether a request has the right credentials."""
        raise NotImplementedError

    def store(self, plain: bytes) -> object:
        """Check and keep a body; return the answer. Raises `Refused`."""
        raise NotImplementedError

    def refusal(self, status: int, words: str) -> object:
        """What the vendor answers with a status that is no success: an object, or the text itself."""
        return {"error": words}

    def failure_answer(self, status: int) -> bytes:
        """A trouble that `fail` asked for, in the vendor's words."""
        if status < 400:
            return super().failure_answer(status)
        return Refused(status, self.refusal(status, responses.get(status, "Error"))).answer

    def receive(self, request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        """Path, credentials, size, then the vendor's own rules."""
        try:
            if self.path not in (request.path, request.path.partition("?")[0]):
                raise Refused(*(self.missing or (404, self.refusal(404, "there is nothing here"))))
            if not self.authorized(request):
                raise Refused(*self.unauthorized)
            plain = decoded(body, request.headers.get("Content-Encoding"))
            if len(plain) > self.max_bytes:
                raise Refused(413, self.refusal(413, "the request is too large"))
            if (status := self.poison(plain)) is not None:
                raise Refused(status, {"error": "there is something in it"})
            answer = self.store(plain)
        except Refused as refused:
            return refused.status, refused.answer
        except (ValueError, KeyError, TypeError) as error:
            return 400, Refused(400, self.refusal(400, str(error))).answer
        self.keep(request, body, plain)
        return self.accepted, b"" if answer is None else json.dumps(answer).encode()

    unauthorized: tuple[int, object] = (403, {"error": "forbidden"})
    missing: tuple[int, object] | None = None
    """What it answers at other paths than its own, where that is not `refusal(404, ...)`."""

    def take_event(self, event: Any) -> None:
        """Keep one event."""
        self.taken.append(event)
