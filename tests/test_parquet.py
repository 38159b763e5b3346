"""Parquet: what goes in comes out by readers that we did not write, the same events give the same bytes, and it is proved like the rest."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from logstream.destinations import objects
from logstream.destinations.parcel import LaneRef, Parcel
from logstream.destinations.registry import check_options
from logstream.destinations.transport import object_packing, parquet
from logstream.destinations.transport.layouts import PlatformLayout
from logstream.destinations.transport.parquet import ENVELOPE, Codec, ParquetPacker
from logstream.events import Event
from logstream.messages import Messages
from logstream.testing.servers import S3Server
from logstream.verify.verifier import verify
from logstream.window import Window

from .auditor import audit
from .conftest import Cli
from .stage import PROJECT
from .test_engine import WINDOW, WORKSPACES, Make, canonical, engine, export, files, filled, override, stored

__all__ = ["engine", "filled"]  # fixtures

LANE = LaneRef(
    "lake", Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)), 0, 1, {0: "acme", 1: None}
)
INFINITE = 2**63 - 1


def packer(columns: dict[str, str] | None = None, size: int = 300, codec: Codec = Codec.ZSTD) -> ParquetPacker:
    return ParquetPacker("p/", codec, LANE, 0, PlatformLayout(), columns=columns or {}, object_bytes=size)


def pack(made: ParquetPacker, events: list[Event], messages: list[bytes], cuts: list[int]) -> list[Parcel]:
    parcels: list[Parcel] = []
    for start, stop in itertools.pairwise(sorted({0, len(events), *(cut for cut in cuts if cut < len(events))})):
        parcels += made.pack(events[start:stop], Messages(messages[start:stop]))
    return [*parcels, *made.finish()]


def rows(parcels: list[Parcel]) -> list[dict[str, Any]]:
    return [row for p in parcels if not p.refused for row in pq.read_table(io.BytesIO(p.body)).to_pylist()]


def an_event(number: int, **other: Any) -> Event:
    return Event(number, number % 3, "job", 1_000 * number, 2_000 * number, b"")._replace(**other)


MESSAGES = st.lists(
    st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=9) | st.none(), max_size=4), max_size=40
).map(lambda documents: [json.dumps(document).encode() for document in documents])


@given(MESSAGES, st.lists(st.integers(0, 40)), st.sampled_from(Codec), st.integers(1, 6))
@hypothesis_settings(max_examples=60)
def test_the_same_events_give_the_same_bytes_however_they_come_in(
    messages: list[bytes], cuts: list[int], codec: Codec, group: int
) -> None:
    events = [an_event(number) for number in range(len(messages))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "GROUP_ROWS", group)
        whole = pack(packer(codec=codec), events, messages, [])
        parts = pack(packer(codec=codec), events, messages, cuts)
    assert [(p.name, p.body) for p in whole] == [(p.name, p.body) for p in parts]
    assert [row["message"].encode() for row in rows(whole)] == messages
    assert [row["id"] for row in rows(whole)] == [event.id for event in events]
    assert sum(p.tally.total() for p in whole) == len(messages)
    assert sum((p.sizes for p in whole), Counter()).total() == sum(map(len, messages))
    assert all(sum(map(len, (row["message"].encode() for row in rows([p])))) >= 300 for p in whole[:-1]), (
        "cut too early"
    )


def test_resuming_at_an_object_gives_the_same_objects() -> None:
    events = [an_event(number) for number in range(30)]
    messages = [b'{"n": %d, "text": "%s"}' % (number, b"x" * 40) for number in range(30)]
    whole = pack(packer(), events, messages, [])
    assert len(whole) > 3
    done = sum(p.tally.total() for p in whole[:2])
    again = ParquetPacker("p/", Codec.ZSTD, LANE, 2, PlatformLayout(), columns={}, object_bytes=300)
    assert [p.body for p in pack(again, events[done:], messages[done:], [])] == [p.body for p in whole[2:]]


def test_the_envelope_in_columns_of_its_types() -> None:
    events = [
        an_event(1),
        an_event(2, occurred_us=INFINITE),
        an_event(3, occurred_us=-(2**63)),
        an_event(4, workspace_id=0),
    ]
    (parcel,) = pack(packer(size=10**6), events, [b"{}"] * 4, [])
    table = pq.read_table(io.BytesIO(parcel.body))
    assert tuple(table.column_names) == ENVELOPE
    assert [str(field.type) for field in table.schema] == [
        "int64", "string", "string", "int64", "timestamp[us, tz=UTC]", "timestamp[us, tz=UTC]", "string",
    ]  # fmt: skip
    found = table.to_pylist()
    assert found[0]["occurred_at"] == datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=1_000)
    assert [row["occurred_at"] for row in found[1:3]] == [None, None]
    assert [row["external_id"] for row in found] == [None, None, "acme", "acme"]
    metadata = pq.ParquetFile(io.BytesIO(parcel.body)).metadata
    assert metadata.metadata is None, "nothing in it may change from run to run"
    assert {metadata.row_group(0).column(index).compression for index in range(7)} == {"ZSTD"}


VALUES = [
    b'{"s": "text", "n": 7, "f": 1.5, "b": true, "o": {"a": [1, null]}}',
    b'{"s": 7, "n": "7", "f": "x", "b": 1, "o": null}',
    b'{"n": 7.0, "f": 3, "s": "\\ud800", "b": null}',
    b'{"n": 9223372036854775807, "f": 1e999, "s": 0.10}',
    b'{"n": 9223372036854775808, "f": -1e400, "s": true}',
    b'{"n": 1.5, "f": 123456789012345678901234567890, "s": false}',
    b'{"n": true, "f": true, "s": []}',
    b"[1, 2]",
    b'"text"',
    b'{"n": %s, "f": 0, "s": ""}' % (b"9" * 5_000),
    b'{"n": -9223372036854775808, "f": %s}' % (b"9" * 400),
    b'{"n": 9007199254740993.0, "f": -%s}' % (b"9" * 400),
]


def test_values_of_the_message_as_typed_columns() -> None:
    columns = {
        "s": "$.s", "n": "$.n as int64", "f": "$.f as float64", "b": "$.b as boolean", "o": "$.o as string",
        "first": "$..[0] as int64",
    }  # fmt: skip
    events = [an_event(number) for number in range(len(VALUES))]
    found = rows(pack(packer(columns, 10**6), events, VALUES, [3]))
    assert [row["n"] for row in found] == [7, None, 7, 2**63 - 1, *[None] * 6, -(2**63), 9007199254740993]
    infinity = float("inf")
    assert [row["f"] for row in found] == [
        1.5,
        None,
        3.0,
        infinity,
        -infinity,
        1.2345678901234568e29,
        None,
        None,
        None,
        0.0,
        infinity,
        -infinity,
    ]
    assert [row["b"] for row in found] == [True, *[None] * 11]
    assert [row["s"] for row in found] == ["text", "7", "?", "0.10", "true", "false", "[]", None, None, "", None, None]
    assert json.loads(found[0]["o"]) == {"a": [1, None]} and found[1]["o"] is None
    assert [row["first"] for row in found][7] == 1
    assert [row["message"].encode() for row in found] == VALUES


def test_what_can_be_no_row_is_rejected_in_its_place() -> None:
    events = [an_event(number) for number in range(5)]
    parcels = pack(packer(size=10**6), events, [b"{}", b'"\xff"', b"{}", b'"\xed\xa0\x80"', b"{}"], [])
    assert [(bool(p.refused), [row["id"] for row in rows([p])]) for p in parcels] == [
        (False, [0]), (True, []), (False, [2]), (True, []), (False, [4]),
    ]  # fmt: skip
    assert "UTF-8" in (parcels[1].refused or "")
    assert len({p.name for p in parcels}) == 5


def test_resuming_beside_events_that_are_rejected_gives_the_same_objects() -> None:
    events = [an_event(number) for number in range(24)]
    messages = [b'"\xff"' if number in (0, 7, 8, 23) else b'{"text": "%s"}' % (b"x" * 60) for number in range(24)]
    whole = pack(packer(), events, messages, [])
    done = 0
    for parcels in range(len(whole) + 1):
        again = ParquetPacker("p/", Codec.ZSTD, LANE, parcels, PlatformLayout(), columns={}, object_bytes=300)
        rest = pack(again, events[done:], messages[done:], [])
        assert [(p.name, p.body) for p in rest] == [(p.name, p.body) for p in whole[parcels:]], parcels
        done += whole[parcels].tally.total() if parcels < len(whole) else 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"packaging": "batch", "columns": {"a": "$.a"}}, "only packaging parquet"),
        ({"packaging": "parquet", "columns": {"Message": "$.a"}}, "there is a column message already"),
        ({"packaging": "parquet", "columns": {"Status": "$.a", "status": "$.b"}}, "there is a column status already"),
        ({"packaging": "parquet", "columns": {"year": "$.a"}, "hive": True}, "there is a column year already"),
        ({"packaging": "parquet", "columns": {"a": "$.a["}}, ""),
        ({"packaging": "parquet", "columns": {"a b": "$.a"}}, ""),
        ({"packaging": "parquet", "columns": {"a": "$.a as date"}}, "the type `date` is unknown"),
        ({"packaging": "parquet", "object_mb": 0}, ""),
        ({"packaging": "parquet", "key": "{event_id}"}, "use packaging file"),
    ],
)
def test_refused_options(options: dict[str, Any], problem: str) -> None:
    found = check_options("file", {"path": "/tmp/x", **options})
    assert found and problem in found[0][1], found


def lake(folder: Path, **options: Any) -> dict[str, Any]:
    return override({"type": "file", "path": str(folder), "packaging": "parquet", **options})


def test_a_window_read_back_by_duckdb_and_proved(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    out = tmp_path / "out"
    columns = {"recipe": "$..name", "calls": "$.calls_count as int64"}
    exporter = engine(lake(out, columns=columns, object_mb=1, lanes=3, manifests=True))
    _, (report,) = export(exporter)
    assert (report.events, report.error) == (1_500, None)
    first = {name: body for name, body in files(out).items() if name.endswith(".parquet")}
    assert report.requests == len(first) >= 3
    with duckdb.connect() as duck:
        relation = duck.execute(f"select * from read_parquet('{out}/**/*.parquet')")
        names = [column[0] for column in relation.description]
        found = [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
        query = f"select count(*), count(distinct id), min(recorded_at) from '{out}/**/*.parquet' where kind = 'job'"
        counted = duck.execute(query).fetchone()
    assert tuple(names) == (*ENVELOPE, "recipe", "calls")
    assert canonical([json.loads(row["message"]) for row in found]) == stored(filled)
    jobs = filled.execute(
        "select count(*), count(distinct id), min(recorded_at) from events where kind = 'job'"
    ).fetchone()
    assert counted == jobs
    external = {workspace.id: workspace.external_id for workspace in WORKSPACES}
    assert {(row["workspace_id"], row["external_id"]) for row in found} <= set(external.items())
    assert verify(exporter, WINDOW).findings == []
    assert audit(out).returncode == 0
    export(exporter)
    assert {name: body for name, body in files(out).items() if name.endswith(".parquet")} == first
    broken = next(path for path in out.rglob("*.parquet"))
    body = bytearray(broken.read_bytes())
    body[len(body) // 2] ^= 1
    broken.write_bytes(bytes(body))
    assert [finding for finding in verify(exporter, WINDOW).findings if "altered" in finding.what]
    assert audit(out).returncode == 1


def test_masks_hold_in_columns_too(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    document = lake(tmp_path / "out", columns={"who": "$..email"})
    document["admin"]["mask"] = ["$..email"]
    export(engine(document))
    table = duckdb.sql(f"select who, message from read_parquet('{tmp_path}/out/**/*.parquet')").fetchall()
    addresses = {
        row[0] for row in filled.execute("select payload #>> '{user,email}' from events where kind = 'user_activity'")
    }
    assert addresses - {None}
    assert not any(
        address and (address == who or address in message) for who, message in table for address in addresses
    )


def test_partitions_as_query_engines_read_them(engine: Make, tmp_path: Path) -> None:
    key = "dt={yyyy}-{mm}-{dd}/hour={hh}/{window}-{lane}-{part}"
    export(engine(lake(tmp_path / "out", key=key)))
    query = "select dt, hour, count(*) from read_parquet('{}/out/**/*.parquet', hive_partitioning = true) group by all"
    ((day, hour, count),) = duckdb.sql(query.format(tmp_path)).fetchall()
    assert (str(day), int(hour), count) == (f"{WINDOW.start:%Y-%m-%d}", WINDOW.start.hour, 1_500)


def test_to_s3(cli: Cli, engine: Make, filled: psycopg.Connection, s3: S3Server, bucket: str) -> None:
    engine(
        override({"type": "s3", "connection": "lake", "bucket": bucket, "packaging": "parquet", "compression": "gzip"})
    )
    span = ("--from", WINDOW.start.isoformat(), "--to", WINDOW.end.isoformat())
    lake = {"AIRFLOW_CONN_LAKE": s3.connection}
    done = cli("export", "--dsn", filled.info.dsn, *span, "--json", environment=lake)
    assert done.returncode == 0, done.stderr
    found = {key: body for key, body in s3.objects(bucket).items() if key.endswith(".parquet")}
    assert sum(pq.read_metadata(io.BytesIO(body)).num_rows for body in found.values()) == 1_500
    head = s3.client().head_object(Bucket=bucket, Key=next(iter(found)))
    assert head["ContentType"] == parquet.MEDIA_TYPE
    assert cli("verify", "--dsn", filled.info.dsn, *span, environment=lake).returncode == 0


def test_the_writer_is_the_one_that_is_pinned() -> None:
    (parcel,) = pack(packer(size=10**6), [an_event(1)], [b"{}"], [])
    pinned = re.search(r"^pyarrow==(\S+)$", (PROJECT / "requirements.lock").read_text(), re.MULTILINE)
    assert pinned is not None
    assert pq.read_metadata(io.BytesIO(parcel.body)).created_by == f"parquet-cpp-arrow version {pinned[1]}"


def test_memory_holds_a_row_group_not_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_BYTES", 1_000)
    made = packer(size=10**9)
    held = []
    for number in range(500):
        assert list(made.pack([an_event(number)], Messages([b'{"text": "%s"}' % (b"x" * 90)]))) == []
        held.append(sum(map(len, made._messages)))
    assert max(held) < 1_100
    assert object_packing.OBJECT_BYTES == 32 * 2**20
    assert asyncio.iscoroutinefunction(objects.ObjectDestination.put)
