"""Where messages are cut depends on the messages alone, and nothing is lost or doubled by it."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
import zstandard
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.http import HttpDestination, HttpOptions
from logstream.destinations.parcel import LaneRef, Packer, Parcel
from logstream.destinations.registry import make_destination
from logstream.destinations.request import RequestDestination
from logstream.destinations.transport import object_packing
from logstream.destinations.transport.compression import BLOCK, Compression, Stream, compress
from logstream.destinations.transport.layouts import PlatformLayout
from logstream.destinations.transport.object_packing import BatchPacker, EventPacker
from logstream.destinations.transport.request_packing import RequestPacker
from logstream.events import Event
from logstream.messages import Messages
from logstream.settings.models import DestinationSettings
from logstream.window import Window

LANE = LaneRef("lake", Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)), 0, 4)
MESSAGES = st.lists(st.binary(min_size=1, max_size=60).map(lambda raw: b'"' + raw.hex().encode() + b'"'), max_size=40)


def events_for(messages: list[bytes]) -> list[Event]:
    return [Event(index, index % 3, ("job", "log_service")[index % 2], 0, index, b"") for index in range(len(messages))]


def pack(packer: Packer, messages: list[bytes], cuts: Iterable[int]) -> list[Parcel]:
    events = events_for(messages)
    places = sorted({0, len(messages), *(cut for cut in cuts if cut < len(messages))})
    parcels: list[Parcel] = []
    for start, stop in itertools.pairwise(places):
        parcels += packer.pack(events[start:stop], Messages(messages[start:stop]))
    return [*parcels, *packer.finish()]


class _None:
    def aws(self, connection: str) -> None: ...
    def azure_blob(self, connection: str) -> None: ...
    def http(self, connection: str) -> HttpCredentials:
        return HttpCredentials("http://127.0.0.1")


def http(**options: object) -> HttpDestination:
    return HttpDestination("hook", HttpOptions(connection="hook", **options), _None())  # type: ignore[arg-type]


@given(MESSAGES, st.lists(st.integers(0, 40)), st.sampled_from(Compression))
def test_batches(messages: list[bytes], cuts: list[int], compression: Compression) -> None:
    whole = pack(BatchPacker("p/", compression, LANE, 0, PlatformLayout()), messages, [])
    assert [
        (p.name, p.body) for p in pack(BatchPacker("p/", compression, LANE, 0, PlatformLayout()), messages, cuts)
    ] == [(p.name, p.body) for p in whole]
    assert b"".join(map(_plain(compression), (p.body for p in whole))) == b"".join(m + b"\n" for m in messages)


@pytest.fixture
def small_objects(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(object_packing, "OBJECT_BYTES", 200)
    return 200


def test_batches_are_cut_after_the_event_that_fills_them(small_objects: int) -> None:
    messages = [b'"%s"' % (b"x" * (index % 90)) for index in range(100)]
    whole = pack(BatchPacker("p/", Compression.GZIP, LANE, 0, PlatformLayout()), messages, [])
    assert len(whole) > 10
    for parcel in whole[:-1]:
        lines = gzip.decompress(parcel.body).splitlines(keepends=True)
        assert sum(map(len, lines)) >= small_objects > sum(map(len, lines[:-1]))
    assert [p.name[-15:-10] for p in whole] == [f"{n:05d}" for n in range(len(whole))]
    for cut in range(1, 100, 7):
        assert [
            p.body
            for p in pack(BatchPacker("p/", Compression.GZIP, LANE, 0, PlatformLayout()), messages, range(0, 100, cut))
        ] == [p.body for p in whole]
    # a retry that begins after an object makes the same ones
    done = sum(whole[0].tally.values()) + sum(whole[1].tally.values())
    packer = BatchPacker("p/", Compression.GZIP, LANE, 2, PlatformLayout())
    again = [*packer.pack(events_for(messages)[done:], Messages(messages[done:])), *packer.finish()]
    assert [(p.name, p.body, p.last, p.tally, p.sizes) for p in again] == [
        (p.name, p.body, p.last, p.tally, p.sizes) for p in whole[2:]
    ]


@pytest.mark.parametrize("compression", list(Compression))
def test_compression_does_not_depend_on_how_the_input_comes(compression: Compression) -> None:
    data = b"".join(b'{"n": %d, "x": "%d"}\n' % (n, n * n) for n in range(200_000))
    assert len(data) > 4 * BLOCK
    whole = compress(data, compression)
    assert _plain(compression)(whole) == data
    for step in (1_000, 77_777, BLOCK, BLOCK + 1):
        stream = Stream(compression)
        for start in range(0, len(data), step):
            stream.write(data[start : start + step])
        assert stream.finish() == whole


@given(MESSAGES, st.lists(st.integers(0, 40)), st.integers(1, 7))
@hypothesis_settings(max_examples=100)
def test_requests(messages: list[bytes], cuts: list[int], most: int) -> None:
    destination = http(format="array", max_events=most, max_bytes=1_000)
    whole = pack(RequestPacker(destination, LANE), messages, [])
    again = pack(RequestPacker(destination, LANE), messages, cuts)
    assert [(p.name, p.body) for p in again] == [(p.name, p.body) for p in whole]
    assert [message for parcel in whole for message in parcel.messages] == messages
    for parcel in whole:
        assert len(parcel.events) <= most
        assert len(parcel.body) <= 1_000
        assert parcel.tally.total() == len(parcel.events)
    assert len({parcel.name for parcel in whole}) == len(whole)


BY_BYTES_ALONE = {
    "splunk_hec": {},
    "new_relic": {},
    "grafana_loki": {"labels": {"job": "audit"}},
    "sumo_logic": {},
    "elasticsearch": {"index": "audit"},
    "azure_monitor": {"endpoint": "https://dce.example", "rule_id": "dcr-1", "stream": "Custom-A"},
    "datadog": {},
    "http": {"format": "array"},
}


@pytest.mark.parametrize("kind", BY_BYTES_ALONE)
@given(MESSAGES, st.lists(st.integers(0, 40)), st.integers(0, 3))
@hypothesis_settings(max_examples=50)
def test_pages_that_give_a_lane_nothing(kind: str, messages: list[bytes], cuts: list[int], empty: int) -> None:
    """A quiet lane beside a busy one gets pages without events: they neither break a request nor cut one."""
    stored = DestinationSettings(type=kind, connection="c", **BY_BYTES_ALONE[kind])  # type: ignore[arg-type]
    destination = make_destination("d", stored, _None())  # type: ignore[arg-type]
    assert isinstance(destination, RequestDestination)
    packer = RequestPacker(destination, LANE)
    events = events_for(messages)
    places = sorted({0, len(messages), *(cut for cut in cuts if cut < len(messages))})
    parcels: list[Parcel] = []
    for start, stop in itertools.pairwise([0, *places]):
        for _ in range(empty):
            parcels += packer.pack([], Messages([]))
        parcels += packer.pack(events[start:stop], Messages(messages[start:stop]))
    parcels += [*packer.pack([], Messages([])), *packer.finish()]
    assert [event.id for parcel in parcels for event in parcel.events] == [event.id for event in events]
    assert all(parcel.events for parcel in parcels)
    # so few bytes fill no request: there is one, however the pages fell
    assert len(parcels) == bool(messages)


def _plain(compression: Compression):  # type: ignore[no-untyped-def]
    return {
        Compression.NONE: bytes,
        Compression.GZIP: gzip.decompress,
        Compression.ZSTD: lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    }[compression]


def test_an_event_without_a_name_is_rejected_alone() -> None:
    class Numbers(PlatformLayout):
        def event_key(self, event: Event, lane: LaneRef) -> str:
            if event.id == 2:
                raise OverflowError("date value out of range")
            return f"{event.id}.json"

    def packed(cuts: list[int]) -> list[tuple[str, str | None, list[str]]]:
        packer = EventPacker("p/", Compression.NONE, LANE, Numbers())
        return [
            (parcel.name, parcel.refused, [name for name, _ in getattr(parcel, "objects", [])])
            for parcel in pack(packer, [b"{}"] * 5, cuts)
        ]

    why = "it cannot be made ready for sending (OverflowError: date value out of range)"
    first = events_for([b"{}"])[0].id
    before = [f"p/{number}.json" for number in range(first, 2)]
    after = [f"p/{number}.json" for number in range(3, first + 5)]
    assert packed([]) == [(before[0], None, before), ("p/2", why, []), (after[0], None, after)]
    assert packed([1, 2, 3]) == packed([])
