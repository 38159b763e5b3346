"""The rows of a COPY, as record batches.

Rows are taken from libpq as they come, and taken apart by columns, some thousand at a time. What psycopg does for each row of any
COPY takes several times as long as all that has to be done for ours.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.generators import fetch_many

from logstream.events import Cursor, Event
from logstream.store import reading
from logstream.store.base import BadRow, Page
from logstream.store.rows import Rows, kind_in, not_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_HEADER = 19
"""Bytes before the first row: signature, flags, length of an extension."""

_HEAD = 58
"""Bytes of a row in COPY's binary format beside its two texts: the number of columns, length and value of four columns of
8 bytes, the lengths of `kind` and payload."""

_ID, _WORKSPACE, _OCCURRED, _RECORDED, _WIDTH, _KIND = 6, 18, 30, 42, 50, 54
"""Where a row has its columns, the length of `kind`, and `kind`."""

_LONGEST_KIND = 16


def start_copy(connection: psycopg.Connection, query: sql.Composable) -> None:
    """Begin a COPY, of which `pages` then takes the rows. psycopg has no way to run settings in the same message."""
    text = (sql.SQL(reading.settings_of(connection)) + query).as_bytes(connection)
    connection.pgconn.send_query(text)
    result = connection.wait(fetch_many(connection.pgconn))[-1]
    if result.status != psycopg.pq.ExecStatus.COPY_OUT:
        raise psycopg.errors.error_from_result(result)


def pages(connection: psycopg.Connection, rows: Rows, room: int) -> Iterator[Page]:
    """The rows of the COPY that was begun on a connection, at most `reading.PAGE_EVENTS` of them or `room` bytes a page.

    What psycopg does for each row of any COPY takes several times as long as what has to be done for ours; so rows are taken
    from libpq itself, as they came, and taken apart many at a time.
    """
    pgconn = connection.pgconn
    fetch = pgconn.get_copy_data
    waiting = select.poll()
    waiting.register(pgconn.socket, select.POLLIN)
    together: list[bytes | memoryview] = []
    size, skipped = 0, _HEADER
    while True:
        length, row = fetch(1)
        if length >= skipped + _HEAD:
            together.append(row[skipped:] if skipped else row)
            skipped = 0
            size += length
            if size >= room or len(together) >= reading.PAGE_EVENTS:
                yield _Rows(together).page(is_json=rows.is_json)
                together, size = [], 0
        elif length == 0:
            waiting.poll()
            pgconn.consume_input()
        elif length < 0:
            break
    if together:
        yield _Rows(together).page(is_json=rows.is_json)
    result = connection.wait(fetch_many(pgconn))[-1]
    if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(result)


def size_of(batch: pa.RecordBatch) -> int:
    """The bytes that a page's rows took at the most: a page that was as full as it may be is as full here."""
    from logstream.batches import offsets_of

    offsets = offsets_of(batch.column("payload"))
    payloads = int(offsets[-1]) - int(offsets[0])
    rows: int = batch.num_rows
    return payloads + rows * (_HEAD + _LONGEST_KIND)


class _Rows:
    """Some rows as they came, one behind the other: `starts` and `ends` are where, `texts` is where their payloads are."""

    def __init__(self, together: Sequence[bytes | memoryview]) -> None:
        import numpy as np

        self.ends = np.cumsum(np.fromiter(map(len, together), np.int64, len(together)))
        self.starts = np.concatenate(([0], self.ends[:-1]))
        # some bytes more: a kind is looked for in the last row too, however short that is
        self._bytes = b"".join([*together, bytes(_LONGEST_KIND)])
        self.ids, self.workspaces, self.occurred, self.recorded = (
            self._values(">i8", self.starts + place).astype(np.int64)
            for place in (_ID, _WORKSPACE, _OCCURRED, _RECORDED)
        )
        self.widths = self._values(">i4", self.starts + _WIDTH).astype(np.int64)
        self.texts = self.starts + _HEAD + self.widths

    def _values(self, kind: str, places: npt.NDArray[np.int64]) -> Any:
        """Values of a type at some places."""
        import numpy as np

        # a view of the bytes that begins anew with each of them: of it numpy picks the places
        count = len(self._bytes) - np.dtype(kind).itemsize + 1
        return np.ndarray(shape=(count,), dtype=kind, buffer=self._bytes, strides=(1,))[places]

    def page(self, *, is_json: bool) -> Page:
        """The events as a batch, and the rows that are none. Unless `is_json`, payloads are looked into."""
        import numpy as np
        import pyarrow as pa

        from logstream.batches import batch_of

        kinds = self._kinds()
        bad = [self._not_an_event(row) for row in np.flatnonzero(kinds < 0).tolist()]
        if not is_json:
            bad += self._not_json(kinds)
            bad.sort(key=lambda row: (row[0].recorded_us, row[0].id))
        last = Cursor(int(self.recorded[-1]), int(self.ids[-1]))
        kept = np.flatnonzero(kinds >= 0)
        if not len(kept):
            return Page(None, more=True, bad=bad, last=last)
        # a row is a head and a payload, and the next row follows: every other element is a payload
        cuts = np.append(np.stack([self.starts, self.texts], axis=1).ravel(), self.ends[-1])
        halves = pa.Array.from_buffers(
            pa.large_binary(), 2 * len(kinds), [None, pa.py_buffer(cuts), pa.py_buffer(self._bytes)]
        )
        ids, workspaces, occurred, recorded = (
            column[kept] if bad else column for column in (self.ids, self.workspaces, self.occurred, self.recorded)
        )
        payloads = halves.take(pa.array(2 * kept + 1))
        batch = batch_of(ids, workspaces, kinds[kept], occurred, recorded, payloads)
        return Page(batch, more=True, bad=bad, last=last)

    def _kinds(self) -> npt.NDArray[np.int8]:
        """The codes of the rows' kinds; -1 where it is none that is known, or a reason why the row is no event."""
        import numpy as np

        from logstream.batches import KINDS

        kinds = np.full(len(self.ids), -1, np.int8)
        for code, kind in enumerate(KINDS):
            fitting = np.flatnonzero(self.widths == len(kind))
            same = self._values(f"S{len(kind)}", self.starts[fitting] + _KIND) == kind.encode()
            kinds[fitting[same]] = code
        return kinds

    def _not_an_event(self, row: int) -> BadRow:
        start = int(self.starts[row]) + _KIND
        kind, reason = kind_in(self._bytes[start : start + int(self.widths[row])].decode(errors="backslashreplace"))
        return self._event(row, kind), reason or ""

    def _not_json(self, kinds: npt.NDArray[np.int8]) -> Iterator[BadRow]:
        """The rows whose payload is no JSON; of their kinds they leave -1."""
        import numpy as np

        from logstream.batches import KINDS

        for row in np.flatnonzero(kinds >= 0).tolist():
            event = self._event(row, KINDS[kinds[row]])
            reason = not_json(event.payload)
            if reason is not None:
                kinds[row] = -1
                yield event, reason

    def _event(self, row: int, kind: str) -> Event:
        payload = self._bytes[int(self.texts[row]) : int(self.ends[row])]
        numbers = (int(column[row]) for column in (self.ids, self.workspaces, self.occurred, self.recorded))
        identity, workspace, occurred, recorded = numbers
        return Event(identity, workspace, kind, occurred, recorded, payload)
