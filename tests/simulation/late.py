"""Rows that come late where an only copy is in their way: the limit that docs/guarantees.md names, and no more than that."""

from __future__ import annotations

from dataclasses import dataclass

from tests.simulation.model import Asked, Model, Place, Seen, route_of
from tests.simulation.script import Row


@dataclass(frozen=True, slots=True)
class Late:
    """What excuses that a row which came late is not delivered.

    `had` are destinations, each with the rows that are there under whatever name.
    """

    model: Model
    seen: Seen
    had: frozenset[tuple[str, int]]

    def is_left_out(self, place: Place, row: Row) -> bool:
        """A row that comes late into a lane of which delivered events have been purged is not delivered. Nor is one that comes late
        into a window that a destination has got whole, where any of what it got has been purged: the run leaves it and says so.

        So its lane was made before it came, and each plan on request that was made while it was there had such a reason. One that
        was begun, and came to no end, has made nothing.
        """
        window, destination = place
        lanes = self.model.made_of[place]
        lane, made_of = lanes.get(row.workspace, (None, frozenset[int]()))
        asked = [
            plan
            for plan in self.model.asked[window]
            if row.id in plan.ids and route_of(plan.document, row) == destination
        ]
        return row.id not in made_of and all(self._had_reason(plan, place, lane) for plan in asked)

    def _had_reason(self, plan: Asked, place: Place, lane: int | None) -> bool:
        """Whether a plan had to leave a lane as it is: it went on with the delivery, or said that it leaves the whole of it."""
        purged = {number for number in plan.purged if self._had(place[1], number)}
        if place[1] in plan.made:
            return any(lane in (None, self._lane(place, number)) for number in purged)
        return place[1] in plan.left and bool(purged)

    def _had(self, destination: str, number: int) -> bool:
        """Whether a destination had got a row that is purged: it has it, has lost it, or has refused it."""
        lost, refused = self.model.forgotten[destination], self.seen.rejected.get(destination, set())
        return (destination, number) in self.had or number in lost or number in refused

    def _lane(self, place: Place, number: int) -> int | None:
        return self.model.made_of[place].get(self.model.rows[number].workspace, (None,))[0]
