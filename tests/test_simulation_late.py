"""What the simulation's verdict makes of a row that came late into a window of which delivered events are purged."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.simulation.model import Model, Seen
from tests.simulation.script import Document, Row, Span
from tests.simulation.verdict import Verdict

WINDOW = Span(0, 5)
PLACE = WINDOW, "lake"

PURGED = Row(1, 1001, "job", 60, '{"id": "e1"}')
"""It is at its destination, and was purged then."""
NEVER_THERE = Row(2, 1001, "job", 60, '{"id": "e2"}')
"""It was purged before it could be delivered."""
LATE = Row(3, 1001, "job", 120, '{"id": "e3"}')
OTHER = Row(4, 1002, "job", 60, '{"id": "e4"}')
"""Of a workspace in another lane: it is at its destination, and was purged then."""


def settings(message: str) -> Document:
    streaming = {"enabled": True, "events": ["job_status", "job_details"], "destination": "lake", "message": message}
    return {"admin": streaming, "workspaces": [], "destinations": {"lake": {"lanes": 2}}}


FIRST, THEN = settings('{"source": "w", "event": {{{log_message}}}}'), settings("")


def world(*before: Row) -> Model:
    """Rows come, are delivered by settings of which no plan is certain, and are purged; then one comes late."""
    model = Model()
    model.saved.append((0, THEN))
    model.rows = {row.id: row for row in before}
    model.plan(WINDOW, FIRST, certain=True)
    model.plan(WINDOW, THEN, certain=False)
    ids = frozenset(model.rows)
    model.purge(300, None)
    model.made_of[PLACE] = {1001: (0, ids), 1002: (1, ids)}
    model.rows[LATE.id] = LATE
    model.plan(WINDOW, THEN, certain=False)  # it was begun, at least
    return model


def complaints(model: Model) -> list[str]:
    held = [(f"{row.id}.json", row.payload.encode()) for row in (PURGED, OTHER) if row.id in model.rows]
    nothing: dict[str, Any] = {
        "superseded": {"lake": set()},
        "rejected": {},
        "owed": set(),
        "verified": [],
        "audited": {},
    }
    seen = Seen(
        held={"lake": held}, windows={WINDOW: THEN}, deliveries={PLACE: THEN}, lost=Counter(), written_off=Counter(),
        **nothing,
    )  # fmt: skip
    return list(Verdict(model, seen).receivers())


MISSED = [f"event 3 (job of 1001, {WINDOW}) is not at lake, and not named"]


def test_a_late_row_that_no_plan_came_to_is_excused() -> None:
    assert complaints(world(PURGED)) == []


def test_a_row_that_its_lane_was_made_of_is_missed() -> None:
    model = world(PURGED)
    model.made_of[PLACE][1001] = 0, frozenset(model.rows)
    assert complaints(model) == MISSED


@pytest.mark.parametrize(
    ("before", "left", "excused"),
    [
        ([PURGED], ["lake"], True),
        ([OTHER], ["lake"], True),
        ([PURGED], [], False),
        ([PURGED], ["bucket"], False),
        ([NEVER_THERE], ["lake"], False),
        ([], ["lake"], False),
    ],
)
def test_a_whole_window_is_left_where_it_has_an_only_copy_and_that_is_said(
    before: list[Row], left: list[str], excused: bool
) -> None:
    model = world(*before)
    model.ask(WINDOW, THEN, frozenset(), frozenset(left))
    assert complaints(model) == ([] if excused else MISSED)


@pytest.mark.parametrize(("before", "excused"), [([PURGED], True), ([OTHER], False), ([NEVER_THERE], False)])
def test_a_delivery_that_goes_on_leaves_the_lanes_that_have_an_only_copy(before: list[Row], excused: bool) -> None:
    model = world(*before)
    model.ask(WINDOW, THEN, frozenset(["lake"]), frozenset())
    assert complaints(model) == ([] if excused else MISSED)


def test_each_plan_must_have_had_a_reason() -> None:
    model = world(PURGED)
    model.ask(WINDOW, THEN, frozenset(), frozenset(["lake"]))
    model.ask(WINDOW, THEN, frozenset(), frozenset())
    assert complaints(model) == MISSED
