"""Refusals, one by one: what a destination says of a parcel, and what becomes of its events."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Reject, Retry, Split
from logstream.destinations.parcel import Parcel
from logstream.destinations.registry import make_destination
from logstream.export.refusals import MOST_DOUBTED, LaneFailed, Refusals
from logstream.export.send import RetryPolicy, Sent, send
from logstream.settings.models import DestinationSettings
from logstream.testing.contract import small_parcels

QUICK = RetryPolicy(attempts=3, base=0, cap=0)


def sent(
    events: int, answer: Callable[[list[int]], Outcome], refusals: Refusals | None = None
) -> tuple[Sent, list[int]]:
    """Send one request of so many events to a receiver; what became of them, and how often each came to it."""
    settings = DestinationSettings.model_validate({"type": "http", "connection": "c", "format": "array"})
    destination: Any = make_destination("d", settings, None)  # type: ignore[arg-type]
    seen = [0] * events

    async def receive(parcel: Parcel) -> Outcome:
        for event in parcel.events:
            seen[event.id] += 1
        return answer([event.id for event in parcel.events])

    destination.send = receive
    (parcel,) = small_parcels(destination, events)
    return asyncio.run(send(destination, parcel, QUICK, refusals=refusals or Refusals())), seen


def rejected(found: Sent) -> list[int]:
    return sorted(event.id for event, _ in found.rejected)


@given(st.integers(2, 80), st.sets(st.integers(0, 79), max_size=8), st.randoms())
def test_halves_find_just_the_refused_events(events: int, bad: set[int], dice: random.Random) -> None:
    bad = {number for number in bad if number < events}
    if len(bad) == events:
        return
    arrived: list[int] = []

    def answer(ids: Sequence[int]) -> Outcome:
        if bad & set(ids):
            return Split("refused")
        arrived.extend(ids)
        return Delivered()

    found, _ = sent(events, answer)
    assert rejected(found) == sorted(bad)
    assert sorted(arrived) == [number for number in range(events) if number not in bad]
    assert sum(part.events for part in found.parts) == events - len(bad)


@given(st.integers(2, 60), st.data())
def test_of_a_bulk_each_document_has_the_fate_that_it_was_told(events: int, data: Any) -> None:
    """Refused for load once or more, then taken or refused for good: the dead letter is the one that was refused."""
    numbers = st.sets(st.integers(0, events - 1))
    bad, busy = data.draw(numbers), dict.fromkeys(data.draw(numbers), 0)
    times = {number: data.draw(st.integers(1, 3)) for number in busy}
    if len(bad) == events:
        return
    arrived: list[int] = []

    def answer(ids: Sequence[int]) -> Outcome:
        again, refused = [], {}
        for index, number in enumerate(ids):
            if number in busy and busy[number] < times[number]:
                busy[number] += 1
                again.append(index)
            elif number in bad:
                refused[index] = f"event {number} is bad"
            else:
                arrived.append(number)
        if refused:
            return Reject(refused, tuple(again))
        return Retry("busy", only=tuple(again)) if again else Delivered()

    try:
        found, _ = sent(events, answer)
    except LaneFailed:
        assert (
            len(busy) == events or len(bad) > MOST_DOUBTED
        )  # all of them busy for too long, or too many refused first
        return
    assert rejected(found) == sorted(bad)
    assert {event.id: reason for event, reason in found.rejected} == {n: f"event {n} is bad" for n in bad}
    assert sorted(arrived) == [number for number in range(events) if number not in bad]
    assert sum(part.events for part in found.parts) == len(arrived)


def test_a_receiver_that_refuses_everything_is_asked_only_so_often() -> None:
    requests = 0

    def answer(ids: Sequence[int]) -> Outcome:
        nonlocal requests
        requests += 1
        return Split("400")

    with pytest.raises(LaneFailed, match="refused each of 51 events") as caught:
        sent(400, answer)
    assert caught.value.permanent and caught.value.refused
    assert requests < 3 * MOST_DOUBTED


def test_what_was_taken_before_is_enough() -> None:
    refusals = Refusals()
    refusals.believe()
    found, _ = sent(2, lambda ids: Split("400"), refusals)
    assert rejected(found) == [0, 1]


def test_credentials_that_end_in_the_middle_are_no_refusal() -> None:
    answers = iter([Split("400"), Delivered(), GiveUp("401")])
    with pytest.raises(LaneFailed, match="401") as caught:
        sent(4, lambda ids: next(answers))
    assert not caught.value.refused
