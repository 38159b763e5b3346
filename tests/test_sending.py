"""How one parcel is sent: again, in halves, or given up, as its receiver answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Reject, Retry, Split
from logstream.destinations.parcel import Parcel
from logstream.destinations.request import RequestDestination
from logstream.destinations.transport.answers import retry_after
from logstream.export.send import send
from tests.test_engine import QUICK, Connections


class _Scripted(RequestDestination[Any]):
    """A destination that answers by a script."""

    type = "scripted"
    title = "Scripted"

    def __init__(self, script: Callable[[Parcel], Outcome]) -> None:
        from logstream.destinations.http import HttpOptions

        super().__init__("scripted", HttpOptions(connection="x", format="array"), Connections())
        self.script, self.seen = script, []

    def url(self, credentials: HttpCredentials) -> str:
        return credentials.base_url

    def encode(self, entries: Any) -> bytes:
        return b"[" + b",".join(entries) + b"]"

    async def send(self, parcel: Parcel) -> Outcome:
        self.seen.append([event.id for event in parcel.events])
        return self.script(parcel)

    async def check(self) -> AsyncIterator[Any]:
        yield None


def parcel_of(destination: _Scripted, count: int) -> Parcel:
    from logstream.destinations.parcel import EventRef
    from logstream.events import Event

    events = [EventRef(number, 1, "job") for number in range(count)]
    return destination.parcel("p", events, [b"%d" % n for n in range(count)], Event(count, 1, "job", 0, 0, b""))


def test_too_large_is_split_until_one_is_left() -> None:
    destination = _Scripted(
        lambda parcel: (
            Split("too large") if 5 in [e.id for e in parcel.events] or len(parcel.events) > 4 else Delivered()
        )
    )
    sent = asyncio.run(send(destination, parcel_of(destination, 16), QUICK))
    assert [(event.id, reason) for event, reason in sent.rejected] == [(5, "too large")]
    delivered = [ids for ids in destination.seen if 5 not in ids and len(ids) <= 4]
    assert sorted(sum(delivered, [])) == [n for n in range(16) if n != 5]
    assert sum(delivered, []) == sorted(sum(delivered, []))


def test_only_what_failed_is_sent_again() -> None:
    def script(parcel: Parcel) -> Outcome:
        if len(parcel.events) == 10:
            return Reject({3: "bad"}, resend=tuple(range(4, 10)))
        return Delivered()

    destination = _Scripted(script)
    sent = asyncio.run(send(destination, parcel_of(destination, 10), QUICK))
    assert [event.id for event, _ in sent.rejected] == [3]
    assert destination.seen == [list(range(10)), list(range(4, 10))]


@pytest.mark.parametrize(
    ("outcome", "tries", "permanent"),
    [(Retry("busy"), 12, False), (GiveUp("no"), 1, True), (Retry("busy", after=9_999), 1, False)],
)
def test_giving_up(outcome: Outcome, tries: int, permanent: bool) -> None:
    from logstream.export.refusals import LaneFailed

    destination = _Scripted(lambda _: outcome)
    with pytest.raises(LaneFailed) as caught:
        asyncio.run(send(destination, parcel_of(destination, 2), QUICK))
    assert len(destination.seen) == tries
    assert caught.value.permanent is permanent


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("", None), ("soon", None), ("-5", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)
def test_retry_after_headers(header: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": header} if header else {}) == seconds
