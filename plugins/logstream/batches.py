"""Events in columns: Arrow record batches, and a view of one that gives events one by one to those who want them so.

numpy and pyarrow take a quarter of a second to import. Only what handles events imports this module, and only when it does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from logstream.events import EPOCH_UNIX_US, Event, Kind

KINDS: tuple[str, ...] = tuple(kind.value for kind in Kind)
"""The kinds by their codes."""

KIND_CODE = {kind: code for code, kind in enumerate(KINDS)}

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("workspace_id", pa.int64(), nullable=False),
        pa.field("kind", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        pa.field("occurred_at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("recorded_at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("payload", pa.large_binary(), nullable=False),
    ]
)
"""What a log store's batches are. `payload` is JSON in UTF-8 as it was written; no column holds a null."""

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]
_KIND_NAMES = pa.array(KINDS, pa.string())


def batch_of(
    ids: Ints, workspaces: Ints, kinds: Codes, occurred: Ints, recorded: Ints, payloads: Any
) -> pa.RecordBatch:
    """A batch of `SCHEMA`. Times are microseconds since `EPOCH`, kinds indexes of `KINDS`, payloads a large_binary array."""
    times = [
        pa.Array.from_buffers(SCHEMA.types[3], len(column), [None, pa.py_buffer(column + EPOCH_UNIX_US)])
        for column in (occurred, recorded)
    ]
    kind = pa.DictionaryArray.from_arrays(pa.array(kinds), _KIND_NAMES)
    return pa.RecordBatch.from_arrays([pa.array(ids), pa.array(workspaces), kind, *times, payloads], schema=SCHEMA)


class Events(Sequence[Event]):
    """Events in columns. One by one they are `Event`s; a slice copies nothing.

    `ids`, `workspaces`, `occurred` and `recorded` are integers as in `Event`, `kinds` indexes of `KINDS`, `payloads` an Arrow
    array of large_binary.
    """

    __slots__ = ("ids", "kinds", "occurred", "payloads", "recorded", "workspaces")

    def __init__(
        self, ids: Ints, workspaces: Ints, kinds: Codes, occurred: Ints, recorded: Ints, payloads: Any
    ) -> None:
        self.ids, self.workspaces, self.kinds = ids, workspaces, kinds
        self.occurred, self.recorded, self.payloads = occurred, recorded, payloads

    @classmethod
    def in_batch(cls, batch: pa.RecordBatch) -> Events:
        """A view of a batch of `SCHEMA`."""
        ids, workspaces, kind, occurred, recorded, payloads = batch.columns
        codes = kind.indices.to_numpy(zero_copy_only=False)
        if not kind.dictionary.equals(_KIND_NAMES):  # another store's order
            codes = np.array([KIND_CODE[name] for name in kind.dictionary.to_pylist()], np.int8)[codes]
        times = [column.cast(pa.int64()).to_numpy() - EPOCH_UNIX_US for column in (occurred, recorded)]
        return cls(ids.to_numpy(), workspaces.to_numpy(), codes, times[0], times[1], payloads)

    @classmethod
    def of(cls, events: Sequence[Event]) -> Events:
        """Some events in columns; those that are stay what they are."""
        if isinstance(events, Events):
            return events
        codes = np.array([KIND_CODE[event.kind] for event in events], np.int8)
        ids, workspaces, occurred, recorded = (
            np.array([event[index] for event in events], np.int64) for index in (0, 1, 3, 4)
        )
        payloads = pa.array([event.payload for event in events], pa.large_binary())
        return cls(ids, workspaces, codes, occurred, recorded, payloads)

    @classmethod
    def joined(cls, several: Sequence[Events]) -> Events:
        """Several, one after the other."""
        if len(several) == 1:
            return several[0]
        return cls(
            np.concatenate([events.ids for events in several]),
            np.concatenate([events.workspaces for events in several]),
            np.concatenate([events.kinds for events in several]),
            np.concatenate([events.occurred for events in several]),
            np.concatenate([events.recorded for events in several]),
            pa.concat_arrays([events.payloads for events in several]),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Event]:
        kinds = [KINDS[code] for code in self.kinds.tolist()]
        columns = (self.ids, self.workspaces, self.occurred, self.recorded)
        ids, workspaces, occurred, recorded = (column.tolist() for column in columns)
        return map(Event, ids, workspaces, kinds, occurred, recorded, texts(self.payloads))

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> Events: ...

    def __getitem__(self, index: int | slice) -> Event | Events:
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            return Events(
                self.ids[start:stop], self.workspaces[start:stop], self.kinds[start:stop], self.occurred[start:stop],
                self.recorded[start:stop], self.payloads.slice(start, max(stop - start, 0)),
            )  # fmt: skip
        return Event(
            int(self.ids[index]), int(self.workspaces[index]), KINDS[self.kinds[index]], int(self.occurred[index]),
            int(self.recorded[index]), self.payloads[index].as_py(),
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def take(self, rows: Ints) -> Events:
        """Those of some rows, in the order given."""
        return Events(
            self.ids[rows], self.workspaces[rows], self.kinds[rows], self.occurred[rows], self.recorded[rows],
            self.payloads.take(pa.array(rows)),
        )  # fmt: skip

    def after(self, recorded_us: int, event_id: int) -> int:
        """How many of them, in the window's order, are not after a place in it."""
        before = (self.recorded < recorded_us) | ((self.recorded == recorded_us) & (self.ids <= event_id))
        return int(np.count_nonzero(before))


def offsets_of(texts: Any) -> Ints:
    """Where each element of a large_binary array begins in `data_of`, and where the last ends."""
    if not len(texts):
        return np.zeros(1, np.int64)
    return np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]


def data_of(texts: Any) -> memoryview:
    """The bytes of a large_binary array, those of what it is a slice of included."""
    data = texts.buffers()[2]
    return memoryview(data) if data is not None else memoryview(b"")


def texts(column: Any) -> Iterator[bytes]:
    """The elements of a large_binary array."""
    if not len(column):
        return
    data, offsets = data_of(column), offsets_of(column).tolist()
    start = offsets[0]
    for stop in offsets[1:]:
        yield bytes(data[start:stop])
        start = stop


def column_of(each: Iterable[bytes]) -> Any:
    """A large_binary array of some texts."""
    return pa.array(list(each), pa.large_binary())


def counts_of(workspaces: Ints, kinds: Codes, sizes: Ints) -> tuple[Counter[tuple[int, str]], Counter[int]]:
    """Of some events: how many there are of each workspace and kind, and the sum of their sizes by workspace."""
    found, index = np.unique(workspaces, return_inverse=True)
    many = len(KINDS)
    numbers = np.bincount(index * many + kinds, minlength=len(found) * many)
    totals = np.bincount(index, sizes, minlength=len(found))  # sums in floats: exact up to 2**53 bytes
    names = found.tolist()
    events = Counter(
        {(names[place // many], KINDS[place % many]): int(numbers[place]) for place in np.flatnonzero(numbers).tolist()}
    )
    return events, Counter({name: int(total) for name, total in zip(names, totals.tolist(), strict=True)})
