"""What a mixed window becomes: the same bytes under the same names and keys, release after release.

`data/same_bytes.json` holds what the engine made of it when events were still read row by row. A change of it is a change for
every receiver that tells repetitions by keys, and for every manifest. `WRITE_SAME_BYTES=1 pytest tests/test_same_bytes.py` writes it anew.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
import zstandard

from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.transport.compression import Compression, compress
from logstream.errors import ConnectionNotFound
from logstream.export.exporter import Exporter
from logstream.settings.resolution import Workspace
from logstream.testing.events import EventMaker
from logstream.testing.servers import LogSink
from logstream.validation import validate_settings
from logstream.window import Window

KEPT = Path(__file__).parent / "data" / "same_bytes.json"
START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=5))
WORKSPACES = [
    Workspace(100 + number, None if number % 5 == 0 else f"c-{number}", f"C {number}") for number in range(14)
]
EVENTS = ["job_details", "user_activity", "api_platform", "log_service", "genie"]

MESSAGES: list[Any] = [
    None,
    '{"source": "workato", "event": {{{log_message}}}}',
    '{"message": {{{log_message_str}}}, "of": {{{workspace.id}}}}',
    '{"text": "<{{{log_message}}}>", "kind": {{{event.kind}}}, "who": {{{workspace.external_id}}}}',
    '{"id": {{{event.id}}}, "mail": {{{$.context.user_email}}}, "event": {{{log_message}}}}',
    {"job": '{"job": {{{log_message}}}, "by": "{{{workspace.name}}}"}', "default": "{{{log_message_str}}}"},
]
"""Of each way in which a message can be made."""

DESTINATIONS: dict[str, dict[str, Any]] = {
    "plain": {"type": "file", "packaging": "batch", "lanes": 3},
    "gzip": {"type": "file", "packaging": "batch", "compression": "gzip", "object_mb": 1, "lanes": 1},
    "zstd": {"type": "file", "packaging": "batch", "compression": "zstd", "object_mb": 1, "hive": True},
    "files": {"type": "file", "packaging": "file"},
    "table": {"type": "file", "packaging": "parquet", "columns": {"status": "$.status"}, "lanes": 2},
    "single": {"type": "http", "connection": "sink", "path": "/single", "lanes": 2},
    "array": {"type": "http", "connection": "sink", "path": "/array", "format": "array", "compression": "gzip"},
}


def payloads() -> Iterator[tuple[int, str, str]]:
    """Workspace, kind and JSON of each event: busy and quiet workspaces, and whatever JSON may look like."""
    for number, line in enumerate(EventMaker(WORKSPACES[:12]).lines(4_000, START, timedelta(minutes=4))):
        event = json.loads(line)["event"]
        text = json.dumps(event["payload"], ensure_ascii=number % 2 == 0, indent=1 if number % 97 == 0 else None)
        yield event["workspace_id"], event["kind"], text
    odd = [
        "[]", '"text"', "12.50", "null", '{"a":\r\n\t"b"}', '{"lines": [1, 2], "\\u006cines": 3, "id": "x"}',
        '{"x":' + "[" * 400 + "]" * 400 + "}", '{"x":' + "[" * 700 + "]" * 700 + "}", '{"t": "' + "[" * 3_000 + '"}',
        '{"n": 123456789012345678901234567890, "f": 1.50, "q": "\\ud800 \\u0000 \\"\\\\ \u2028 \x7f é 李"}',
        '{"big": "' + "x" * 300_000 + '"}', ' { "space" : [ ] } ',
    ]  # fmt: skip
    for workspace in (100, 101, 102, 103, 104, 105, 112):
        for kind in ("job", "user_activity", "api_platform", "log_service", "genie"):
            for text in odd:
                yield workspace, kind, text


def fill(store: psycopg.Connection) -> None:
    """Put the window's events into a log store, a hundred of them at each instant; some rows are no events."""
    for workspace in WORKSPACES:
        store.execute(
            "insert into workspaces values (%s, %s, %s)", (workspace.id, workspace.external_id, workspace.name)
        )
    with (
        store.cursor() as cursor,
        cursor.copy("copy events (id, workspace_id, kind, occurred_at, recorded_at, payload) from stdin") as copy,
    ):
        for number, (workspace, kind, payload) in enumerate(payloads()):
            moment = START + timedelta(milliseconds=number // 100 * 3_000)
            occurred = "infinity" if number % 611 == 0 else moment - timedelta(milliseconds=number % 900)
            # ids run against the order of insertion within an instant
            copy.write_row((number - number % 100 + 99 - number % 100, workspace, kind, occurred, moment, payload))


def document(folder: Path) -> dict[str, Any]:
    """Settings by which every destination has several workspaces, and every way to make a message several of these."""
    workspaces, names = [], list(DESTINATIONS)
    for number, workspace in enumerate(WORKSPACES):
        streaming: dict[str, Any] = {"enabled": True, "events": EVENTS, "destination": names[number % len(names)]}
        if MESSAGES[number % len(MESSAGES)] is not None:
            streaming["message"] = MESSAGES[number % len(MESSAGES)]
        if number % 4 == 3:
            streaming["events"] = ["job_status", *EVENTS[1:]]
        if number == 6:
            streaming["mask"] = ["$.context.user_email"]
        if number % 6 == 5:
            streaming["log_levels"] = ["error", "warn"]
        workspaces.append({"id": workspace.id, "streaming": streaming})
    where = {
        name: {**options, "path": str(folder / name)} if options["type"] == "file" else options
        for name, options in DESTINATIONS.items()
    }
    return {"workspaces": workspaces, "destinations": where}


class Connections:
    """The one connection there is."""

    def __init__(self, sink: LogSink) -> None:
        self._sink = sink

    def http(self, connection: str, default_url: str | None = None) -> HttpCredentials:
        if connection != "sink":
            raise ConnectionNotFound(connection)
        return HttpCredentials(self._sink.url, headers={"Authorization": f"Bearer {self._sink.token}"})

    def aws(self, connection: str) -> Any:
        raise ConnectionNotFound(connection)

    azure_blob = gcs = azure_token = aws


def plain(name: str, body: bytes) -> bytes:
    """An object's contents. What compresses them is not ours; that it is the whole object at once is seen here."""
    if name.endswith(".gz"):
        found = gzip.decompress(body)
        assert compress(found, Compression.GZIP) == body
        return found
    if name.endswith(".zst"):
        found = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        assert compress(found, Compression.ZSTD) == body
        return found
    if name.endswith(".parquet"):
        return json.dumps(pq.read_table(io.BytesIO(body)).to_pylist(), default=str).encode()
    return body


def made_of(store: psycopg.Connection, folder: Path, sink: LogSink) -> dict[str, Any]:
    """Export the window; return names and keys with digests of what is under them, and what is in the ledger."""
    with Exporter(store.info.dsn, store.info.dsn, Connections(sink)) as exporter:  # type: ignore[arg-type]
        exporter.settings.apply(validate_settings(document(folder)))
        planned = exporter.plan(WINDOW)
        results = exporter.deliver([key for share in planned.shares for key in share.lanes])
        assert [result.error for result in results if result.error] == []
        reports = exporter.seal(planned.delivery_ids)
        rejected = sorted((row.event_id, row.destination, row.reason) for row in exporter.ledger.rejected())
        # of what is compressed neither size nor digest is ours alone
        parts = [(part.name, part.events, part.ids) for _, part in exporter.ledger.parts(planned.delivery_ids)]
        lanes = [
            [lane.destination, lane.lane, lane.requests, _counts(lane.delivered), _counts(lane.sizes)]
            for lane in exporter.ledger.lanes([key for share in planned.shares for key in share.lanes])
        ]
    found = {
        str(path.relative_to(folder)): hashlib.sha256(plain(path.name, path.read_bytes())).hexdigest()[:24]
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "_manifests" not in path.parts
    }
    requests = {}
    for headers, path, body in zip(sink.headers, sink.paths, sink.bodies, strict=True):
        requests[f"{path} {headers['Idempotency-Key']}"] = hashlib.sha256(body).hexdigest()[:24]
    files = {name: digest for name, digest in found.items() if not name.startswith("files/")}
    return {
        "events": {report.destination: report.events for report in sorted(reports, key=lambda one: one.destination)},
        "objects": files,
        "events' objects": [len(found) - len(files), _digest(found)],
        "requests": [len(requests), _digest(requests)],
        "parts": [len(parts), _digest(sorted(parts))],
        "lanes": _digest(sorted(lanes)),
        "rejected": [list(row) for row in rejected],
    }


def _counts(counter: Counter[Any]) -> list[Any]:
    return sorted([*key, count] if isinstance(key, tuple) else [key, count] for key, count in counter.items())


def _digest(found: Any) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


@pytest.fixture
def filled(store: psycopg.Connection) -> psycopg.Connection:
    fill(store)
    return store


def test_a_window_becomes_the_same_bytes_under_the_same_names_and_keys(
    filled: psycopg.Connection, tmp_path: Path, sink: LogSink
) -> None:
    found = made_of(filled, tmp_path / "out", sink)
    if os.environ.get("WRITE_SAME_BYTES"):
        KEPT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(KEPT.read_text())
