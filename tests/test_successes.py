"""What a receiver answers with a 2xx, and which of it is a success: in the vendor's own words only."""

from __future__ import annotations

import asyncio
import gzip
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
import zstandard

from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.grafana_loki import GrafanaLokiDestination
from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Reject, Retry
from logstream.destinations.parcel import LaneRef, Parcel
from logstream.destinations.registry import make_destination
from logstream.destinations.transport.answers import unpacked
from logstream.events import Event
from logstream.messages import Messages
from logstream.settings.models import DestinationSettings
from logstream.testing.contract import StaticConnections, small_parcels
from tests.test_packing import LANE

EVENTS = 3
OPTIONS: dict[str, dict[str, Any]] = {
    "http": {"format": "array"},
    "elasticsearch": {"index": "a"},
    "azure_monitor": {"rule_id": "dcr-1", "stream": "Custom-A"},
}
HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<!doctype html><html>Sign in"


def packed(text: bytes) -> bytes:
    """With no time in it: the names of tests are made of it."""
    return gzip.compress(text, mtime=0)


@contextmanager
def answering(status: int, body: bytes, headers: dict[str, str]) -> Iterator[str]:
    """A server that gives every request the same answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def outcome(kind: str, status: int, body: bytes, headers: dict[str, str]) -> Outcome:
    """What a destination makes of an answer to a request of three events."""
    with answering(status, body, headers) as url:
        options = {"type": kind, "connection": "c", **OPTIONS.get(kind, {})}
        if kind == "azure_monitor":
            options["endpoint"] = url
        connections: Any = StaticConnections(HttpCredentials(url, password="t"), "t")
        destination = make_destination("d", DestinationSettings.model_validate(options), connections)

        async def send() -> Outcome:
            await destination.start()
            try:
                (parcel,) = small_parcels(destination, EVENTS)
                return await destination.deliver(parcel)
            finally:
                await destination.close()

        return asyncio.run(send())


def items(*statuses: object, errors: bool = False) -> bytes:
    return orjson.dumps({"errors": errors, "items": [{"create": {"status": status}} for status in statuses]})


@pytest.mark.parametrize(
    ("kind", "status", "body", "headers"),
    [
        ("http", 200, b"<div>Please log in</div>", HTML),
        ("http", 200, b"<!-- " + b"x" * 9_000 + b" --><html><body>login", HTML),
        ("http", 200, "\ufeff<html>".encode("utf-16"), HTML),
        ("http", 200, b"\x0b\x02\x80abc", {**HTML, "Content-Encoding": "br"}),
        ("http", 200, packed(packed(PAGE)), {"Content-Encoding": "gzip, gzip"}),
        ("http", 200, packed(b"") + packed(PAGE), {"Content-Encoding": "gzip"}),
        ("http", 200, zstandard.compress(packed(PAGE)), {"Content-Encoding": "gzip, zstd"}),
        ("http", 200, packed(b"ok")[:12] + b"\xff" * 9, {"Content-Encoding": "gzip"}),
        ("sumo_logic", 200, b"", HTML),
        ("sumo_logic", 200, b'{"error": "no"}', {}),
        ("sumo_logic", 200, b'{"code": "unauthorized", "message": "x"}', {}),
        ("grafana_loki", 200, b" ", HTML),
        ("new_relic", 202, b'{"requestId": "1"}', HTML),
        ("datadog", 202, b"<div>x</div>", HTML),
        ("datadog", 202, b'{"errors": ["bad"]}', {}),
        ("datadog", 202, b"welcome", {}),
        ("splunk_hec", 200, b'{"text": "no", "code": false}', {}),
        ("splunk_hec", 200, b'{"text": "Success", "code": 0}', HTML),
        ("elasticsearch", 200, items(201, 201, 201), HTML),
        ("elasticsearch", 200, b'{"errors": false}', {}),
        ("elasticsearch", 200, items(), {}),
        ("elasticsearch", 200, items(201), {}),
        ("elasticsearch", 200, items(400, 400, 400), {}),
        ("elasticsearch", 200, items(True, True, True, errors=True), {}),
        ("elasticsearch", 200, items(0, 0, 0, errors=True), {}),
        ("elasticsearch", 200, items(302, 302, 302, errors=True), {}),
        ("elasticsearch", 200, items(201, 201, 201, errors=True), {}),
        ("elasticsearch", 200, items(201, 200, 201).replace(b"200", b'200,"error":{"type":"x"}'), {}),
    ],
)  # fmt: skip
def test_what_is_no_success(kind: str, status: int, body: bytes, headers: dict[str, str]) -> None:
    assert isinstance(outcome(kind, status, body, headers), GiveUp | Retry | Reject)


@pytest.mark.parametrize(
    ("kind", "status", "body", "headers"),
    [
        ("http", 200, b"ok", HTML),
        ("http", 200, b"", HTML),
        ("http", 200, b"ok", {"Content-Encoding": "br"}),
        ("http", 200, packed(packed(b"ok")), {"Content-Encoding": "gzip, gzip"}),
        ("http", 204, b"", {**HTML, "Content-Encoding": "br"}),
        ("azure_monitor", 204, b"", HTML),
        ("grafana_loki", 204, b"", {}),
        ("datadog", 202, b"{}", {}),
        ("datadog", 202, b'{"errors": []}', {}),
        ("sumo_logic", 200, b"", {"Content-Type": "text/plain"}),
        ("sumo_logic", 200, b'{"status": 200, "id": "x"}', {}),
        ("splunk_hec", 200, b'{"text": "Success", "code": 0}', {}),
        ("elasticsearch", 200, items(201, 200, 409), {}),
        ("elasticsearch", 200, items(201, 200, 409, errors=True), {}),
    ],
)  # fmt: skip
def test_what_is_a_success(kind: str, status: int, body: bytes, headers: dict[str, str]) -> None:
    assert outcome(kind, status, body, headers) == Delivered()


def test_an_answer_that_cannot_be_unpacked_is_told_as_that() -> None:
    said = outcome("http", 200, b"\x0b\x02\x80abc", {"Content-Encoding": "br"})
    assert isinstance(said, GiveUp) and "packed as br, which cannot be unpacked" in said.reason


def test_members_of_an_answer_unpack_to_no_more_than_is_wanted() -> None:
    assert unpacked(packed(b"x" * 900) * 1_000, "gzip", 1_000) == b"x" * 1_000


def loki(messages: list[bytes], **options: Any) -> tuple[GrafanaLokiDestination, list[Parcel]]:
    """Requests of one event for each of as many workspaces."""
    stored = DestinationSettings.model_validate({"type": "grafana_loki", "connection": "c", **options})
    destination: Any = make_destination("d", stored, None)  # type: ignore[arg-type]
    lane = LaneRef("d", LANE.window, 0, 1)
    packer = destination.packer(lane, 0)
    events = [Event(number, 10_000 + number, "job", 0, number, b"") for number in range(len(messages))]
    return destination, [*packer.pack(events, Messages(messages)), *packer.finish()]


def test_requests_of_thousands_of_streams_are_within_lokis_limit() -> None:
    _, parcels = loki([b'{"n":"%d"}' % number for number in range(20_000)], workspace_label="workspace")
    assert len(parcels) > 1
    assert all(900_000 < len(parcel.body) <= 1_000_000 for parcel in parcels[:-1])
    streams = [stream for parcel in parcels for stream in orjson.loads(parcel.body)["streams"]]
    assert {stream["stream"]["workspace"] for stream in streams} == {str(10_000 + number) for number in range(20_000)}


def test_lokis_limit_of_a_line_is_of_the_line_as_it_stores_it() -> None:
    """Quotes and labels take more bytes on the way than in the line."""
    line = b'{"t":"%b"}' % (b'\\"' * 127_000)
    over = b'{"t":"%b"}' % (b"x" * 256_000)
    _, parcels = loki([line, over, b'{"n":1}'], labels={"job": "x" * 2_000})
    assert [parcel.refused is not None for parcel in parcels] == [False, True, False]
    ((stored,),) = [stream["values"] for stream in orjson.loads(parcels[0].body)["streams"]]
    assert stored[1].encode() == line
    assert "its message has 256,008 bytes" in str(parcels[1].refused)
