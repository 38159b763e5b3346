"""The HTTP transport: posts through aiohttp. A vendor's module says how a body looks and what an answer means."""

from __future__ import annotations

import asyncio
import hashlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import ClassVar, TypeVar
from urllib.parse import urlsplit

import aiohttp
from pydantic import Field

from logstream import clock
from logstream.datasets import DataSet, of_requests
from logstream.destinations.access.requests import HTTP
from logstream.destinations.base import ConnectionOptions, Destination, Limits, Step
from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Reject, Retry, Split
from logstream.destinations.parcel import (
    EventRef,
    LaneRef,
    Packer,
    Parcel,
    Part,
    cursor_of,
    ids_digest,
    sha256,
    sizes_of,
    tally_of,
)
from logstream.destinations.transport.addresses import ForbiddenAddress
from logstream.destinations.transport.answers import (
    ACCEPTED_ENCODINGS,
    is_page,
    read_answer,
    retry_after,
    says_html,
)
from logstream.destinations.transport.compression import Compression, compress
from logstream.destinations.transport.request_packing import RequestPacker, options_too_large
from logstream.destinations.transport.session import Reach, reach
from logstream.destinations.transport.tls import refuses_plain_http
from logstream.errors import InputError
from logstream.events import EPOCH, Event

RETRY_STATUS = frozenset({408, 425, 429})
CONTENT_STATUS = frozenset({400, 413, 415, 422})
"""A request is refused for what is in it, or for its size."""


class RequestOptions(ConnectionOptions):
    """Options of all destinations that take requests."""

    compression: Compression = Field(
        default=Compression.NONE, description="none, gzip or zstd, for the request's body."
    )
    concurrency: int = Field(
        default=8,
        ge=1,
        le=64,
        strict=True,
        description="At most so many requests are under way at once, from each task that delivers to it.",
    )


O = TypeVar("O", bound=RequestOptions)  # noqa: E741 - the options


class RequestDestination(Destination[O]):
    """A destination that takes requests.

    A subclass gives `url`, `encode`, where the vendor wants more than the message `entry`, and, where it has more to say than
    status codes, `read`.
    """

    connection_type = "http"
    access = HTTP
    content_type = "application/json"

    _session: aiohttp.ClientSession | None = None
    _reach: Reach
    _credentials: HttpCredentials

    kept_in: ClassVar[tuple[str, ...]] = ()
    """The options that name what the receiver keeps events in: an index, a stream."""

    def data_set(self) -> DataSet:
        """The receiver's scheme, host and port, and what it keeps events in; else the destination's name."""
        return of_requests(self.url(self.credentials()), self.kept_name)

    @property
    def kept_name(self) -> str:
        """The options of `kept_in`, without a query; where they are empty, the destination's name."""
        given = [getattr(self.options, option) or "" for option in self.kept_in]
        return "/".join(filter(None, given)).partition("?")[0].strip("/") or self.name

    def options_problem(self) -> str | None:
        """Options that leave no room for an event, at the longest of them."""
        return options_too_large(self)

    def credentials(self) -> HttpCredentials:
        """The connection's. Blocks."""
        return self.connections.http(self.options.connection)

    @abstractmethod
    def url(self, credentials: HttpCredentials) -> str:
        """Where to post."""

    @abstractmethod
    def encode(self, entries: Sequence[bytes]) -> bytes:
        """The body of a request with these entries: at most two bytes for each, and `envelope`, more than theirs."""

    envelope: ClassVar[int] = 0
    """Bytes that `encode` puts around all entries, beyond two for each."""

    def entry(self, event: Event, message: bytes) -> bytes:
        """What stands in a request for one event: the message itself, unless the vendor wants it wrapped."""
        return message

    def headers(self, credentials: HttpCredentials) -> dict[str, str]:
        """The headers of every request, credentials included."""
        return dict(credentials.headers)

    def authentication(self, credentials: HttpCredentials) -> Mapping[str, str]:
        """Basic authentication, where the connection has a login or password."""
        if credentials.login is None and credentials.password is None:
            return {}
        auth = aiohttp.BasicAuth(credentials.login or "", credentials.password or "", "utf-8")
        return {"Authorization": auth.encode()}

    @property
    def limits(self) -> Limits:
        """One event a request, unless the vendor says more."""
        return Limits(events=1, concurrency=self.options.concurrency)

    def packer(self, lane: LaneRef, part: int) -> Packer:
        """Requests as full as the limits allow."""
        return RequestPacker(self, lane)

    async def open(self) -> None:
        """Get the connection and check its address."""
        self._credentials = await asyncio.to_thread(self.credentials)
        self._url = self.url(self._credentials)
        try:
            self._reach = await asyncio.to_thread(
                reach, self._url, self._credentials.network, self._credentials.client_certificate
            )
        except ForbiddenAddress:
            raise
        except InputError as error:
            raise InputError(f"connection `{self.options.connection}` of destination {self.name}: {error}") from None
        headers = _each_once(
            {
                "Content-Type": self.content_type,
                "User-Agent": "logstream",
                "Accept-Encoding": ACCEPTED_ENCODINGS,
                **self.authentication(self._credentials),
                **self.headers(self._credentials),
            }
        )
        if self.options.compression is not Compression.NONE:
            headers["Content-Encoding"] = self.options.compression.value
        self._keep_secret(self._credentials, self._url, headers)
        if "@" in urlsplit(self._url).netloc and any(name.lower() == "authorization" for name in headers):
            raise InputError(
                f"connection `{self.options.connection}` of destination {self.name}: its address holds a user's name, and it "
                "gives other credentials, too; keep one of them: take the name out of the address"
            )
        self._session = self._reach.session(headers)

    def _keep_secret(self, credentials: HttpCredentials, url: str, headers: Mapping[str, str]) -> None:
        self.secrets.add(credentials.password, (credentials.signing_secret or "").removeprefix("whsec_"))
        if not credentials.password:
            self.secrets.add(credentials.login)  # some services take their key as the user's name
        self.secrets.add_url(credentials.base_url)
        if self._reach.proxy is not None:
            self.secrets.add_url(self._reach.proxy.url)
        self.secrets.add_query(urlsplit(url).query)
        self.secrets.add_headers(credentials.headers)
        self.secrets.add_headers(headers, known=_texts(self.options.model_dump()))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def request_headers(self, parcel: Parcel) -> dict[str, str]:
        """Headers of one request: the key by which a receiver can tell a repetition."""
        return {"Idempotency-Key": parcel.name}

    async def send(self, parcel: Parcel) -> Outcome:
        """Post one parcel; follow no redirect; read the answer."""
        assert self._session is not None, "open() comes first"  # noqa: S101
        headers = self.request_headers(parcel)
        self.secrets.lend(headers)
        try:
            async with self._session.post(
                self._url, data=parcel.body, headers=headers, allow_redirects=False
            ) as response:
                answer = await read_answer(response, len(parcel.events))
                # such an answer may be the proxy's
                refused = await self._reach.refused_by_proxy() if response.status in (401, 407) else None
                if refused:
                    return refused
                return self._judge(response.status, response.headers, answer, parcel)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return await self._reach.failure(error)

    def _judge(self, status: int, headers: Mapping[str, str], answer: bytes | None, parcel: Parcel) -> Outcome:
        """What an answer means, once it is known that a success is neither a page of HTML nor packed beyond reading."""
        if 200 <= status < 300:
            if answer is None:
                encoding = headers.get("Content-Encoding", "")
                return self.not_ours(status, f"packed as {encoding}, which cannot be unpacked".encode())
            if self.is_page(status, headers, answer):
                return self.not_ours(status, answer)
        mismatch = refuses_plain_http(self._url, answer or b"") if status == 400 else None
        return GiveUp(mismatch) if mismatch else self.read(status, headers, answer or b"", parcel)

    @property
    def _host(self) -> str:
        return urlsplit(self._url).hostname or "the server"

    def read(self, status: int, headers: Mapping[str, str], answer: bytes, parcel: Parcel) -> Outcome:
        """What an answer means.

        2xx: delivered, if it is a success in the vendor's own words (`accepted`). 408, 425, 429 and 5xx: again. 400, 413, 415
        and 422: refused for its content, so halves are tried until the event stands alone that it is refused for. Any other is
        permanent.
        """
        if 200 <= status < 300:
            if not self.accepted(status, headers, answer):
                return self.not_ours(status, answer)
            return Delivered()
        said = self.secrets.excerpt(answer)
        reason = f"{self._host} answered {status}" + (f" ({said})" if said else "")
        if status in CONTENT_STATUS:
            return Split(reason)
        if status in RETRY_STATUS or status >= 500:
            return Retry(reason, retry_after(headers))
        if 300 <= status < 400:
            return GiveUp(f"{reason}: redirects are not followed; put the final address into the connection")
        if status in (401, 403):
            return GiveUp(f"{reason}: correct the credentials of connection `{self.options.connection}`")
        if status == 404:
            return GiveUp(f"{reason}: correct the address of connection `{self.options.connection}`")
        return GiveUp(reason)

    takes_html: ClassVar[bool] = False
    """Whether a success may call itself HTML, as long as no markup is in it: many frameworks give that name to any answer."""

    def is_page(self, status: int, headers: Mapping[str, str], answer: bytes) -> bool:
        """Whether an answer is a page of HTML, or calls itself one: a login wall's, or another server's."""
        html = says_html(headers)
        return is_page(answer, html=html) or (html and not self.takes_html and status != 204)

    def accepted(self, status: int, headers: Mapping[str, str], answer: bytes) -> bool:
        """Whether a 2xx answer, which is no page of HTML, is a success in the vendor's own words."""
        return True

    def not_ours(self, status: int, answer: bytes) -> GiveUp:
        """What is said of a 2xx answer that is no success: a login page, another server, a wrong port."""
        said = self.secrets.excerpt(answer)
        return GiveUp(
            f"{self._host} answered {status}"
            + (f" ({said})" if said else "")
            + f", which is no success in the words of "
            f"{self.title}: another server or a login page answers there; correct the address of connection "
            f"`{self.options.connection}`"
        )

    def split(self, parcel: Parcel) -> list[Parcel]:
        """Two halves, whose names tell which."""
        middle = len(parcel.events) // 2
        if middle == 0:
            return []
        whole = range(len(parcel.events))
        return [self.subset(parcel, tuple(whole[:middle])), self.subset(parcel, tuple(whole[middle:]))]

    def subset(self, parcel: Parcel, indexes: tuple[int, ...]) -> Parcel:
        """Some of a parcel's events as a request of their own, named by them."""
        events = [parcel.events[index] for index in indexes]
        messages = [parcel.messages[index] for index in indexes]
        prefix = parcel.name.rpartition("-")[0]
        return self.parcel(prefix, events, messages, parcel)

    def parcel(self, prefix: str, events: list[EventRef], messages: list[bytes], like: Parcel | Event) -> Parcel:
        """A request with these messages. Its key is made of what it is for and what it holds: repeated, it is the same."""
        mark = hashlib.sha256(b"\n".join(b"%d" % event.id for event in events)).hexdigest()[:24]
        body = compress(self.encode(messages), self.options.compression)
        last = like.last if isinstance(like, Parcel) else cursor_of(like)
        name, sizes = f"{prefix}-{mark}", sizes_of(events, map(len, messages))
        part = Part(name, len(body), sha256(body), len(events), ids_digest(events))
        return Parcel(name, body, last, tally_of(events), sizes, [part], events, messages)

    async def check(self) -> AsyncIterator[Step]:
        """Post one small test event."""
        message = b'{"logstream":"connection test","test":true}'
        now = int((clock.now() - EPOCH).total_seconds() * 1_000_000)
        event = Event(0, 0, "test", now, now, message)
        entry = self.entry(event, message)
        outcome = await self.send(self.parcel("logstream-check", [EventRef(0, 0, "test")], [entry], event))
        ok = isinstance(outcome, Delivered)
        reason = next(iter(outcome.events.values()), "") if isinstance(outcome, Reject) else ""
        reason = reason or getattr(outcome, "reason", "")
        yield Step(f"{self._host} takes a test event", ok, "" if ok else reason, "" if ok else self.check_remedy)

    @property
    def check_remedy(self) -> str:
        """What to look at when a test event is not taken."""
        return f"Correct connection `{self.options.connection}` or the destination's options"


def _each_once(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers without repetitions, for their names are the same in any letters; the last one of a name is meant."""
    return dict({name.lower(): (name, value) for name, value in headers.items()}.values())


def _texts(value: object) -> Iterator[str]:
    """The texts among options: they are in the settings for all to see."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)
