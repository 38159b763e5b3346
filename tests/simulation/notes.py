"""What the model is told of plans."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import psycopg

from logstream.ledger.coverage import AskedBy
from tests.simulation.model import Model, Place
from tests.simulation.moments import span_of
from tests.simulation.script import Row, Span


class Notes:
    """Tells the model of each plan by which settings, and with which rows, windows were planned, or may have been."""

    def __init__(self, model: Model, store: psycopg.Connection) -> None:
        self._model, self._store = model, store
        self._known: set[Span] = set()
        self._lanes: dict[tuple[int, int], tuple[object, frozenset[int]]] = {}
        """Lanes to when their deliveries were planned last, and to the rows that were there when they had nothing yet."""

    def committed(self, rows: Iterable[Row]) -> None:
        """The platform has committed rows: no plan that is made already is of them."""
        self._look()
        self._model.rows |= {row.id: row for row in rows}

    def possible(self, window: Span, *, again: bool) -> None:
        """A plan begins: what is owed may be planned along, and, on request, what was exported already."""
        self._look()
        self.owed()
        if again:
            self._again(window, certain=False)

    def owed(self) -> None:
        """What is owed may be planned: by the routes of then, to the destinations of now, with what the store holds now."""
        now = self._model.saved[-1][1]["destinations"]
        for window, plans in list(self._model.planned.items()):
            for plan in list(plans):
                document = {**plan.document, "destinations": {**plan.document["destinations"], **now}}
                self._model.plan(window, document, certain=False, whole=False)

    def planned(self, window: Span, *, again: bool, left: Collection[int] | None) -> None:
        """A plan has ended: windows that are new were planned, whatever became of it.

        `left` are the deliveries of which it said that it leaves them as they are; `None` if it has not come to its end.
        """
        made, now = self._look(), self._model.saved[-1][1]
        for found, asked_by in self._windows().items():
            if found in self._known:
                continue
            self._known.add(found)
            gap = asked_by == AskedBy.SCHEDULE and found.end <= window.start
            self._model.plan(found, self._model.settings_at(found.end) if gap else now, certain=True)
        if again:
            self._again(window, certain=left is not None)
            if left is not None:
                self._asked(window, made, left)

    def _again(self, window: Span, *, certain: bool) -> None:
        for found in self._known:
            if found.start < window.end and window.start < found.end:
                held = self._model.planned[found]
                left = any(row.id in self._model.purged for row in self._model.rows_in(found)) and bool(held)
                self._model.plan(found, self._model.saved[-1][1], certain=certain and not left)

    def _asked(self, window: Span, made: Collection[Place], left: Collection[int]) -> None:
        query = "select window_start, window_end, destination from logstream.deliveries where id = any(%s)"
        stay = [(span_of(start, end), name) for start, end, name in self._store.execute(query, (list(left),))]
        for found in self._known:
            if found.start < window.end and window.start < found.end:
                names = [frozenset(name for span, name in places if span == found) for places in (made, stay)]
                self._model.ask(found, self._model.saved[-1][1], *names)

    def _look(self) -> set[Place]:
        """Note of which rows lanes are made: of those that were there when their deliveries were planned, and they had nothing yet.

        Returns the deliveries that were planned since the last look.
        """
        planned = set[Place]()
        query = (
            "select d.id, l.lane, d.window_start, d.window_end, d.destination, d.planned_at, l.counted_id is null,"
            " array(select json_object_keys(l.planned)) from logstream.lanes l"
            " join logstream.deliveries d on d.id = l.delivery_id"
        )
        for number, lane, start, end, destination, planned_at, is_new, workspaces in self._store.execute(query):
            place = window, _ = span_of(start, end), destination
            before, ids = self._lanes.get((number, lane), (None, frozenset[int]()))
            if before != planned_at:
                planned.add(place)
            if before is None or (before != planned_at and is_new):
                ids = frozenset(row.id for row in self._model.rows_in(window))
            self._lanes[number, lane] = planned_at, ids
            self._model.made_of[place] |= {int(each): (lane, ids) for each in workspaces}
        return planned

    def _windows(self) -> dict[Span, str]:
        rows = self._store.execute("select window_start, window_end, asked_by from logstream.windows").fetchall()
        return {span_of(start, end): asked_by for start, end, asked_by in rows}
