"""Parquet objects: the envelope in columns, the message as JSON text, and chosen values of the message as typed columns.

The same events give the same bytes, however they come in: rows are cut into groups and objects by the events alone, and the
writer's settings and metadata are constant. What the writer writes is its version's: the lock file pins it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import AfterValidator, StringConstraints

from logstream.destinations.parcel import (
    EventRef,
    LaneRef,
    Packer,
    Parcel,
    Part,
    broken_parcel,
    cursor_of,
    ids_digest,
    sha256,
    sizes_of,
    tally_of,
)
from logstream.destinations.transport.layouts import Layout
from logstream.destinations.transport.object_packing import OBJECT_BYTES, batch_name
from logstream.errors import BadEvent
from logstream.events import EPOCH_UNIX_US, Event
from logstream.jsonpath import Path, TooMuchWork, Work, compile_path, find
from logstream.jsontext import Number, dumps, loads
from logstream.messages import Messages

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_ROWS = 50_000
GROUP_BYTES = 8 * 1024 * 1024
"""A row group is closed when it holds so many rows, or so many bytes of messages: what is in memory uncompressed."""

SUFFIX = ".parquet"
MEDIA_TYPE = "application/vnd.apache.parquet"

ENVELOPE = ("workspace_id", "external_id", "kind", "id", "occurred_at", "recorded_at", "message")
"""The columns that every object has, in this order."""

INFINITE = {2**63 - 1, -(2**63)}
"""PostgreSQL's infinite times: they are no time, and become NULL."""

LARGEST = 2**63 - 1


class Codec(StrEnum):
    """How the columns are compressed."""

    ZSTD = "zstd"
    GZIP = "gzip"


class ColumnType(StrEnum):
    """The type of a chosen column."""

    STRING = "string"
    INT64 = "int64"
    FLOAT64 = "float64"
    BOOLEAN = "boolean"


class Column(NamedTuple):
    """A column of values that are found in the message. One that is not there, or of another type, is NULL."""

    path: Path
    type: ColumnType = ColumnType.STRING

    @classmethod
    def parse(cls, text: str) -> Column:
        """From a JSONPath, or one with its type: `$.calls_count as int64`. Raises `ValueError`."""
        path, _, word = text.rpartition(" as ")
        if not path:
            return cls(compile_path(text))
        if word.strip() not in {*ColumnType}:
            raise ValueError(f"the type `{word.strip()}` is unknown; there are {', '.join(ColumnType)}")
        return cls(compile_path(path.strip()), ColumnType(word.strip()))


def _is_column(text: str) -> str:
    Column.parse(text)
    return text


ColumnName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
Columns = dict[ColumnName, Annotated[str, StringConstraints(max_length=1000), AfterValidator(_is_column)]]
"""The option: the name of each chosen column, and where its values are."""


class ParquetPacker(Packer):
    """Parquet objects, cut after the event with which they reach `object_bytes` of messages, before compression."""

    def __init__(
        self, prefix: str, codec: Codec, lane: LaneRef, part: int, layout: Layout, *,
        columns: Mapping[str, str], object_bytes: int | None = None,
    ) -> None:  # fmt: skip
        self._prefix, self._codec, self._lane, self._part, self._layout = prefix, codec, lane, part, layout
        self._paths = {name: Column.parse(text) for name, text in columns.items()}
        self._object_bytes = object_bytes or OBJECT_BYTES
        self._begin()

    def _begin(self) -> None:
        self._file: BytesIO | None = None
        self._writer: Any = None
        self._events: list[Event] = []
        self._messages: list[bytes] = []
        self._values: dict[str, list[Any]] = {name: [] for name in self._paths}
        self._written: list[EventRef] = []
        self._lengths: list[int] = []
        self._last: Event | None = None
        self._group = self._size = 0

    def pack(self, events: Sequence[Event], messages: Messages) -> Iterator[Parcel]:
        """Add messages; return the objects that are full, and the events that can be no row."""
        for event, message in zip(events, messages, strict=True):
            try:
                found = self._row(message)
            except Exception as error:
                if self._last is not None:  # what is in the order before it comes before it
                    yield self._end()
                yield broken_parcel(f"{self._prefix}{event.id}", event, error)
                self._part += 1  # a lane that is resumed counts parcels, those that are not sent, too
                continue
            for name, value in found.items():
                self._values[name].append(value)
            self._events.append(event)
            self._messages.append(message)
            self._lengths.append(len(message))
            self._last = event
            self._group += len(message)
            self._size += len(message)
            if len(self._events) >= GROUP_ROWS or self._group >= GROUP_BYTES:
                self._write()
            if self._size >= self._object_bytes:
                yield self._end()

    def finish(self) -> Iterator[Parcel]:
        """The last object, if anything is in it."""
        if self._last is not None:
            yield self._end()

    def _row(self, message: bytes) -> dict[str, Any]:
        """The chosen values of a message. Raises `BadEvent` for one that is no text."""
        try:
            message.decode()
        except UnicodeDecodeError as error:
            raise BadEvent(f"its message is not UTF-8 (byte {error.start})") from None
        if not self._paths:
            return {}
        document, work = loads(message), Work(len(message))
        return {name: _value(path, kind, document, work) for name, (path, kind) in self._paths.items()}

    def _write(self) -> None:
        """Close a row group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is None:
            self._file = BytesIO()
            # the schema alone, no copy of it in Arrow's own words: less metadata, and none that changes with pyarrow
            self._writer = pq.ParquetWriter(
                self._file, self._schema(), version="2.6", compression=self._codec.value, store_schema=False,
                use_dictionary=["workspace_id", "external_id", "kind"], write_statistics=True,
            )  # fmt: skip
        external = self._lane.external_ids
        columns = [
            [event.workspace_id for event in self._events],
            [external.get(event.workspace_id) for event in self._events],
            [event.kind for event in self._events],
            [event.id for event in self._events],
            [_moment(event.occurred_us) for event in self._events],
            [_moment(event.recorded_us) for event in self._events],
            self._messages,
            *self._values.values(),
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema(), strict=True)]
        rows = len(self._events)
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema()), row_group_size=rows)
        self._written += [EventRef(event.id, event.workspace_id, event.kind) for event in self._events]
        self._events, self._messages, self._group = [], [], 0
        self._values = {name: [] for name in self._paths}

    def _schema(self) -> pa.Schema:
        import pyarrow as pa

        time = pa.timestamp("us", "UTC")
        types = [pa.int64(), pa.string(), pa.string(), pa.int64(), time, time, pa.string()]
        chosen = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "boolean": pa.bool_()}
        nullable = {"external_id", "occurred_at", "recorded_at"}
        return pa.schema(
            [
                *(pa.field(name, kind, name in nullable) for name, kind in zip(ENVELOPE, types, strict=True)),
                *(pa.field(name, chosen[kind]) for name, (_, kind) in self._paths.items()),
            ]
        )

    def _end(self) -> Parcel:
        assert self._last is not None  # noqa: S101 - there is a row
        if self._events:
            self._write()
        assert self._file is not None  # noqa: S101 - written just now
        self._writer.close()
        body = self._file.getvalue()
        rows = self._written
        ids = ids_digest(rows)
        name, number = batch_name(self._prefix, self._layout, SUFFIX, self._lane, self._part, ids)
        part = Part(name, len(body), sha256(body), len(rows), ids)
        tally, sizes = tally_of(rows), sizes_of(rows, self._lengths)
        parcel = Parcel(name, body, cursor_of(self._last), tally, sizes, [part], number=number)
        self._part = number + 1
        self._begin()
        return parcel


def _moment(since_epoch_us: int) -> int | None:
    """A time in microseconds since 1970; `None` for PostgreSQL's infinite ones, and for what no column holds."""
    moment = since_epoch_us + EPOCH_UNIX_US
    return moment if since_epoch_us not in INFINITE and abs(moment) <= LARGEST else None


def _value(path: Path, kind: ColumnType, document: Any, work: Work) -> Any:
    """The first value that a path finds, if it is of the column's type; what takes too long to find is not there."""
    try:
        found = [holder[name] for holder, name in find(path, document, work)[:1]]
    except TooMuchWork:
        return None
    return _AS[kind](found[0]) if found and found[0] is not None else None


def _as_string(value: Any) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # lone surrogates are no text
    return dumps(value).decode()


def _as_int64(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # as it was written: a float has lost the last digits of a large number
    exact = Decimal(value.text) if isinstance(value, Number) else Decimal(value)
    if not -LARGEST - 1 <= exact <= LARGEST or exact != exact.to_integral_value():
        return None
    return int(exact)


def _as_float64(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of more digits than a float has
        return math.inf if value > 0 else -math.inf


def _as_boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


_AS: dict[ColumnType, Callable[[Any], Any]] = {
    ColumnType.STRING: _as_string,
    ColumnType.INT64: _as_int64,
    ColumnType.FLOAT64: _as_float64,
    ColumnType.BOOLEAN: _as_boolean,
}
