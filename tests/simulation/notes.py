"""What the model is told of plans."""

from __future__ import annotations

import psycopg

from logstream.ledger.coverage import AskedBy
from tests.simulation.model import Model
from tests.simulation.moments import span_of
from tests.simulation.script import Span


class Notes:
    """Tells the model of each plan by which settings, and with which rows, windows were planned, or may have been."""

    def __init__(self, model: Model, store: psycopg.Connection) -> None:
        self._model, self._store = model, store
        self._known: set[Span] = set()

    def possible(self, window: Span, *, again: bool) -> None:
        """A plan begins: what is owed may be planned along, and, on request, what was exported already."""
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

    def planned(self, window: Span, *, again: bool, certain: bool) -> None:
        """A plan has ended: windows that are new were planned, whatever became of it."""
        now = self._model.saved[-1][1]
        for found, asked_by in self._windows().items():
            if found in self._known:
                continue
            self._known.add(found)
            gap = asked_by == AskedBy.SCHEDULE and found.end <= window.start
            self._model.plan(found, self._model.settings_at(found.end) if gap else now, certain=True)
        if again:
            self._again(window, certain=certain)

    def _again(self, window: Span, *, certain: bool) -> None:
        for found in self._known:
            if found.start < window.end and window.start < found.end:
                held = self._model.planned[found]
                left = any(row.id in self._model.purged for row in self._model.rows_in(found)) and bool(held)
                self._model.plan(found, self._model.saved[-1][1], certain=certain and not left)

    def _windows(self) -> dict[Span, str]:
        rows = self._store.execute("select window_start, window_end, asked_by from logstream.windows").fetchall()
        return {span_of(start, end): asked_by for start, end, asked_by in rows}
