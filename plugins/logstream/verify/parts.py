"""What deliveries delivered, as the ledger has it: of small ones, which most are, read for very many at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import NamedTuple

from logstream.destinations.parcel import Part
from logstream.ledger.ledger import Ledger
from logstream.proof.listings import unpack

AT_A_TIME = 1_000
"""Deliveries that are read together."""

SMALL_BYTES = 16 * 1024
"""What the list of a delivery may take, packed, to be read together with others': some hundred objects."""


KEPT = 3
"""How many times `AT_A_TIME` are kept: some destinations are verified at the same time."""


class _Batch(NamedTuple):
    """`packs`: delivery id to its parts, packed, `None` if there are many; `superseded`: those that have superseded parts."""

    packs: dict[int, list[bytes] | None]
    superseded: set[int]


class PartsReader:
    """Reads the parts of deliveries that are asked for in about the order that it is told before. Thread-safe."""

    def __init__(self, ledger: Ledger, delivery_ids: Sequence[int]) -> None:
        self._ledger, self._order = ledger, list(delivery_ids)
        self._places = {number: place for place, number in enumerate(self._order)}
        self._batches: OrderedDict[int, _Batch] = OrderedDict()
        self._lock = Lock()

    def parts(self, delivery_id: int) -> Iterator[Part]:
        """What a delivery delivered, in order."""
        packs = self._batch(delivery_id).packs.get(delivery_id, ())
        if packs is None:
            yield from (part for _, part in self._ledger.parts([delivery_id]))
        else:
            for entries in packs:
                yield from unpack(entries)

    def superseded(self, delivery_id: int) -> Iterator[Part]:
        """What newer plans of it have replaced, the newest first."""
        if delivery_id in self._batch(delivery_id).superseded:
            yield from (part for _, part in self._ledger.superseded([delivery_id]))

    def _batch(self, delivery_id: int) -> _Batch:
        number = self._places[delivery_id] // AT_A_TIME
        with self._lock:
            if number not in self._batches:
                ids = self._order[number * AT_A_TIME : (number + 1) * AT_A_TIME]
                packs, superseded = self._ledger.small_parts(ids, SMALL_BYTES), self._ledger.with_superseded(ids)
                self._batches[number] = _Batch(packs, superseded)
                if len(self._batches) > KEPT:
                    self._batches.popitem(last=False)
            return self._batches[number]
